//! What a release is to go through.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The steps of a canary release; after the last comes promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Each with a share no smaller than the one before; at least one.
    pub steps: Vec<Step>,
    /// A release that takes longer is aborted.
    pub deadline: Option<Duration>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Who alone gets the candidate, while the share is 0.
    pub audience: Option<String>,
    /// The candidate's part of the clients, in parts per million; 0 where only audiences see it.
    pub share_ppm: u32,
    /// How long it lasts, pauses not counted.
    pub hold: Duration,
    /// After the hold it waits for a person.
    pub approve: bool,
}

impl Plan {
    /// The soonest that a release can be promoted after its start.
    pub fn shortest(&self) -> Duration {
        self.steps.iter().map(|step| step.hold).sum()
    }

    /// Whether it can be carried out: it has a step, and none goes down.
    pub fn is_sound(&self) -> bool {
        let shares = self.steps.iter().map(|step| step.share_ppm);
        !self.steps.is_empty() && shares.is_sorted()
    }
}
