//! The last act: a version that harms its users, and is taken back by itself.

use anyhow::Result;
use serde::Serialize;

use crate::scenes::{self, Ending, named};

/// What is wrong with the version.
const FAULT: &str = "resets 20%";

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Caught {
    bad_release: &'static str,
    /// Whether all users were taken back.
    pub(super) rolled_back: bool,
    /// From the order to start it to its end.
    pub(super) took_ms: u128,
    /// Connections that it had been given by then.
    pub(super) connections: usize,
    /// Users who had a request that failed.
    pub(super) harmed: usize,
    /// All of them.
    pub(super) users: usize,
    /// The daemon's words.
    pub(super) reason: String,
}

/// In a lab of its own.
pub(super) fn play() -> Result<Caught> {
    let run = scenes::play(&mut scenes::Stage::set()?, named(FAULT), 0)?;
    let (harmed, users) = run.harmed;
    Ok(Caught {
        bad_release: FAULT,
        rolled_back: run.ending == Ending::RolledBack,
        took_ms: run.took.as_millis(),
        connections: run.connections,
        harmed,
        users,
        reason: run.reason,
    })
}
