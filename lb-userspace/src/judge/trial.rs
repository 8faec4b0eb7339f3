//! The tests on one stream of outcomes.

use serde::{Deserialize, Serialize};

use super::{
    Block, Cohorts, Kind, Signal, Tally,
    harm::{Harm, mean},
    no_worse::NoWorse,
};

/// Blocks this old are judged although the candidate has no outcome in them: those of the baseline
/// must not be much older than what they are compared with.
const PATIENCE_MS: u64 = 5_000;

/// Each half of the baseline has half of its clients.
const HALF: f64 = 0.5;

/// A stream of outcomes, and what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    harm: Harm,
    no_worse: NoWorse,
    /// Does either half of the baseline fail more often than the other? It must not.
    apart: [Harm; 2],
    /// What all was judged by.
    totals: Cohorts<Tally>,
    /// What waits for an outcome of the candidate.
    waiting: Cohorts<Tally>,
    waited_ms: u64,
}

impl Trial {
    /// Nothing seen yet.
    pub fn new(signal: Signal) -> Self {
        let test = |tolerance| match signal.kind() {
            Kind::Failures if signal.shows_alike() => Harm::of_failures(),
            Kind::Failures => Harm::of_early_failures(),
            Kind::Small | Kind::Same => Harm::beyond(tolerance),
        };
        Self {
            harm: test(signal.tolerance()),
            no_worse: NoWorse::new(signal.margin()),
            apart: [0.0; 2].map(test),
            totals: Cohorts::default(),
            waiting: Cohorts::default(),
            waited_ms: 0,
        }
    }

    /// Another step, in which all begins anew; see [`super::Course`].
    pub fn next_step(&mut self) {
        self.no_worse.restart();
        self.harm.restart();
        self.apart.iter_mut().for_each(Harm::restart);
        self.forget_waiting();
    }

    /// The step begins anew, amid its tests: what waited was of before.
    pub fn begin_step_anew(&mut self) {
        self.no_worse.restart();
        self.harm.begin_anew();
        self.apart.iter_mut().for_each(Harm::begin_anew);
        self.forget_waiting();
    }

    /// What waits is of another draw than what comes.
    pub(super) fn forget_waiting(&mut self) {
        (self.waiting, self.waited_ms) = (Cohorts::default(), 0);
    }

    /// Another step of more than were planned: that the candidate was no worse before says nothing of now.
    pub fn next_part(&mut self) {
        self.no_worse.restart();
        self.forget_waiting();
    }

    /// Takes in the outcomes of the last `elapsed_ms`, in which this part of all clients was the candidate's.
    /// Whether it has judged any: without outcomes, only because some have waited for long enough.
    pub fn observe(&mut self, outcomes: &Cohorts<Tally>, part: f64, elapsed_ms: u64) -> bool {
        // What comes now has not waited; where nothing waits, an empty look changes nothing.
        if self.waiting != Cohorts::default() {
            self.waited_ms += elapsed_ms;
        }
        self.waiting = self.waiting.plus(outcomes);
        let sparse = self.waiting.candidate.trials == 0 || self.waiting.whole().trials == 0;
        if sparse && self.waited_ms < PATIENCE_MS {
            return false;
        }
        let block = std::mem::take(&mut self.waiting);
        self.waited_ms = 0;
        let compared = Block {
            candidate: block.candidate,
            baseline: block.whole(),
        };
        if compared.compares() {
            self.totals = self.totals.plus(&block);
        }
        self.harm.observe(&compared, part);
        self.no_worse.observe(&compared);
        let [even, odd] = block.baseline;
        for (apart, (candidate, baseline)) in self.apart.iter_mut().zip([(even, odd), (odd, even)])
        {
            let block = Block {
                candidate,
                baseline,
            };
            apart.observe(&block, HALF);
        }
        true
    }

    /// The natural logarithm of the evidence that the candidate is worse.
    pub fn harm(&self) -> f64 {
        self.harm.log_e()
    }

    /// The natural logarithm of the evidence that it is no worse than by the margin.
    pub const fn no_worse(&self) -> f64 {
        self.no_worse.log_e()
    }

    /// The natural logarithm of the evidence that the halves of the baseline differ, in this direction
    /// or that.
    pub fn apart(&self) -> f64 {
        mean(self.apart.iter().map(Harm::log_e))
    }

    /// What all was judged by.
    pub const fn totals(&self) -> &Cohorts<Tally> {
        &self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The candidate's connections stay open, so that only its resets are known; as many of the
    /// baseline's are reset, and the others have ended.
    fn harm(signal: Signal) -> f64 {
        let mut trial = Trial::new(signal);
        for _ in 0..30 {
            let half = Tally::new(250, 1).of_clients(250, 1);
            let outcomes = Cohorts {
                candidate: Tally::new(1, 1).of_clients(1, 1),
                baseline: [half, Tally::new(250, 0).of_clients(250, 0)],
            };
            trial.observe(&outcomes, 0.5, 1000);
        }
        trial.harm()
    }

    #[test]
    fn a_candidate_whose_connections_live_longer_is_no_worse_for_that() {
        for signal in [Signal::EarlyReset, Signal::Reset, Signal::Retransmission] {
            assert!(harm(signal) < 0.0, "{signal:?}: {}", harm(signal));
        }
        // Of calls, one that has no outcome yet is no good one.
        assert!(harm(Signal::Connect) > 400_f64.ln());
    }
}
