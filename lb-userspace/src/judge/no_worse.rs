//! Is the candidate no worse than by δ? The same kind of test, against the candidate.
//!
//! The null hypothesis is that its clients fail with a probability that is greater by δ at least, pc >=
//! ps + δ. The bet is that both fail alike, with the rate θ that was seen so far; it pays the likelihood
//! by that, over the likelihood by the pair (ps + δ, ps) that comes nearest to it in Kullback and
//! Leibler's measure. Pairs of the null are a convex set, and the nearest one is on its edge, so that
//! the pay is 1 at most on average for each of them (Turner, Ly and Grünwald, arXiv 2106.02693,
//! section 3).

use serde::{Deserialize, Serialize};

use super::{
    Block,
    estimate::Estimate,
    harm::{nearest, weighed},
};

/// Outcomes that must have been seen before there is a bet. By what is thought before anything was
/// seen, a first block of some hundreds loses more than tens of thousands of connections win back.
const LEARNT: f64 = 100.0;

/// The evidence that the candidate is no worse than by a margin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoWorse {
    margin: f64,
    log_e: f64,
    rate: Estimate,
}

impl NoWorse {
    /// Nothing seen yet; the margin is a difference of rates, above 0.
    pub fn new(margin: f64) -> Self {
        Self {
            margin,
            log_e: 0.0,
            rate: Estimate::default(),
        }
    }

    /// Begins anew; what rate is to be expected it has learnt.
    pub const fn restart(&mut self) {
        self.log_e = 0.0;
    }

    /// Takes a block into account. Its size must not have been chosen by its outcomes.
    pub fn observe(&mut self, block: &Block) {
        if block.compares() && self.rate.seen() >= LEARNT {
            self.log_e += self.payoff(block);
        }
        self.rate = self.rate.after(block.candidate).after(block.baseline);
    }

    /// The natural logarithm of the evidence.
    pub const fn log_e(&self) -> f64 {
        self.log_e
    }

    fn payoff(&self, block: &Block) -> f64 {
        let rate = self.rate.rate();
        let ((fc, oc), (fs, os)) = (block.candidate.parts(), block.baseline.parts());
        let baseline = nearest((rate, rate), self.margin, (fc + oc, fs + os));
        let candidate = baseline + self.margin;
        weighed(fc, rate / candidate)
            + weighed(oc, (1.0 - rate) / (1.0 - candidate))
            + weighed(fs, rate / baseline)
            + weighed(os, (1.0 - rate) / (1.0 - baseline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Tally;

    /// The mean of what the bet on `rate` pays, for a block of one of each cohort.
    fn mean_pay(rate: f64, margin: f64, (candidate, baseline): (f64, f64)) -> f64 {
        let near = nearest((rate, rate), margin, (1.0, 1.0));
        let of =
            |real: f64, null: f64| real * rate / null + (1.0 - real) * (1.0 - rate) / (1.0 - null);
        of(candidate, near + margin) * of(baseline, near)
    }

    #[test]
    fn a_first_block_of_very_many_is_learnt_from_and_costs_nothing() {
        let busy = Block {
            candidate: Tally::new(100, 45),
            baseline: Tally::new(300, 135),
        };
        let mut test = NoWorse::new(0.05);
        test.observe(&busy);
        assert!(test.log_e().abs() < 1e-9, "{}", test.log_e());
        for _ in 0..20 {
            test.observe(&busy);
        }
        assert!(test.log_e() > 3.0, "{}", test.log_e());
    }

    #[test]
    fn the_bet_wins_against_no_pair_that_is_worse_by_the_margin() {
        for rate in [0.0001, 0.002, 0.05, 0.5, 0.98] {
            for margin in [0.005, 0.05] {
                for step in 0..=100 {
                    let baseline = f64::from(step) / 100.0 * (1.0 - margin);
                    for more in [0.0, 0.01, 0.2] {
                        let candidate = (baseline + margin + more).min(1.0);
                        let mean = mean_pay(rate, margin, (candidate, baseline));
                        assert!(mean <= 1.0 + 1e-6, "{rate} {margin} {baseline}: {mean}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_that_is_as_good_is_found_to_be() {
        let mut test = NoWorse::new(0.005);
        for _ in 0..100 {
            test.observe(&Block {
                candidate: Tally::new(500, 1),
                baseline: Tally::new(500, 1),
            });
        }
        assert!(test.log_e() > 20_f64.ln(), "{test:?}");
    }

    #[test]
    fn one_that_is_worse_is_not() {
        let mut test = NoWorse::new(0.005);
        for _ in 0..100 {
            test.observe(&Block {
                candidate: Tally::new(1000, 7),
                baseline: Tally::new(1000, 2),
            });
        }
        assert!(test.log_e() < 3.0, "{test:?}");
    }
}
