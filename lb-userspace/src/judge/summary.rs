//! What a release was judged by, as its history keeps it: the same number of words for every release.

use serde::{Deserialize, Serialize};

use super::{Evidence, Judge, Signal, Tally, Verdict};

/// What a release was judged by when it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the pool that was released.
    pub candidate: String,
    /// Name of the pool that it was compared with.
    pub active: String,
    /// What the evidence came to.
    pub verdict: Verdict,
    /// Connections of the candidate that were judged.
    pub judged: u64,
    /// By signal.
    pub signals: Vec<SignalSummary>,
}

/// What one signal said. Evidence is told by common logarithms, as in [`Evidence`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalSummary {
    /// Which.
    pub signal: Signal,
    /// What it came to by itself.
    pub opinion: Said,
    /// Of the comparison that most speaks of harm: its quantile, as a part of one; null for what has no
    /// values.
    pub quantile: Option<f64>,
    /// The candidate's outcomes.
    pub candidate: Tally,
    /// The part of them that went wrong; null without any.
    pub candidate_rate: Option<f64>,
    /// The active pool's outcomes.
    pub baseline: Tally,
    /// The part of them that went wrong; null without any.
    pub baseline_rate: Option<f64>,
    /// Evidence that the candidate is worse.
    pub harm: f64,
    /// What it had to come to.
    pub harm_limit: f64,
    /// Evidence that it is no worse than by the margin.
    pub no_worse: f64,
    /// What it had to come to.
    pub no_worse_limit: f64,
}

/// What one signal comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// The candidate is worse.
    Harm,
    /// It is no worse than by the margin.
    NoWorse,
    /// Neither.
    Undecided,
    /// The baseline's own halves differ, so that it tells nothing.
    Unsound,
}

// Numbers are rounded, and none is unequal to itself.
impl Eq for Summary {}

impl Judge {
    /// What is kept of it once its release has ended.
    pub fn summary(&self, candidate: &str, active: &str) -> Summary {
        let evidence = self.evidence();
        Summary {
            candidate: candidate.to_owned(),
            active: active.to_owned(),
            verdict: self.verdict(),
            judged: self.judged(),
            signals: evidence.iter().map(SignalSummary::of).collect(),
        }
    }
}

impl SignalSummary {
    fn of(evidence: &Evidence) -> Self {
        let worst = evidence.worst();
        let candidate = worst.map_or_else(Tally::default, |worst| worst.candidate);
        let baseline = worst.map_or_else(Tally::default, |worst| worst.baseline);
        Self {
            signal: evidence.signal,
            opinion: Said::of(evidence),
            quantile: worst.and_then(|worst| worst.quantile),
            candidate,
            candidate_rate: candidate.rate().map(|rate| rounded(rate, 6)),
            baseline,
            baseline_rate: baseline.rate().map(|rate| rounded(rate, 6)),
            harm: rounded(evidence.harm, 2),
            harm_limit: rounded(evidence.harm_limit, 2),
            no_worse: rounded(evidence.no_worse, 2),
            no_worse_limit: rounded(evidence.no_worse_limit, 2),
        }
    }
}

impl Said {
    fn of(evidence: &Evidence) -> Self {
        if evidence.apart >= evidence.apart_limit {
            Self::Unsound
        } else if evidence.is_harm() {
            Self::Harm
        } else if evidence.no_worse >= evidence.no_worse_limit {
            Self::NoWorse
        } else {
            Self::Undecided
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Harm => "harm",
            Self::NoWorse => "no worse",
            Self::Undecided => "undecided",
            Self::Unsound => "worthless",
        })
    }
}

/// With so many places behind the point.
fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::judge::{Cohorts, Counts, Dealt, Settings};

    /// Bytes that a summary may take in the state file and in the log.
    const MOST: usize = 4096;

    fn judged(candidate: (u64, u64)) -> Judge {
        let mut judge = Judge::new(Settings {
            signals: Signal::ALL.to_vec(),
            ..Settings::default()
        });
        let tally = |(trials, failures): (u64, u64)| Tally::new(trials, failures);
        let mut total = Cohorts::default();
        for look in 0..200 {
            let counts = BTreeMap::from([(Signal::Connect, Counts::Outcomes(total))]);
            let dealt = Dealt::usual(total.candidate.trials);
            judge.look(&counts, dealt, look * 250);
            total = total.plus(&Cohorts {
                candidate: tally(candidate),
                baseline: [tally((370, 1)), tally((380, 1))],
            });
        }
        judge
    }

    #[test]
    fn each_signal_is_told_by_counts_rates_and_evidence_against_its_limit() {
        let bad = judged((50, 5)).summary("v2", "v1");
        assert_eq!(bad.verdict, Verdict::Harm(Signal::Connect));
        let said = &bad.signals[0];
        assert_eq!((said.signal, said.opinion), (Signal::Connect, Said::Harm));
        assert_eq!(said.candidate_rate, Some(0.1));
        assert!(said.harm >= said.harm_limit, "{said:?}");
        let good = judged((50, 0)).summary("v2", "v1");
        assert_eq!(good.signals[0].opinion, Said::NoWorse);
        assert_eq!(good.signals[1].opinion, Said::Undecided);
    }

    #[test]
    fn it_is_small_whatever_was_seen_and_comes_back_from_its_file_as_it_was() {
        let summary = judged((u64::from(u32::MAX), 5)).summary("v2", "v1");
        let text = serde_json::to_string(&summary).expect("it can be kept");
        assert!(text.len() < MOST, "{}", text.len());
        let kept: Summary = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(kept, summary);
    }
}
