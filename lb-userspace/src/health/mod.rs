//! Whether backends are up, as seen from this host: the daemon asks each of them again and again.
//!
//! `condition` says what a row of answers means, `rhythm` when to ask, `probe` asks, and `checks`
//! keeps one task running for each backend that the configuration wants checked. What they find
//! is a level, not an event: [`Verdicts`] always hold the latest word on every backend, so that
//! one that could not be carried out is taken up by the loop's next turn, and those of many
//! backends that fail together are carried out together.

mod checks;
mod condition;
mod probe;
mod rhythm;

use std::collections::BTreeMap;

pub use checks::Checks;
pub use condition::{Condition, Thresholds};
pub use probe::{Failing, probe};
pub use rhythm::Rhythm;

/// A backend, by the names that the configuration gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Its service.
    pub service: String,
    /// Its own, which is unique in the service.
    pub backend: String,
}

/// Whether the backends that are checked are up; those that have not been asked yet are missing.
pub type Verdicts = BTreeMap<Name, bool>;
