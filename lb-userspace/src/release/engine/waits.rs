//! What a release waits for that does not come by itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Run;

/// What somebody has to see to before a release goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Awaited {
    /// A toggle that is on: all of its steps are guarded by some that are off.
    Toggle,
    /// A person who lets it go on.
    Approval,
    /// A judge who can tell, or a person.
    Evidence,
    /// A backend of its candidate that takes connections.
    Backends,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Toggle => "awaits-toggle",
            Self::Approval => "awaits-approval",
            Self::Evidence => "awaits-evidence",
            Self::Backends => "awaits-backends",
        })
    }
}

impl Run {
    /// What it waits for, given whether its candidate can serve; nothing while it is paused or over,
    /// or waits for a time that was set.
    pub fn awaited(&self, serves: bool) -> Option<Awaited> {
        if !self.is_ahead() || self.paused || self.scheduled_ms.is_some() {
            return None;
        }
        if self.awaits_toggle() {
            Some(Awaited::Toggle)
        } else if self.awaits_approval() {
            Some(Awaited::Approval)
        } else if !serves {
            Some(Awaited::Backends)
        } else {
            self.awaits_judge().then_some(Awaited::Evidence)
        }
    }

    /// Whether that may be another than it has been said to wait for, by what time has passed since
    /// the last event.
    pub fn may_await_another(&self, serves: bool, now_ms: u64) -> bool {
        let held = self
            .hold_left_ms()
            .is_some_and(|left| left <= self.unseen_ms(now_ms));
        self.is_ahead() && !self.paused && (held || !serves || self.awaits.is_some())
    }
}
