//! What was counted on both sides.

use serde::{Deserialize, Serialize};

/// Outcomes of one cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Outcomes in all.
    pub trials: u64,
    /// Those that went wrong; never more than there were.
    pub failures: u64,
}

impl Tally {
    /// Outcomes of which some went wrong; more than all of them can't have.
    pub const fn new(trials: u64, failures: u64) -> Self {
        let failures = if failures > trials { trials } else { failures };
        Self { trials, failures }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            trials: self.trials + other.trials,
            failures: self.failures + other.failures,
        }
    }

    /// What has come since an `earlier` look; nothing where a counter went back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        let trials = self.trials.saturating_sub(earlier.trials);
        Self::new(trials, self.failures.saturating_sub(earlier.failures))
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
    }

    #[test]
    fn counters_that_went_back_tell_nothing() {
        let (before, after) = (Tally::new(10, 4), Tally::new(3, 1));
        assert_eq!(after.since(before), Tally::default());
        assert_eq!(Tally::new(13, 5).since(before), Tally::new(3, 1));
    }
}
