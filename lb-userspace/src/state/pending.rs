//! An order that waits: sessions show no start, so those that are there are pinned before a change.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Admin, ServiceState};
use crate::{journal::Actor, release::engine::Event};

/// What is done once all sessions that are in use have been pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What is done.
    pub order: Order,
    /// The tick at which it is.
    pub due: u32,
    /// Counts the service's orders that have waited.
    #[serde(default)]
    pub number: u64,
    /// Who gave it.
    #[serde(default = "Actor::daemon")]
    pub actor: Actor,
    /// Why, where that was said.
    #[serde(default)]
    pub cause: String,
    /// It takes users back.
    #[serde(default)]
    pub back: bool,
}

/// How an order that has waited ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its number.
    pub number: u64,
    /// Why it was not carried out; null if it was.
    pub failure: Option<String>,
    /// The number of the record by which it was in force, or that stood when it failed.
    #[serde(default)]
    pub epoch: u64,
}

impl ServiceState {
    /// Ends the order that waits, if one does; nothing is pinned for it any more.
    pub fn end_pending(&mut self, failure: Option<String>) {
        if let Some(Pending { number, .. }) = self.pending.take() {
            self.ended = Some(Ended {
                number,
                failure,
                epoch: self.position.epoch,
            });
        }
        self.position = self.position.disarmed();
    }
}

/// An order that moves clients, or slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Send a share of the clients to a pool.
    Share {
        /// Parts per million.
        share_ppm: u32,
        /// The pool, where it was named.
        to: Option<String>,
    },
    /// Send all clients to a pool.
    Cutover {
        /// The pool, where it was named.
        to: Option<String>,
    },
    /// Take the share back, or else the last cutover.
    Rollback,
    /// Set a backend's weight.
    Weight {
        /// The backend.
        backend: String,
        /// Its weight.
        weight: u32,
    },
    /// Set a backend's administrative state.
    Admin {
        /// The backend.
        backend: String,
        /// Its state.
        admin: Admin,
    },
    /// Move a release that goes by a plan.
    Release(Event),
    /// Turn a toggle.
    Toggle {
        /// Its name.
        toggle: String,
        /// Whether it is to be on.
        on: bool,
    },
    /// Take another configuration, which the daemon keeps in mind.
    Apply,
}

impl Pending {
    /// Whether it takes users back.
    pub const fn is_way_back(&self) -> bool {
        self.back
            || matches!(
                self.order,
                Order::Rollback | Order::Release(Event::Abort { .. })
            )
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share { share_ppm, .. } => write!(f, "share {share_ppm}ppm"),
            Self::Cutover { to: Some(to) } => write!(f, "cutover to {to}"),
            Self::Cutover { to: None } => write!(f, "cutover"),
            Self::Rollback => write!(f, "rollback"),
            Self::Weight { backend, weight } => write!(f, "weight {backend} {weight}"),
            Self::Admin { backend, admin } => write!(f, "{admin} {backend}"),
            Self::Release(event) => write!(f, "{event}"),
            Self::Toggle { toggle, on: true } => write!(f, "toggle {toggle} on"),
            Self::Toggle { toggle, on: false } => write!(f, "toggle {toggle} off"),
            Self::Apply => write!(f, "apply"),
        }
    }
}
