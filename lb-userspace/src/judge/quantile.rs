//! Values made into outcomes: does one lie beyond what the baseline's had been?

use lb_common::signal::histogram::{BINS, Bin, bin, lowest};
use serde::{Deserialize, Serialize};

use super::{Cohorts, Tally};

/// Values that must have been seen before there is a quantile.
const ENOUGH: u64 = 20;
/// Older values fade once there are more than these.
const MEMORY: u64 = 50_000;

/// How many values fell into each bin of a histogram of the packet path.
pub type Bins = Vec<u64>;

/// By how much a candidate may be beyond the baseline before it counts: a test that waits for as long
/// as it takes would find the difference of a cold cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slack {
    /// So many units, less what is not a whole bin of the histogram.
    Units(u64),
    /// So many bins of the histogram, an eighth or less each.
    Bins(usize),
}

/// On which side of the quantile a value is not fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Above it.
    Above,
    /// Below it.
    Below,
}

/// A quantile of the baseline, as its values come.
///
/// A block is judged by what was seen before it alone, so that within it, values of cohorts that are
/// alike lie beyond the quantile with the same probability, whatever it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    part: f64,
    side: Side,
    slack: Slack,
    seen: Bins,
}

impl Quantile {
    /// The value that this part of the baseline does not exceed.
    pub const fn new(part: f64, side: Side, slack: Slack) -> Self {
        let seen = Vec::new();
        Self {
            part,
            side,
            slack,
            seen,
        }
    }

    /// The part of the baseline's values that does not exceed it.
    pub const fn part(&self) -> f64 {
        self.part
    }

    /// On which side of it a value is not fine.
    pub const fn side(&self) -> Side {
        self.side
    }

    /// The outcomes of a block of values; nothing as long as too few were seen.
    pub fn judge(&mut self, block: &Cohorts<Bins>) -> Option<Cohorts<Tally>> {
        let judged = self.bin().map(|edge| {
            let judged = block.map(|bins| outcomes(bins, edge, self.side));
            Cohorts {
                candidate: outcomes(&block.candidate, self.beyond(edge), self.side),
                ..judged
            }
        });
        block.baseline.iter().for_each(|bins| self.learn(bins));
        judged
    }

    /// The bin that the quantile lies in.
    pub fn bin(&self) -> Option<usize> {
        let total: u64 = self.seen.iter().sum();
        if total < ENOUGH {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a number below 2^53"
        )]
        let wanted = (self.part * total as f64).ceil() as u64;
        let mut below = 0;
        self.seen.iter().position(|&count| {
            below += count;
            below >= wanted.max(1)
        })
    }

    /// The bin that candidates' values must lie beyond.
    fn beyond(&self, edge: usize) -> usize {
        match (self.slack, self.side) {
            (Slack::Units(units), Side::Above) => edge.max(place(bin(value(edge + 1) + units)) - 1),
            (Slack::Units(units), Side::Below) => {
                edge.min(place(bin(value(edge).saturating_sub(units))) + 1)
            }
            (Slack::Bins(bins), Side::Above) => edge + bins,
            (Slack::Bins(bins), Side::Below) => edge.saturating_sub(bins),
        }
    }

    fn learn(&mut self, bins: &[u64]) {
        if bins.iter().all(|&count| count == 0) {
            return;
        }
        if self.seen.len() < bins.len() {
            self.seen.resize(bins.len(), 0);
        }
        for (seen, count) in self.seen.iter_mut().zip(bins) {
            *seen += count;
        }
        if self.seen.iter().sum::<u64>() > MEMORY {
            self.seen.iter_mut().for_each(|count| *count /= 2);
        }
    }
}

/// The lowest value of a bin.
pub fn value(number: usize) -> u64 {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let bins = u32::try_from(BINS).unwrap_or(1);
    let (row, place) = (number / bins, number % bins);
    lowest(Bin { row, place })
}

/// The number of a bin.
const fn place(bin: Bin) -> usize {
    bin.row as usize * BINS + bin.place as usize
}

fn outcomes(bins: &[u64], edge: usize, side: Side) -> Tally {
    let beyond = |bin: usize| match side {
        Side::Above => bin > edge,
        Side::Below => bin < edge,
    };
    let indexed = || bins.iter().enumerate();
    let failures = indexed().filter(|&(bin, _)| beyond(bin)).map(|(_, n)| n);
    Tally::new(bins.iter().sum(), failures.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(candidate: [u64; 4], baseline: [u64; 4]) -> Cohorts<Bins> {
        Cohorts {
            candidate: candidate.to_vec(),
            baseline: [baseline.to_vec(), vec![0; 4]],
        }
    }

    #[test]
    fn a_block_is_judged_by_those_before_it() {
        let mut median = Quantile::new(0.5, Side::Above, Slack::Bins(0));
        assert_eq!(median.judge(&block([0, 0, 0, 9], [10, 10, 0, 0])), None);
        assert_eq!(median.bin(), Some(0));
        let judged = median.judge(&block([1, 2, 3, 0], [0, 100, 0, 0]));
        let judged = judged.expect("enough was seen");
        assert_eq!(judged.candidate, Tally::new(6, 5));
        assert_eq!(judged.baseline[0], Tally::new(100, 100));
        assert_eq!(median.bin(), Some(1));
    }

    #[test]
    fn below_is_the_other_side() {
        let mut median = Quantile::new(0.5, Side::Below, Slack::Bins(0));
        median.judge(&block([0; 4], [0, 0, 20, 0]));
        let judged = median.judge(&block([3, 4, 5, 6], [0; 4]));
        let judged = judged.expect("enough was seen");
        assert_eq!(judged.candidate, Tally::new(18, 7));
    }

    #[test]
    fn old_values_fade() {
        let mut median = Quantile::new(0.5, Side::Above, Slack::Bins(0));
        for _ in 0..100 {
            median.judge(&block([0; 4], [1000, 0, 0, 0]));
        }
        for _ in 0..100 {
            median.judge(&block([0; 4], [0, 0, 0, 1000]));
        }
        assert_eq!(median.bin(), Some(3));
    }

    #[test]
    fn a_candidate_may_be_a_little_beyond() {
        for (slack, failures) in [
            (Slack::Units(0), 3),
            (Slack::Units(2), 1),
            (Slack::Bins(1), 2),
        ] {
            let mut median = Quantile::new(0.5, Side::Above, slack);
            median.judge(&block([0; 4], [20, 0, 0, 0]));
            let mut block = block([0, 1, 1, 1], [0, 0, 0, 7]);
            block.candidate.extend([0; 4]);
            let judged = median.judge(&block).expect("enough was seen");
            assert_eq!(judged.candidate, Tally::new(3, failures), "{slack:?}");
            assert_eq!(judged.baseline[0], Tally::new(7, 7), "{slack:?}");
        }
    }
}
