//! The breaker: new connections leave a candidate that answers nobody, without a word from userspace.

use bytemuck::{Pod, Zeroable};

use super::cohort;

/// Attempts of a candidate must have been without an answer for as long: a backend that is far away
/// needs that time.
pub const SILENCE_NS: u64 = 50_000_000;
/// Attempts of the active pool in a row without an answer that are no fault of the candidate's.
const BASELINE: u32 = 2;

/// What one service's new connections have met, under one record.
///
/// Several CPUs write it, and an attempt that is lost in between makes the breaker a little later. Only
/// `tripped_epoch` decides anything: one word, and so whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Breaker {
    /// The record's number that the counts are of.
    epoch: u64,
    /// The record's number that it has tripped for; 0 for none.
    tripped_epoch: u64,
    /// When it did, in nanoseconds of `CLOCK_MONOTONIC`.
    tripped_ns: u64,
    /// The first of the candidate's attempts in a row; the same clock.
    since_ns: u64,
    /// The last answer of the active pool; the same clock.
    baseline_ns: u64,
    /// Attempts of the candidate in a row without an answer; none is counted once it has tripped.
    run: u32,
    /// The same of the active pool.
    baseline_run: u32,
}

const _: () = assert!(size_of::<Breaker>() == 48);

/// When and after what a breaker has tripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The candidate's attempts in a row without an answer.
    pub attempts: u32,
}

impl Breaker {
    /// A connection of a cohort begins, under a record with a limit that is not 0.
    #[inline(always)]
    pub const fn attempt(&mut self, of: u32, (epoch, limit): (u64, u32), now_ns: u64) {
        if self.epoch != epoch {
            (self.run, self.baseline_run) = (0, 0);
            self.epoch = epoch;
        }
        if of != cohort::CANDIDATE {
            self.baseline_run = self.baseline_run.saturating_add(1);
            return;
        }
        if self.has_tripped(epoch) {
            return;
        }
        if self.run == 0 {
            self.since_ns = now_ns;
        }
        self.run = self.run.saturating_add(1);
        if self.run >= limit && self.is_silent(now_ns) && self.is_alone(now_ns) {
            self.tripped_ns = now_ns;
            self.tripped_epoch = epoch;
        }
    }

    /// A connection of a cohort is answered.
    #[inline(always)]
    pub const fn answer(&mut self, of: u32, now_ns: u64) {
        if of == cohort::CANDIDATE {
            if !self.has_tripped(self.epoch) {
                self.run = 0;
            }
        } else {
            self.baseline_run = 0;
            self.baseline_ns = now_ns;
        }
    }

    #[inline(always)]
    const fn is_silent(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.since_ns) >= SILENCE_NS
    }

    /// The active pool answers: at once, or at least it has in the second half of the candidate's silence.
    /// Of many connections that begin at a time, some are always on their way; and where both pools fall
    /// silent at a time, answers of the active one may be a little later than the candidate's.
    #[inline(always)]
    const fn is_alone(&self, now_ns: u64) -> bool {
        let half = now_ns.saturating_sub(self.since_ns) / 2;
        self.baseline_run < BASELINE || self.baseline_ns > self.since_ns + half
    }

    /// Whether the record with this number sends no new connections to its candidate.
    #[inline(always)]
    pub const fn has_tripped(&self, epoch: u64) -> bool {
        epoch != 0 && self.tripped_epoch == epoch
    }

    /// What userspace is to know, of the record with this number.
    pub const fn tripped(&self, epoch: u64) -> Option<Tripped> {
        if !self.has_tripped(epoch) {
            return None;
        }
        Some(Tripped {
            at_ns: self.tripped_ns,
            attempts: self.run,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const EPOCH: u64 = 7;
    const LIMIT: u32 = 5;

    /// Attempts of the candidate, so many milliseconds after another; the number of the one that trips.
    fn attempts(breaker: &mut Breaker, count: u32, every_ms: u64) -> Option<u32> {
        for number in 0..count {
            let now = (1000 + u64::from(number) * every_ms) * MS;
            breaker.attempt(cohort::CANDIDATE, (EPOCH, LIMIT), now);
            if breaker.has_tripped(EPOCH) {
                return Some(number + 1);
            }
        }
        None
    }

    #[test]
    fn it_trips_after_so_many_attempts_but_not_before_the_time_of_an_answer() {
        assert_eq!(attempts(&mut Breaker::default(), LIMIT - 1, 100), None);
        assert_eq!(attempts(&mut Breaker::default(), 100, 100), Some(LIMIT));
        assert_eq!(attempts(&mut Breaker::default(), 100, 1), Some(51));
        let mut breaker = Breaker::default();
        attempts(&mut breaker, 100, 100);
        let tripped = Tripped {
            at_ns: 1400 * MS,
            attempts: LIMIT,
        };
        assert_eq!(breaker.tripped(EPOCH), Some(tripped));
    }

    #[test]
    fn an_answer_of_the_candidates_begins_the_count_anew() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            assert_eq!(attempts(&mut breaker, LIMIT - 1, 100), None);
            breaker.answer(cohort::CANDIDATE, 0);
        }
        assert_eq!(attempts(&mut breaker, 100, 100), Some(LIMIT));
    }

    #[test]
    fn it_does_not_trip_where_the_active_pool_is_silent_too() {
        for of in [cohort::EVEN, cohort::ODD] {
            let mut breaker = Breaker::default();
            for _ in 0..BASELINE {
                breaker.attempt(of, (EPOCH, LIMIT), 900 * MS);
            }
            assert_eq!(attempts(&mut breaker, 100, 100), None);
            breaker.answer(of, 1001 * MS);
            breaker.attempt(cohort::CANDIDATE, (EPOCH, LIMIT), 20_000 * MS);
            assert!(breaker.has_tripped(EPOCH), "the active pool is back");
        }
    }

    #[test]
    fn connections_of_the_active_pool_on_their_way_don_t_hold_it() {
        for (answered, trips) in [(1020, false), (1030, true)] {
            let mut breaker = Breaker::default();
            for now in [1000, 1001, 1002, 1003] {
                breaker.attempt(cohort::CANDIDATE, (EPOCH, LIMIT), now * MS);
            }
            for _ in 0..100 {
                breaker.attempt(cohort::ODD, (EPOCH, LIMIT), 1004 * MS);
            }
            breaker.answer(cohort::EVEN, answered * MS);
            for _ in 0..100 {
                breaker.attempt(cohort::ODD, (EPOCH, LIMIT), 1040 * MS);
            }
            breaker.attempt(cohort::CANDIDATE, (EPOCH, LIMIT), 1050 * MS);
            assert_eq!(breaker.has_tripped(EPOCH), trips, "{answered}");
        }
    }

    #[test]
    fn another_record_is_another_breaker() {
        let mut breaker = Breaker::default();
        attempts(&mut breaker, 100, 100);
        assert!(!breaker.has_tripped(EPOCH + 1));
        breaker.attempt(cohort::CANDIDATE, (EPOCH + 1, LIMIT), 9000 * MS);
        assert!(!breaker.has_tripped(EPOCH + 1) && !Breaker::default().has_tripped(0));
    }
}
