//! From a client to a pool.

use lb_common::hash::BUCKETS;
use serde::{Deserialize, Serialize};

/// A pool's number.
pub type PoolId = u32;

/// From a client to a pool: the whole answer of one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The pool of clients at or above the share.
    pub active: PoolId,
    /// The pool of clients below the share.
    pub candidate: PoolId,
    /// The candidate's share of clients, in parts per million.
    pub share_ppm: u32,
    /// Draws the clients.
    pub salt: u64,
    /// Number of the set of audiences that are looked at first, 0 for none.
    #[serde(default)]
    pub audiences: u32,
}

impl Mapping {
    /// All clients on one pool.
    pub const fn all(pool: PoolId, salt: u64) -> Self {
        Self {
            active: pool,
            candidate: pool,
            share_ppm: 0,
            salt,
            audiences: 0,
        }
    }

    /// Whether some client may get the candidate: those of the share, or of an audience.
    pub const fn sends_to_candidate(&self) -> bool {
        self.candidate != self.active && (self.share_ppm > 0 || self.audiences != 0)
    }

    /// Whether both deal clients out to the same pools, but for audiences.
    pub const fn deals_like(&self, other: &Self) -> bool {
        self.active == other.active
            && self.candidate == other.candidate
            && self.share_ppm == other.share_ppm
            && self.salt == other.salt
    }

    /// Whether every client gets the same from both.
    pub fn answers_like(&self, other: &Self) -> bool {
        match (self.single(), other.single()) {
            (Some(pool), Some(others)) => pool == others,
            (None, None) => self == other,
            _ => false,
        }
    }

    /// The one pool that all clients get, if they do.
    const fn single(&self) -> Option<PoolId> {
        match (self.share_ppm, self.audiences) {
            _ if self.candidate == self.active => Some(self.active),
            (0, 0) => Some(self.active),
            (BUCKETS, 0) => Some(self.candidate),
            _ => None,
        }
    }
}
