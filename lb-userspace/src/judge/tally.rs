//! What was counted on both sides.

use serde::{Deserialize, Serialize};

/// Outcomes of one cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Outcomes in all.
    pub trials: u64,
    /// Those that went wrong; never more than there were.
    pub failures: u64,
    /// Those that were the first of their client; of values, none is told.
    #[serde(default, skip_serializing_if = "is_none")]
    pub firsts: u64,
    /// Those of them that went wrong.
    #[serde(default, skip_serializing_if = "is_none")]
    pub first_failures: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Some of so many; more than all can't be.
const fn at_most(some: u64, all: u64) -> u64 {
    if some > all { all } else { some }
}

impl Tally {
    /// Outcomes of which some went wrong; more than all of them can't have.
    pub const fn new(trials: u64, failures: u64) -> Self {
        Self {
            trials,
            failures: at_most(failures, trials),
            firsts: 0,
            first_failures: 0,
        }
    }

    /// The same, of which so many were the first of their client, and so many of these went wrong.
    #[must_use]
    pub const fn of_clients(self, firsts: u64, failures: u64) -> Self {
        Self {
            firsts,
            first_failures: at_most(failures, firsts),
            ..self
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            trials: self.trials + other.trials,
            failures: self.failures + other.failures,
            firsts: self.firsts + other.firsts,
            first_failures: self.first_failures + other.first_failures,
        }
    }

    /// What has come since an `earlier` look; nothing where a counter went back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        let trials = self.trials.saturating_sub(earlier.trials);
        let failures = self.failures.saturating_sub(earlier.failures);
        Self::new(trials, failures).of_clients(
            self.firsts.saturating_sub(earlier.firsts),
            self.first_failures.saturating_sub(earlier.first_failures),
        )
    }

    /// Those that were the first of their client, alone.
    #[must_use]
    pub const fn clients(self) -> Self {
        Self::new(self.firsts, self.first_failures)
    }

    /// The part that went wrong; nothing without outcomes.
    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 connections are not reached"
    )]
    pub fn rate(self) -> Option<f64> {
        (self.trials > 0).then(|| self.failures as f64 / self.trials as f64)
    }

    /// Outcomes that went wrong, and those that did not.
    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 connections are not reached"
    )]
    pub(super) const fn parts(self) -> (f64, f64) {
        let fine = self.trials - self.failures;
        (self.failures as f64, fine as f64)
    }
}

/// Outcomes of both cohorts from the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Clients of the candidate.
    pub candidate: Tally,
    /// Clients of the active pool.
    pub baseline: Tally,
}

impl Block {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            candidate: self.candidate.plus(other.candidate),
            baseline: self.baseline.plus(other.baseline),
        }
    }

    /// Whether there is something to compare.
    pub const fn compares(&self) -> bool {
        self.candidate.trials > 0 && self.baseline.trials > 0
    }

    /// Whether nothing was counted.
    pub const fn is_empty(&self) -> bool {
        self.candidate.trials == 0 && self.baseline.trials == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_all_can_not_fail() {
        assert_eq!(Tally::new(3, 5), Tally::new(3, 3));
        let clients = Tally::new(9, 5).of_clients(3, 5).clients();
        assert_eq!(clients, Tally::new(3, 3));
    }

    #[test]
    fn counters_that_went_back_tell_nothing() {
        let (before, after) = (Tally::new(10, 4), Tally::new(3, 1));
        assert_eq!(after.since(before), Tally::default());
        assert_eq!(Tally::new(13, 5).since(before), Tally::new(3, 1));
        let clients = Tally::new(13, 5).of_clients(7, 2);
        let more = clients.plus(Tally::new(4, 3).of_clients(2, 1));
        assert_eq!(more.since(clients), Tally::new(4, 3).of_clients(2, 1));
        assert_eq!(more.clients(), Tally::new(9, 3));
    }
}
