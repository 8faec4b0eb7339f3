//! Whether backends are up, as seen from this host: the daemon asks each of them again and again.
//!
//! `condition` says what a row of answers means, `rhythm` when to ask, `probe` asks (over `tls` and
//! by `grpc` where wanted), and `checks`
//! keeps one task running for each backend that the configuration wants checked. What they find
//! is a level, not an event: [`Verdicts`] always hold the latest word on every backend, so that
//! one that could not be carried out is taken up by the loop's next turn, and those of many
//! backends that fail together are carried out together.

mod checks;
mod condition;
mod grpc;
mod probe;
mod rhythm;
mod tls;

use std::collections::BTreeMap;

pub use checks::Checks;
pub use condition::{Condition, Thresholds};
pub use probe::{Failing, Prober};
pub use rhythm::Rhythm;
pub use tls::{Trust, TrustError};

/// A backend, by the names that the configuration gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Its service.
    pub service: String,
    /// Its own, which is unique in the service.
    pub backend: String,
}

/// What the checks say of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is up.
    pub up: bool,
    /// Checks in a row that have contradicted that.
    pub against: u32,
    /// As many in a row change it.
    pub needed: u32,
    /// It goes down soon after it comes up, and is believed later each time.
    pub flapping: bool,
    /// Why the last check failed, if it did.
    pub why: Option<String>,
}

impl Verdict {
    /// The verdict on a backend that does nothing but be up or down.
    pub const fn plain(up: bool) -> Self {
        Self {
            up,
            against: 0,
            needed: 0,
            flapping: false,
            why: None,
        }
    }
}

/// What is known of the backends that are checked; those that have not been asked yet are missing.
pub type Verdicts = BTreeMap<Name, Verdict>;
