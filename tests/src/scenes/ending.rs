//! What becomes of a release.

use std::time::Duration;

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// All users have the candidate.
    Promoted,
    /// All users are taken back.
    RolledBack,
    /// The judge can't tell, and a person has to.
    Waits,
}

/// One release.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it ended.
    pub ending: Ending,
    /// How long after `serin start`.
    pub took: Duration,
    /// How many connections the candidate had been given by then; SYNs that were sent again are none.
    pub connections: usize,
    /// How many of the crowd's users had a request that failed, and how many there are.
    pub harmed: (usize, usize),
    /// Why, in the daemon's words.
    pub reason: String,
    /// What `serin explain` said of it.
    pub explained: String,
}
