//! Clients that have failed: each counts once.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// A client of one draw of one service. Failures of one client come in runs, and a run must not
/// decide. Once a draw, not once a release: clients that a step brings to the candidate had no chance to
/// fail before it, and most of the active pool's had, so that none of theirs would be left to fail in it.
/// The value is a bit for each [`Signal`](super::Signal) that this client has failed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Culprit {
    /// The address as far as clients are told apart by it.
    client: Address,
    /// In memory: the lower half of the release's salt, the draw, the service; one word for the same reason as in
    /// [`crate::listener::Endpoint`].
    salt_service: u64,
}

const _: () = assert!(size_of::<Culprit>() == 24);

impl Culprit {
    /// The client with this (already masked) address, in the draw with this number of the
    /// release with this salt.
    #[inline(always)]
    pub const fn new(client: Address, (salt, draw): (u64, u8), service: u32) -> Self {
        Self {
            client,
            salt_service: salt << 32 | (draw as u64) << 16 | service as u64,
        }
    }
}
