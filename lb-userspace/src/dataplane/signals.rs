//! What the packet path has counted of measured connections.

use lb_common::signal::{
    Histogram, Tally, cohort,
    histogram::{HISTOGRAMS, ROWS, Row},
};

/// The cohorts of one service: the candidate's, and both halves of the active pool's
/// ([`cohort::CANDIDATE`] and the others). Nothing is ever cleared: take differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// By number.
    pub cohorts: [Cohort; cohort::COUNT as usize],
}

/// One cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cohort {
    /// Trials and failures.
    pub tally: Tally,
    /// By [`Histogram`].
    pub histograms: [Vec<Row>; HISTOGRAMS as usize],
}

impl Default for Cohort {
    fn default() -> Self {
        Self {
            tally: Tally::default(),
            histograms: [(); HISTOGRAMS as usize].map(|()| vec![Row::default(); ROWS as usize]),
        }
    }
}

impl Cohort {
    /// The rows of one histogram.
    pub fn histogram(&self, histogram: Histogram) -> &[Row] {
        &self.histograms[histogram as usize]
    }

    /// How many samples a histogram has.
    pub fn samples(&self, histogram: Histogram) -> u64 {
        let bins = self.histogram(histogram).as_flattened().iter();
        bins.map(|&count| u64::from(count)).sum()
    }
}
