//! What the dashboard is told each second.

use std::collections::BTreeMap;

use lb_common::signal::{
    Histogram, cohort,
    histogram::{BINS, Bin, ROWS, lowest},
};
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        judged::Judged,
        model::{Line, Measured, ReleaseStatus, Status},
    },
    dataplane::signals::{Cohort, Signals},
};

/// Bins of a row.
const PLACES: u32 = 8;
const _: () = assert!(PLACES as usize == BINS);

/// `/v1/stream`: the query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    /// The service that all is told of; of the others only what a line has room for.
    #[serde(default)]
    pub service: Option<String>,
    /// Only entries of the log with a higher number; the header `Last-Event-ID` goes before it.
    #[serde(default)]
    pub after: u64,
}

/// A line of the table of services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What `serin list` has.
    #[serde(flatten)]
    pub line: Line,
    /// What the kernel counted since the last change of the mapping; null without a candidate.
    pub measured: Option<Measured>,
    /// The release that goes by a plan, or the last that did; null if none has been started.
    pub release: Option<ReleaseStatus>,
}

/// Everything about one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// What `serin status` says.
    pub status: Status,
    /// The evidence; null if the release is not judged, or nothing has been measured yet.
    pub judged: Option<Judged>,
    /// How long clients waited in this release; null if it is not judged.
    pub latency: Option<Latency>,
}

/// Distributions of times, of one release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// From the SYN to its answer (`nat`), or to the client's first segment after it.
    pub handshake: Curves,
    /// From the client's first payload to the server's (`nat` only).
    pub first_byte: Curves,
}

/// One distribution of both cohorts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curves {
    /// The candidate's.
    pub candidate: Curve,
    /// Both halves of what the judge compares it with.
    pub baseline: Curve,
}

/// For each bin that is not empty: where it ends, in microseconds, and how many values it has.
pub type Curve = Vec<(u64, u64)>;

impl From<&Signals> for Latency {
    fn from(signals: &Signals) -> Self {
        let cohort = |number: u32| &signals.cohorts[number as usize];
        let candidate = [cohort(cohort::CANDIDATE)];
        let baseline = [cohort(cohort::EVEN), cohort(cohort::ODD)];
        let curves = |histogram| Curves {
            candidate: curve(&candidate, histogram),
            baseline: curve(&baseline, histogram),
        };
        Self {
            handshake: curves(Histogram::Handshake),
            first_byte: curves(Histogram::FirstByte),
        }
    }
}

impl Latency {
    /// What has come since these counts were `before`: the kernel clears none for another release.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            handshake: self.handshake.since(&before.handshake),
            first_byte: self.first_byte.since(&before.first_byte),
        }
    }
}

impl Curves {
    fn since(&self, before: &Self) -> Self {
        Self {
            candidate: risen(&self.candidate, &before.candidate),
            baseline: risen(&self.baseline, &before.baseline),
        }
    }
}

/// What has come since; all of it where counts went back, which begin anew with new maps.
fn risen(curve: &[(u64, u64)], before: &[(u64, u64)]) -> Curve {
    let now: BTreeMap<u64, u64> = curve.iter().copied().collect();
    let count = |end: &u64| now.get(end).copied().unwrap_or(0);
    if before.iter().any(|(end, before)| count(end) < *before) {
        return curve.to_vec();
    }
    let before: BTreeMap<u64, u64> = before.iter().copied().collect();
    let risen = now.iter().map(|(&end, &count)| {
        let before = before.get(&end).copied().unwrap_or(0);
        (end, count - before)
    });
    risen.filter(|&(_, count)| count > 0).collect()
}

fn curve(cohorts: &[&Cohort], histogram: Histogram) -> Curve {
    let bins = (0..ROWS).flat_map(|row| (0..PLACES).map(move |place| Bin { row, place }));
    let filled = bins.filter_map(|bin| {
        let rows = cohorts.iter().map(|cohort| cohort.histogram(histogram));
        let counts = rows.map(|rows| u64::from(rows[bin.row as usize][bin.place as usize]));
        let count: u64 = counts.sum();
        (count > 0).then(|| (end(bin), count))
    });
    filled.collect()
}

/// Where the next one begins.
const fn end(bin: Bin) -> u64 {
    let last = bin.place + 1 == PLACES;
    lowest(Bin {
        row: if last { bin.row + 1 } else { bin.row },
        place: if last { 0 } else { bin.place + 1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_the_bins_that_are_not_empty_of_both_halves() {
        let mut signals = Signals::default();
        for (number, row, place) in [
            (cohort::CANDIDATE, 0, 7),
            (cohort::EVEN, 2, 3),
            (cohort::ODD, 2, 3),
            (cohort::ODD, 23, 7),
        ] {
            let histograms = &mut signals.cohorts[number as usize].histograms;
            histograms[Histogram::Handshake as usize][row][place] = 2;
        }
        let latency = Latency::from(&signals);
        assert_eq!(latency.handshake.candidate, [(8, 2)]);
        // The bin 22 to 23, and the last, which ends at 2^26.
        assert_eq!(latency.handshake.baseline, [(24, 4), (1 << 26, 2)]);
        assert!(latency.first_byte.candidate.is_empty());
    }

    #[test]
    fn a_release_is_told_of_its_own_latencies_alone() {
        let before = [(8, 2), (16, 3), (24, 1)];
        let now = [(8, 2), (16, 5), (24, 1), (32, 4)];
        assert_eq!(risen(&now, &before), [(16, 2), (32, 4)]);
        assert_eq!(risen(&before, &now), before, "counted anew");
        assert_eq!(risen(&now, &[]), now);
        assert_eq!(risen(&before, &before), []);
    }
}
