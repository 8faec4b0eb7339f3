//! How many of the candidate's clients must go without an answer, in a row, before the breaker of the
//! packet path trips.

/// So many clients, in 50 ms at least, in four times as long as the active pool's slowest answers take,
/// and while that one answers (`lb_common::signal::breaker`). It is the least by which the
/// breaker trips by chance in one of a hundred releases at most, where a release has a million
/// connections of the candidate's, and [`USUAL`] of them have no answer for no fault of its. Of 50
/// connections a second, a fourth comes within 100 ms nine times of ten, a fifth three times of four.
pub const BREAKER: u32 = 4;
/// The part of connections that fail where all is well, unless something else is said.
pub const USUAL: f64 = 0.002;

/// Connections of the candidate's in a release that a rate of false trips is told of.
pub const CONNECTIONS: f64 = 1e6;

/// How often the breaker trips by chance in so many connections at most, where each client has this
/// probability to get no answer, whatever others get. Answers that are late all at a time, as where a
/// backend stalls, are none of that: for these the silence is as long as the active pool's are late. A
/// run may begin at each of them. It trips as the last of the run calls, who
/// may yet be answered. Where more connections come than that in 50 ms it trips more seldom, since they
/// all must have no answer.
pub fn false_trips(unanswered: f64, clients: u32, connections: f64) -> f64 {
    connections * unanswered.powf(f64::from(clients) - 1.0)
}

#[cfg(test)]
mod tests {
    use lb_common::signal::{
        Breaker,
        breaker::{Attempt, SILENCE_NS},
        cohort,
    };

    use super::*;

    #[test]
    fn one_client_fewer_would_trip_by_chance_too_often() {
        let trips = |clients| false_trips(USUAL, clients, CONNECTIONS);
        assert!(trips(BREAKER) <= 0.01, "{}", trips(BREAKER));
        assert!(trips(BREAKER - 1) > 0.01, "{}", trips(BREAKER - 1));
    }

    /// Numbers as good as random, the same each time (xorshift, Marsaglia 2003).
    struct Chance(u64);

    impl Chance {
        fn has(&mut self, probability: f64) -> bool {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            #[expect(clippy::cast_precision_loss, reason = "the upper bits are enough")]
            let drawn = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
            drawn < probability
        }
    }

    /// How often the packet path's own breaker trips in so many connections, one each `every_ns`.
    fn trips(connections: u32, unanswered: f64, every_ns: u64) -> u32 {
        let (mut breaker, mut chance) = (Breaker::default(), Chance(0x5e41_0000_0000_0007));
        let (mut trips, mut now) = (0, SILENCE_NS);
        for client in 0..connections {
            now += every_ns;
            breaker.answer(cohort::EVEN, 1, now);
            let attempt = Attempt {
                cohort: cohort::CANDIDATE,
                bucket: client,
            };
            breaker.attempt(attempt, (1, BREAKER), now);
            if breaker.has_tripped(1) {
                trips += 1;
                breaker = Breaker::default();
            } else if !chance.has(unanswered) {
                breaker.answer(cohort::CANDIDATE, 1, now);
            }
        }
        trips
    }

    #[test]
    fn it_trips_by_chance_as_often_as_is_said_and_no_more() {
        const MANY: u32 = 2_000_000;
        // Not as seldom as usual, so that there is something to count.
        for unanswered in [0.05, 0.1, 0.2] {
            let said = false_trips(unanswered, BREAKER, MANY.into());
            let seldom = f64::from(trips(MANY, unanswered, SILENCE_NS));
            assert!(seldom <= said, "{unanswered}: {seldom} of {said}");
            // Of a run that goes on after a trip, the bound counts each beginning.
            assert!(seldom > 0.5 * said, "{unanswered}: {seldom} of {said}");
            let often = f64::from(trips(MANY, unanswered, SILENCE_NS / 50));
            assert!(often < 0.01 * said, "{unanswered}: {often} of {said}");
        }
    }
}
