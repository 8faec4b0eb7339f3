//! Clients that are compared: the candidate's, and some of the active pool's, in two halves.

use serde::{Deserialize, Serialize};

use super::Tally;

/// Something of each cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohorts<T> {
    /// Of those whose bucket gives them the candidate.
    pub candidate: T,
    /// Of both halves, drawn at random, of those that the active pool is judged by. What differs
    /// between these is chance, or a fault of the measurement.
    pub baseline: [T; 2],
}

impl<T> Cohorts<T> {
    /// The same of each.
    pub fn map<U>(&self, f: impl Fn(&T) -> U) -> Cohorts<U> {
        Cohorts {
            candidate: f(&self.candidate),
            baseline: self.baseline.each_ref().map(f),
        }
    }

    /// Two of each made into one.
    pub fn with<U, V>(&self, other: &Cohorts<U>, f: impl Fn(&T, &U) -> V) -> Cohorts<V> {
        let [even, odd] = [0, 1].map(|half| f(&self.baseline[half], &other.baseline[half]));
        Cohorts {
            candidate: f(&self.candidate, &other.candidate),
            baseline: [even, odd],
        }
    }
}

impl Cohorts<Tally> {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, |&a, &b| a.plus(b))
    }

    /// Both halves of the baseline.
    pub const fn whole(&self) -> Tally {
        let [even, odd] = self.baseline;
        even.plus(odd)
    }
}
