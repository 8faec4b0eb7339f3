//! How often outcomes went wrong so far: what bets on the next block are made by.

use serde::{Deserialize, Serialize};

use super::Tally;

/// What is thought before anything was seen: one of a hundred, and as sure of it as 50 outcomes make.
const PRIOR: (f64, f64) = (0.5, 50.0);
/// Older outcomes fade once there are more than these, so that a rate that drifts is followed.
const MEMORY: f64 = 50_000.0;
/// No bet says that something is impossible, or sure.
const LEAST: f64 = 1e-5;

/// A rate that is learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    failures: f64,
    trials: f64,
}

impl Estimate {
    /// The rate by what was seen so far.
    pub fn rate(self) -> f64 {
        let rate = (self.failures + PRIOR.0) / (self.trials + PRIOR.1);
        rate.clamp(LEAST, 1.0 - LEAST)
    }

    /// How many outcomes it is learnt from.
    pub const fn seen(self) -> f64 {
        self.trials
    }

    /// The same after some more outcomes.
    #[must_use]
    pub fn after(self, seen: Tally) -> Self {
        let (failed, fine) = seen.parts();
        let (failures, trials) = (self.failures + failed, self.trials + failed + fine);
        let fade = (MEMORY / trials).min(1.0);
        Self {
            failures: failures * fade,
            trials: trials * fade,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_near_what_is_seen_and_follows_when_that_changes() {
        let mut estimate = Estimate::default();
        assert!((estimate.rate() - 0.01).abs() < 1e-9);
        for _ in 0..200 {
            estimate = estimate.after(Tally::new(1000, 2));
        }
        assert!((estimate.rate() - 0.002).abs() < 1e-4, "{estimate:?}");
        for _ in 0..200 {
            estimate = estimate.after(Tally::new(1000, 20));
        }
        assert!((estimate.rate() - 0.02).abs() < 1e-3, "{estimate:?}");
    }
}
