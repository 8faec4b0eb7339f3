//! One signal of a release, from its counters to its evidence.

use std::iter::repeat_n;

use serde::{Deserialize, Serialize};

use super::{
    Bins, Cohorts, Kind, Signal, Tally,
    harm::mean,
    quantile::{Quantile, Side, Slack},
    trial::Trial,
};

/// Microseconds that a candidate may take longer: nobody notices.
pub const UNNOTICED_US: u64 = 500;

/// What a signal's counters say; they only grow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// Outcomes.
    Outcomes(Cohorts<Tally>),
    /// Values, by bin.
    Values(Cohorts<Bins>),
}

impl Counts {
    /// Outcomes or values of the candidate's connections.
    pub fn of_candidate(&self) -> u64 {
        match self {
            Self::Outcomes(tallies) => tallies.candidate.trials,
            Self::Values(bins) => bins.candidate.iter().sum(),
        }
    }
}

/// One signal of a release.
///
/// Each step is a test of its own, and what counts is the mean of all planned ones, those that are still
/// to come standing at 1: evidence again, however much the steps have to do with each other. Their product
/// would be none. The same clients are first in every step, so one whose connections always fail would
/// multiply it in each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Which.
    pub signal: Signal,
    /// The counters at the last look.
    last: Option<Counts>,
    trials: Vec<(Option<Quantile>, Trial)>,
    /// How many steps are planned.
    steps: usize,
    /// What the steps before this one came to, as natural logarithms.
    earlier: Vec<f64>,
    /// The same of the test whether the baseline's halves differ.
    #[serde(default)]
    earlier_apart: Vec<f64>,
    /// The most that that one ever came to.
    #[serde(default)]
    apart: f64,
}

impl Course {
    /// Nothing seen yet.
    pub fn new(signal: Signal, steps: usize) -> Self {
        let quantiles: &[Option<(f64, Side)>] = match signal.kind() {
            Kind::Failures => &[None],
            Kind::Small => &[Some((0.5, Side::Above)), Some((0.9, Side::Above))],
            Kind::Same => &[Some((0.5, Side::Below)), Some((0.5, Side::Above))],
        };
        let slack = match signal.kind() {
            Kind::Same => Slack::Bins(2),
            Kind::Small | Kind::Failures => Slack::Units(UNNOTICED_US),
        };
        let trial = |&quantile: &Option<(f64, Side)>| {
            let quantile = quantile.map(|(part, side)| Quantile::new(part, side, slack));
            (quantile, Trial::new(signal))
        };
        Self {
            signal,
            last: None,
            trials: quantiles.iter().map(trial).collect(),
            steps,
            earlier: Vec::new(),
            earlier_apart: Vec::new(),
            apart: 0.0,
        }
    }

    /// Another step of the release begins.
    pub fn next_step(&mut self) {
        let more = self.earlier.len() + 1 < self.steps;
        if more {
            self.earlier.push(self.of_trials(Trial::harm));
            self.earlier_apart.push(self.of_trials(Trial::apart));
        }
        for (_, trial) in &mut self.trials {
            if more {
                trial.next_step();
            } else {
                trial.next_part();
            }
        }
    }

    /// The present step begins anew.
    pub fn begin_step_anew(&mut self) {
        let trials = self.trials.iter_mut();
        trials.for_each(|(_, trial)| trial.begin_step_anew());
    }

    /// Takes in the counters, `elapsed_ms` after the last look, since when this part of all clients was the
    /// candidate's. The first look tells nothing: what was counted before it was another release's. Whether
    /// it has judged anything.
    pub fn look(&mut self, counts: &Counts, part: f64, elapsed_ms: u64) -> bool {
        let mut has_judged = false;
        let last = self.last.replace(counts.clone());
        match (last, counts) {
            (Some(Counts::Outcomes(last)), Counts::Outcomes(now)) => {
                let new = now.with(&last, |now, &last| now.since(last));
                for (_, trial) in &mut self.trials {
                    has_judged |= trial.observe(&new, part, elapsed_ms);
                }
            }
            (Some(Counts::Values(last)), Counts::Values(now)) => {
                let new = now.with(&last, since);
                for (quantile, trial) in &mut self.trials {
                    let judged = quantile.as_mut().and_then(|quantile| quantile.judge(&new));
                    if let Some(judged) = judged {
                        has_judged |= trial.observe(&judged, part, elapsed_ms);
                    }
                }
            }
            _ => {}
        }
        let apart = self.over_steps(&self.earlier_apart, self.of_trials(Trial::apart));
        self.apart = self.apart.max(apart);
        has_judged
    }

    /// Takes note of what the counters say and judges nothing: see [`super::Judge::pass_over`].
    pub fn pass_over(&mut self, counts: &Counts) {
        self.last = Some(counts.clone());
        let trials = self.trials.iter_mut();
        trials.for_each(|(_, trial)| trial.forget_waiting());
    }

    /// The natural logarithm of the evidence that the candidate is worse: the mean of what its
    /// tests have, which is evidence again.
    pub fn harm(&self) -> f64 {
        self.over_steps(&self.earlier, self.of_trials(Trial::harm))
    }

    fn of_trials(&self, of: impl Fn(&Trial) -> f64) -> f64 {
        mean(self.trials.iter().map(|(_, trial)| of(trial)))
    }

    fn over_steps(&self, earlier: &[f64], now: f64) -> f64 {
        let to_come = self.steps.saturating_sub(earlier.len() + 1);
        let earlier = earlier.iter().copied();
        mean(earlier.chain([now]).chain(repeat_n(0.0, to_come)))
    }

    /// The natural logarithm of the evidence that it is no worse than by the margin: the least
    /// that its tests have.
    pub fn no_worse(&self) -> f64 {
        let logs = self.trials.iter().map(|(_, trial)| trial.no_worse());
        logs.fold(f64::INFINITY, f64::min)
    }

    /// The natural logarithm of the most evidence there ever was that the baseline's halves differ: of
    /// the same mean, so that it comes to 1/α with probability α at most, in a whole release.
    pub const fn apart(&self) -> f64 {
        self.apart
    }

    /// The outcomes that its tests were made by: each with the quantile that it judges by, if any.
    pub fn trials(&self) -> impl Iterator<Item = (Option<&Quantile>, &Trial)> {
        self.trials
            .iter()
            .map(|(quantile, trial)| (quantile.as_ref(), trial))
    }
}

fn since(now: &Bins, last: &Bins) -> Bins {
    let earlier = last.iter().chain(std::iter::repeat(&0));
    let pairs = now.iter().zip(earlier);
    pairs.map(|(now, last)| now.saturating_sub(*last)).collect()
}
