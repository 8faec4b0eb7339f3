//! What `serin explain --replay` asks, and is told.

use serde::{Deserialize, Serialize};

use super::judged::SignalEvidence;
use crate::{
    judge::{Signal, Told},
    release::engine::OnInconclusive,
};

/// Which release is judged again, and how; what is left out is as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayQuery {
    /// Number of the release, counted by service; the last one of which evidence is kept.
    #[serde(default)]
    pub release: Option<u64>,
    /// With commas between.
    #[serde(default)]
    pub signals: Option<String>,
    /// Like "1%".
    #[serde(default)]
    pub false_alarm: Option<String>,
    /// As configured.
    #[serde(default)]
    pub min_clients: Option<i64>,
    /// As configured.
    #[serde(default)]
    pub on_inconclusive: Option<String>,
}

/// A past release, judged again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// The service.
    pub service: String,
    /// Number of the release.
    pub release: u64,
    /// Name of the pool that was released.
    pub candidate: String,
    /// Name of the pool that it was compared with.
    pub active: String,
    /// How many looks at it are kept.
    pub looks: usize,
    /// How many of the first looks are not.
    #[serde(default)]
    pub looks_gone: usize,
    /// What the breaker said, which asks no settings; null if it did not trip.
    pub breaker: Option<String>,
    /// As it was judged.
    pub was: Side,
    /// As it would have been.
    pub would_be: Side,
}

/// One way to judge it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// By what.
    pub signals: Vec<Signal>,
    /// In parts of one.
    pub false_alarm: f64,
    /// In each step.
    pub min_clients: u64,
    /// What is done at the end of a step of which the judge can't tell.
    pub on_inconclusive: OnInconclusive,
    /// What the judge says, and when; null if nothing came to be judged.
    #[serde(flatten)]
    pub told: Told,
    /// What becomes of the release by that.
    pub end: End,
    /// In which step, from 1.
    pub end_step: usize,
    /// By signal.
    pub evidence: Vec<SignalEvidence>,
}

/// What becomes of a release by what its judge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All users are taken back.
    TakenBack,
    /// It waits for a person at the end of the step.
    Waits,
    /// The judge does not keep it from going on.
    GoesOn,
}
