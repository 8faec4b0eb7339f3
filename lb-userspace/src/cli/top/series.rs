//! The last minutes, second by second: connections of each pool and backend, and the share asked for.

use std::collections::{BTreeMap, VecDeque};

use crate::api::model::Status;

/// Seconds that are kept.
const KEPT: usize = 300;
/// A sample of less than this is none: two that came together, or a clock that was set back.
const LEAST_S: f64 = 0.2;
/// The measured share is that of so many seconds: of one alone it would jump about.
const SPAN: usize = 10;

/// Pool and backend.
type Name = (String, String);

#[derive(Debug, Default)]
pub struct Series {
    samples: VecDeque<Sample>,
    /// How many are no longer kept.
    dropped: usize,
    /// Connections that had been counted by then, and when.
    before: Option<(u64, BTreeMap<Name, u64>)>,
}

/// What one second had.
#[derive(Debug, Default)]
struct Sample {
    /// The candidate and its share, if there is one.
    asked: Option<(String, u32)>,
    seconds: f64,
    begun: BTreeMap<Name, u64>,
}

impl Series {
    /// Takes another second in.
    pub fn take(&mut self, at_ms: u64, status: &Status) {
        let backends = status.pools.iter().flat_map(|pool| {
            let backends = pool.backends.iter();
            backends.map(|b| ((pool.name.clone(), b.name.clone()), b.traffic.connections))
        });
        let counted: BTreeMap<Name, u64> = backends.collect();
        let passed = |then_ms: u64| at_ms.saturating_sub(then_ms);
        let seconds = |ms: u64| f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0;
        if let Some((then_ms, before)) = &self.before
            && seconds(passed(*then_ms)) >= LEAST_S
        {
            // One that was not there has begun none; counters of new maps begin anew.
            let begun = counted.iter().map(|(name, &now)| {
                let before = before.get(name).copied().unwrap_or(now);
                (name.clone(), now.saturating_sub(before))
            });
            let release = status.release.as_ref().filter(|release| release.under_way);
            let asked = release
                .and_then(|release| Some((release.candidate.clone(), release.asked_share_ppm?)));
            let by_hand = || Some((status.candidate.clone()?, status.share_ppm));
            self.samples.push_back(Sample {
                asked: asked.or_else(by_hand),
                seconds: seconds(passed(*then_ms)),
                begun: begun.collect(),
            });
        }
        if self.samples.len() > KEPT {
            self.samples.pop_front();
            self.dropped += 1;
        }
        self.before = Some((at_ms, counted));
    }

    /// Whether no second has passed yet.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The shares asked for, in percent, second by second; the newest last.
    pub fn asked(&self) -> Vec<Option<f64>> {
        let samples = self.samples.iter();
        let asked = samples.map(|sample| sample.asked.as_ref().map(|(_, ppm)| percent(*ppm)));
        asked.collect()
    }

    /// The shares that the candidate had of the connections that began.
    pub fn measured(&self) -> Vec<Option<f64>> {
        let all = 0..self.samples.len();
        all.map(|at| self.measured_at(at)).collect()
    }

    /// Such a series in so many columns, of as many seconds each as it takes for all that is kept: their
    /// mean. A second stays in its column.
    pub fn columns(&self, series: &[Option<f64>], width: usize) -> Vec<Option<f64>> {
        let seconds = KEPT.div_ceil(width.max(1));
        let newest = (self.dropped + series.len()).saturating_sub(1) / seconds;
        let mut sums = vec![(0.0, 0.0); width];
        for (second, value) in (self.dropped..).zip(series) {
            let back = newest - second / seconds;
            if let (Some(value), Some(column)) = (value, width.checked_sub(back + 1)) {
                sums[column].0 += value;
                sums[column].1 += 1.0;
            }
        }
        let means = sums.into_iter();
        means
            .map(|(sum, count)| (count > 0.0).then(|| sum / count))
            .collect()
    }

    fn measured_at(&self, at: usize) -> Option<f64> {
        let (candidate, _) = self.samples[at].asked.as_ref()?;
        let first = (at + 1).saturating_sub(SPAN);
        let span = self.samples.range(first..=at);
        // Only of the share as it is: what was before another step is of that one.
        let span = span.filter(|sample| sample.asked == self.samples[at].asked);
        let (mut of_candidate, mut of_all) = (0, 0);
        for ((pool, _), begun) in span.flat_map(|sample| &sample.begun) {
            of_all += begun;
            of_candidate += if pool == candidate { *begun } else { 0 };
        }
        (of_all > 0).then(|| float(of_candidate) / float(of_all) * 100.0)
    }

    /// Connections a second by pool, or by backend.
    pub fn rates(&self, by_backend: bool) -> Vec<(String, Vec<Option<f64>>)> {
        let name = |(pool, backend): &Name| {
            if by_backend {
                format!("{pool}/{backend}")
            } else {
                pool.clone()
            }
        };
        let mut all: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
        for (at, sample) in self.samples.iter().enumerate() {
            for (of, &begun) in &sample.begun {
                let series = all.entry(name(of)).or_default();
                series.resize(at + 1, None);
                let rate = series[at].unwrap_or(0.0) + float(begun) / sample.seconds;
                series[at] = Some(rate);
            }
        }
        let whole = |mut series: Vec<_>| {
            series.resize(self.samples.len(), None);
            series
        };
        all.into_iter()
            .map(|(name, series)| (name, whole(series)))
            .collect()
    }
}

fn percent(ppm: u32) -> f64 {
    f64::from(ppm) / 10_000.0
}

#[expect(clippy::cast_precision_loss, reason = "2^53 connections are enough")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{super::view::tests::status, *};

    fn taken(counts: &[(u64, [u64; 2])], asked_ppm: u32) -> Series {
        let mut series = Series::default();
        for (at_ms, counts) in counts {
            series.take(*at_ms, &status(*counts, asked_ppm));
        }
        series
    }

    #[test]
    fn rates_are_by_the_time_that_has_passed_and_begin_with_the_second_look() {
        let seconds = [
            (1000, [500, 7]),
            (2000, [510, 8]),
            (4000, [530, 8]),
            (4100, [540, 8]),
        ];
        let series = taken(&seconds, 100_000);
        let rates = series.rates(false);
        let expected = [
            ("blue".to_owned(), vec![Some(10.0), Some(10.0)]),
            ("green".to_owned(), vec![Some(1.0), Some(0.0)]),
        ];
        assert_eq!(rates, expected);
        assert_eq!(series.rates(true)[0].0, "blue/b1");
    }

    #[test]
    fn the_measured_share_is_of_ten_seconds_and_of_the_share_as_it_is() {
        let counts: Vec<_> = (0..12).map(|at| (at * 1000, [at * 9, at])).collect();
        let mut series = taken(&counts, 100_000);
        assert_eq!(series.measured(), [Some(10.0); 11]);
        assert_eq!(series.asked(), [Some(10.0); 11]);
        series.take(12_000, &status([99, 21], 500_000));
        let newest = series.measured().last().copied().flatten();
        assert_eq!(newest, Some(100.0), "what was before is not counted");
    }

    #[test]
    fn counters_that_begin_anew_are_no_connections() {
        let series = taken(&[(0, [500, 70]), (1000, [0, 1])], 100_000);
        assert_eq!(series.measured(), [None]);
        assert_eq!(series.rates(false)[0].1, [Some(0.0)]);
    }

    #[test]
    fn columns_are_of_equal_times_and_a_second_stays_in_its_own() {
        let series = Series::default();
        let values: Vec<_> = [1.0, 3.0, 5.0].map(Some).to_vec();
        // A hundred columns of three seconds, then three hundred of one.
        let folded = series.columns(&values, 100);
        assert_eq!((folded[98], folded[99]), (None, Some(3.0)));
        let folded = series.columns(&[&values[..], &[None, Some(9.0)]].concat(), 100);
        assert_eq!((folded[98], folded[99]), (Some(3.0), Some(9.0)));
        assert_eq!(series.columns(&values, 300)[297..], values);
        assert!(series.columns(&values, 0).is_empty());
    }
}
