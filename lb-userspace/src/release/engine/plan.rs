//! What a release is to go through.

use std::{collections::BTreeSet, time::Duration};

use lb_common::hash::BUCKETS;
use serde::{Deserialize, Serialize};

use super::{Gate, Judging, Point};

/// The steps of a release; after the last comes promotion, and after that the bake time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How users get there.
    #[serde(default)]
    pub strategy: Strategy,
    /// Each with a share no smaller than the one before. A canary has at least one; blue-green
    /// none, or such as show the idle colour to an audience.
    pub steps: Vec<Step>,
    /// What is asked before it may go on.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// How it is judged by what the kernel sees, if it is.
    #[serde(default)]
    pub judge: Option<Judging>,
    /// How long it is watched after the promotion, and taken back by itself if a gate fails.
    #[serde(default)]
    pub bake: Duration,
    /// A release that is not promoted by then is aborted.
    pub deadline: Option<Duration>,
}

/// How users get to the candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Part of them after part.
    #[default]
    Canary,
    /// All at once.
    BlueGreen,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Who gets the candidate from here on, beside those of the steps before.
    pub audience: Option<String>,
    /// The candidate's part of all other clients, in parts per million; 0 where only audiences see
    /// it.
    pub share_ppm: u32,
    /// How long it lasts, pauses not counted.
    pub hold: Duration,
    /// It ends sooner, as soon as the judge says that the candidate is no worse.
    #[serde(default)]
    pub evidence: bool,
    /// After the hold it waits for a person.
    pub approve: bool,
    /// While this toggle is off, a release that comes to it passes it over.
    #[serde(default)]
    pub toggle: Option<String>,
}

impl Step {
    /// Whether part of the clients, drawn at random, have the candidate, and others have not: who is
    /// chosen otherwise can't be compared with the rest.
    pub const fn is_compared(&self) -> bool {
        0 < self.share_ppm && self.share_ppm < BUCKETS
    }

    /// The soonest that it can end.
    pub const fn shortest(&self) -> Duration {
        if self.evidence && self.is_compared() {
            Duration::ZERO
        } else {
            self.hold
        }
    }

    /// Whether a release that comes to it passes it over while these toggles are off.
    pub(super) fn is_closed(&self, off: &BTreeSet<String>) -> bool {
        let toggle = self.toggle.as_ref();
        toggle.is_some_and(|toggle| off.contains(toggle))
    }
}

impl Plan {
    /// The soonest that a release can be promoted after its start.
    pub fn shortest(&self) -> Duration {
        self.steps.iter().map(Step::shortest).sum()
    }

    /// Whether it can be carried out: none of its steps goes down, and a canary has one.
    pub fn is_sound(&self) -> bool {
        let shares = self.steps.iter().map(|step| step.share_ppm);
        let enough = self.strategy == Strategy::BlueGreen || !self.steps.is_empty();
        enough && shares.is_sorted()
    }

    /// Whether it has steps, and none of them is there while these toggles are off.
    pub(super) fn is_closed(&self, off: &BTreeSet<String>) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.is_closed(off))
    }

    /// The audiences that its steps name.
    pub fn audiences(&self) -> impl Iterator<Item = &String> {
        self.steps.iter().filter_map(|step| step.audience.as_ref())
    }

    /// The toggles that guard its steps.
    pub(super) fn toggles(&self) -> impl Iterator<Item = &String> {
        self.steps.iter().filter_map(|step| step.toggle.as_ref())
    }

    /// Whether a promoted release is still watched.
    pub(super) fn bakes(&self) -> bool {
        let after = |gate: &Gate| gate.point == Point::After;
        self.bake > Duration::ZERO || self.gates.iter().any(after)
    }
}
