//! The breaker: new connections leave a candidate that answers nobody, without a word from userspace.

use bytemuck::{Pod, Zeroable};

use super::cohort;

/// Attempts of a candidate must have been without an answer for as long, and for [`PATIENCE`] times as
/// long as the active pool's slowest answers take: a backend that is far away needs that time.
pub const SILENCE_NS: u64 = 50_000_000;
/// As [`SILENCE_NS`] says.
pub const PATIENCE: u64 = 4;
/// However long the active pool's slowest answers take, so long a silence is one.
pub const LONGEST_SILENCE_NS: u64 = 2_000_000_000;
/// An answer that takes longer than the slowest makes these take half as long again, at most as long as
/// itself, and one that does not a 256th less: both are in balance where one of a hundred does, at the
/// 99th percentile. (Ma, Muthukrishnan and Sandler, "Frugal streaming for estimating quantiles", arXiv
/// 1407.1121, by ratios in place of steps.) A dozen late ones in a row are enough to learn of a stall.
const RISE: u32 = 1;
/// As [`RISE`] says.
const FALL: u32 = 8;

/// What one service's new connections have met, under one record.
///
/// Several CPUs write it, and an attempt that is lost in between makes the breaker a little later. Only
/// `tripped_epoch` decides anything: one word, and so whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Breaker {
    /// The record's number that the run is of.
    epoch: u64,
    /// The record's number that it has tripped for; 0 for none.
    tripped_epoch: u64,
    /// When it did, in nanoseconds of `CLOCK_MONOTONIC`.
    tripped_ns: u64,
    /// The first of the candidate's attempts in a row; the same clock.
    since_ns: u64,
    /// The last answer of the active pool; the same clock.
    baseline_ns: u64,
    /// The run: a bit for each client of the candidate's that has called since its last answer, and one
    /// for several where their buckets share it; those make the breaker an attempt later. Above them, how
    /// many bits are set.
    clients: u64,
    /// How long the active pool's slowest answers take, in nanoseconds; 0 before the first.
    slow_ns: u64,
}

/// Bits for clients.
const PLACES: u32 = 56;

const _: () = assert!(size_of::<Breaker>() == 56);

/// A connection begins: of a cohort, and of the client in this bucket.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// One of [`cohort`]'s constants.
    pub cohort: u32,
    /// Tells clients apart, and no client can choose it.
    pub bucket: u32,
}

impl Breaker {
    /// A connection begins, under a record with this number and a limit that is not 0: so many clients
    /// must call in a row. What one client alone can do (call again and again, by SYNs that no host
    /// answers) does not lengthen the run.
    #[inline(always)]
    pub const fn attempt(&mut self, by: Attempt, (epoch, limit): (u64, u32), now_ns: u64) {
        if self.epoch != epoch {
            self.clients = 0;
            self.epoch = epoch;
        }
        if by.cohort != cohort::CANDIDATE || self.has_tripped(epoch) {
            return;
        }
        if self.clients == 0 {
            self.since_ns = now_ns;
        }
        let place = 1 << (by.bucket % PLACES);
        if self.clients & place == 0 {
            self.clients += place | 1 << PLACES;
        }
        let run = (self.clients >> PLACES) as u32;
        if run >= limit && self.is_silent(now_ns) && self.is_alone(now_ns) {
            self.tripped_ns = now_ns;
            self.tripped_epoch = epoch;
        }
    }

    /// A connection of a cohort is answered, so long after its call; 0 if its client has called again
    /// meanwhile, for then that is no time of the backend's.
    #[inline(always)]
    pub const fn answer(&mut self, of: u32, waited_ns: u64, now_ns: u64) {
        if of == cohort::CANDIDATE {
            self.clients = 0;
            return;
        }
        self.baseline_ns = now_ns;
        if waited_ns > 0 {
            self.slow_ns = slower(self.slow_ns, waited_ns);
        }
    }

    /// How long the candidate's attempts must have been without an answer, in nanoseconds: as long
    /// as [`SILENCE_NS`] says.
    #[inline(always)]
    pub const fn silence_ns(&self) -> u64 {
        let patient = self.slow_ns * PATIENCE;
        if patient > SILENCE_NS {
            patient
        } else {
            SILENCE_NS
        }
    }

    #[inline(always)]
    const fn is_silent(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.since_ns) >= self.silence_ns()
    }

    /// The active pool has answered in the second half of the candidate's silence. Where both pools fall
    /// silent at a time, answers of the active one may be a little later than the candidate's. That it
    /// was not called meanwhile says nothing: at a large share it seldom is.
    #[inline(always)]
    const fn is_alone(&self, now_ns: u64) -> bool {
        let half = now_ns.saturating_sub(self.since_ns) / 2;
        self.baseline_ns > self.since_ns + half
    }

    /// Whether the record with this number sends no new connections to its candidate.
    #[inline(always)]
    pub const fn has_tripped(&self, epoch: u64) -> bool {
        epoch != 0 && self.tripped_epoch == epoch
    }

    /// When it tripped for one of the records with these numbers, the last one included: nanoseconds of
    /// `CLOCK_MONOTONIC`. Another record is another breaker, but no answer to what has tripped this one.
    pub const fn tripped(&self, first: u64, last: u64) -> Option<u64> {
        let epoch = self.tripped_epoch;
        if epoch == 0 || epoch < first || epoch > last {
            return None;
        }
        Some(self.tripped_ns)
    }
}

/// How long the slowest answers take once one has taken `waited_ns`; the first one is all there is.
#[inline(always)]
const fn slower(slow_ns: u64, waited_ns: u64) -> u64 {
    const MOST_NS: u64 = LONGEST_SILENCE_NS / PATIENCE;
    let waited_ns = if waited_ns > MOST_NS {
        MOST_NS
    } else {
        waited_ns
    };
    if slow_ns == 0 {
        return waited_ns;
    }
    if waited_ns <= slow_ns {
        return slow_ns - (slow_ns >> FALL);
    }
    let risen = slow_ns + (slow_ns >> RISE) + 1;
    if risen < waited_ns { risen } else { waited_ns }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeSet;

    use super::*;

    const MS: u64 = 1_000_000;
    const EPOCH: u64 = 7;
    const LIMIT: u32 = 5;

    fn of(cohort: u32, bucket: u32) -> Attempt {
        Attempt { cohort, bucket }
    }

    /// Attempts of the candidate's, each by the client of its number, so many milliseconds after
    /// another, the active pool answering just before each; the number of the one that trips.
    fn attempts(
        breaker: &mut Breaker,
        clients: impl IntoIterator<Item = u32>,
        every_ms: u64,
    ) -> Option<u32> {
        for (number, client) in (0..).zip(clients) {
            let now = (1000 + u64::from(number) * every_ms) * MS;
            breaker.answer(cohort::ODD, MS, now);
            let by = of(cohort::CANDIDATE, client);
            breaker.attempt(by, (EPOCH, LIMIT), now);
            if breaker.has_tripped(EPOCH) {
                return Some(number + 1);
            }
        }
        None
    }

    #[test]
    fn it_trips_after_so_many_clients_but_not_before_the_time_of_an_answer() {
        let fresh = Breaker::default;
        assert_eq!(attempts(&mut fresh(), 0..LIMIT - 1, 100), None);
        assert_eq!(attempts(&mut fresh(), 0..100, 100), Some(LIMIT));
        assert_eq!(attempts(&mut fresh(), 0..100, 1), Some(51));
        let mut breaker = fresh();
        attempts(&mut breaker, 0..100, 100);
        assert_eq!(breaker.tripped(EPOCH, EPOCH), Some(1400 * MS));
    }

    #[test]
    fn clients_that_call_again_do_not_lengthen_the_run() {
        for few in 1..LIMIT {
            let again = (0..1000).map(|number| number % few);
            assert_eq!(attempts(&mut Breaker::default(), again, 100), None);
        }
        let last = (0..500).map(|_| 9).chain(0..LIMIT);
        let tripped = attempts(&mut Breaker::default(), last, 100);
        assert_eq!(tripped, Some(500 + LIMIT - 1));
    }

    #[test]
    fn an_answer_of_the_candidates_begins_the_run_anew() {
        let mut breaker = Breaker::default();
        for round in 0..25 {
            let few = (round * 4..).take(LIMIT as usize - 1);
            assert_eq!(attempts(&mut breaker, few, 100), None);
            breaker.answer(cohort::CANDIDATE, MS, 0);
        }
        assert_eq!(attempts(&mut breaker, 0..100, 100), Some(LIMIT));
    }

    /// At a share of 90% the candidate is called nine times as often: many of its attempts may come
    /// before the active pool's first.
    #[test]
    fn it_does_not_trip_where_the_active_pool_is_silent_too() {
        for called in [0, 1, 2, 100] {
            let mut breaker = Breaker::default();
            breaker.answer(cohort::EVEN, MS, 999 * MS);
            for number in 0..200 {
                let now = (1000 + u64::from(number) * 10) * MS;
                if number < called {
                    breaker.attempt(of(cohort::EVEN, number), (EPOCH, LIMIT), now);
                }
                let by = of(cohort::CANDIDATE, number);
                breaker.attempt(by, (EPOCH, LIMIT), now);
            }
            assert!(!breaker.has_tripped(EPOCH), "{called}");
            breaker.answer(cohort::ODD, MS, 3000 * MS);
            let by = of(cohort::CANDIDATE, 0);
            breaker.attempt(by, (EPOCH, LIMIT), 3001 * MS);
            assert!(breaker.has_tripped(EPOCH), "the active pool is back");
        }
    }

    #[test]
    fn connections_of_the_active_pool_on_their_way_don_t_hold_it() {
        for (answered, trips) in [(1020, false), (1030, true)] {
            let mut breaker = Breaker::default();
            for number in 0..4 {
                let now = 1000 + u64::from(number);
                let by = of(cohort::CANDIDATE, number);
                breaker.attempt(by, (EPOCH, LIMIT), now * MS);
            }
            for client in 0..100 {
                breaker.attempt(of(cohort::ODD, client), (EPOCH, LIMIT), 1004 * MS);
            }
            breaker.answer(cohort::EVEN, MS, answered * MS);
            for client in 0..100 {
                breaker.attempt(of(cohort::ODD, client), (EPOCH, LIMIT), 1040 * MS);
            }
            let by = of(cohort::CANDIDATE, 4);
            breaker.attempt(by, (EPOCH, LIMIT), 1050 * MS);
            assert_eq!(breaker.has_tripped(EPOCH), trips, "{answered}");
        }
    }

    /// Both pools are called every 5 ms, and answer a call of a cohort after so many milliseconds, by its
    /// number, the candidate's if it answers at all; when it trips, if it does in 2 000 calls.
    fn trips_at(answers: bool, answer_ms: impl Fn(u32, u64) -> u64) -> Option<u64> {
        const EVERY_MS: u64 = 5;
        let mut breaker = Breaker::default();
        let mut due = BTreeSet::<(u64, u32, u64)>::new();
        for ms in 0..2000 * EVERY_MS {
            while let Some((at, of, called)) = due.first().copied().filter(|first| first.0 <= ms) {
                due.remove(&(at, of, called));
                if of != cohort::CANDIDATE || answers {
                    breaker.answer(of, (at - called) * MS, (1000 + at) * MS);
                }
            }
            if ms % EVERY_MS != 0 {
                continue;
            }
            let number = ms / EVERY_MS;
            let client = u32::try_from(number).expect("few calls");
            for of in [cohort::EVEN, cohort::CANDIDATE] {
                let by = self::of(of, client);
                breaker.attempt(by, (EPOCH, LIMIT), (1000 + ms) * MS);
                due.insert((ms + answer_ms(of, number), of, ms));
            }
            if breaker.has_tripped(EPOCH) {
                return Some(ms);
            }
        }
        None
    }

    #[test]
    fn pools_that_are_far_away_do_not_trip_it_and_a_silent_one_among_them_does() {
        for (answer_ms, silent) in [(1, 50), (10, 50), (60, 240), (250, 1000)] {
            let tripped = trips_at(true, |_, _| answer_ms);
            assert_eq!(tripped, None, "{answer_ms}");
            let tripped = trips_at(false, |_, _| answer_ms);
            assert_eq!(tripped, Some(silent), "{answer_ms}");
        }
    }

    /// One answer of the active pool's, the first of all, has taken half a minute.
    #[test]
    fn a_late_answer_makes_it_no_more_patient_than_the_longest_silence() {
        let mut breaker = Breaker::default();
        breaker.answer(cohort::ODD, 30_000 * MS, 999 * MS);
        assert_eq!(breaker.silence_ns(), LONGEST_SILENCE_NS);
        assert_eq!(attempts(&mut breaker, 0..LIMIT, 600), Some(LIMIT));
    }

    /// Each second a pool answers nobody for 60 ms, and then all who have called: the active pool first,
    /// the candidate half a second later.
    #[test]
    fn pools_that_both_stall_do_not_trip_it() {
        let stalls = |of, number: u64| {
            let begins = if of == cohort::CANDIDATE { 150 } else { 50 };
            match (number % 200).checked_sub(begins) {
                Some(behind @ 0..12) => 1 + (12 - behind) * 5,
                _ => 1,
            }
        };
        assert_eq!(trips_at(true, stalls), None);
        let alone = |of, number| {
            if of == cohort::CANDIDATE {
                stalls(of, number)
            } else {
                1
            }
        };
        assert_eq!(trips_at(true, alone), Some(800), "alone it does");
    }

    #[test]
    fn the_slowest_answers_are_those_of_the_99th_percentile() {
        // Times of 1 to 100 ms in an order that repeats after 100.
        let mut slow = 0;
        for number in 0..20_000_u64 {
            slow = slower(slow, (1 + number * 37 % 100) * MS);
        }
        assert!((80 * MS..=100 * MS).contains(&slow), "{slow}");
        // Where one of 1 000 takes a second, that is none of them.
        let mut most = 0;
        for number in 0..20_000_u64 {
            slow = slower(slow, if number % 1000 == 0 { 1000 * MS } else { MS });
            most = if number < 10_000 {
                0
            } else {
                u64::max(most, slow)
            };
        }
        assert!(most < 2 * MS, "{most}");
    }

    #[test]
    fn a_call_that_came_again_tells_nothing_of_how_long_answers_take() {
        let mut breaker = Breaker::default();
        breaker.answer(cohort::EVEN, 60 * MS, 1000 * MS);
        for _ in 0..100 {
            breaker.answer(cohort::EVEN, 0, 2000 * MS);
            breaker.answer(cohort::CANDIDATE, 3000 * MS, 3000 * MS);
        }
        assert_eq!(breaker.silence_ns(), 240 * MS);
    }

    #[test]
    fn another_record_is_another_breaker_and_what_has_tripped_is_not_forgotten() {
        let mut breaker = Breaker::default();
        attempts(&mut breaker, 0..100, 100);
        let by = of(cohort::CANDIDATE, 0);
        breaker.attempt(by, (EPOCH + 1, LIMIT), 9000 * MS);
        assert!(!breaker.has_tripped(EPOCH + 1) && !Breaker::default().has_tripped(0));
        for (first, last, told) in [
            (EPOCH, EPOCH + 1, true),
            (EPOCH - 1, EPOCH, true),
            (EPOCH + 1, EPOCH + 1, false),
            (EPOCH - 2, EPOCH - 1, false),
        ] {
            assert_eq!(breaker.tripped(first, last).is_some(), told, "{first}");
        }
        assert_eq!(Breaker::default().tripped(0, 9), None);
    }
}
