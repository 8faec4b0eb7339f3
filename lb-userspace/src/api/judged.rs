//! What `serin explain` is told.

use serde::{Deserialize, Serialize};

use crate::judge::{Evidence, Tally, Verdict};

/// A release before its judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The service.
    pub service: String,
    /// Number of the release, counted by service.
    pub release: u64,
    /// Name of the pool that is released.
    pub candidate: String,
    /// Name of the pool that it is compared with.
    pub active: String,
    /// What the evidence comes to.
    pub verdict: Verdict,
    /// Connections of the candidate that were judged.
    pub judged: u64,
    /// By signal.
    pub signals: Vec<SignalEvidence>,
    /// By backend, of both pools.
    #[serde(default)]
    pub backends: Vec<BackendEvidence>,
    /// What can't be seen here, and why; and backends that fail more often than others of the candidate.
    pub notes: Vec<String>,
}

/// The evidence of one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalEvidence {
    /// The numbers.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// What they say, for people.
    pub sentence: String,
}

/// What was seen of one backend's measured connections, in the whole release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendEvidence {
    /// Its name.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// Attempts, and those that it refused or did not answer.
    pub connect: Tally,
    /// Connections, and those that were reset within their first second.
    pub early_reset: Tally,
    /// Connections that live, unless their end was missed.
    #[serde(default)]
    pub live: u64,
}
