//! Clients of measured connections: none of them decides by itself.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// A client of one draw of one service. What one client meets comes in runs: it fails again, and is as
/// far away and asks for as much as before, so that only clients are a random draw, and not connections.
/// Once a draw, not once a release: clients that a step brings to the candidate had no chance to tell
/// anything before it, and most of the active pool's had, so that none of theirs would be left to do so in
/// it. The value is what this client has told already: see [`Decided::spent`](super::Decided::spent).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Client {
    /// The address as far as clients are told apart by it.
    client: Address,
    /// In memory: the lower half of the release's salt, the draw, the service; one word for the same reason as in
    /// [`crate::listener::Endpoint`].
    salt_service: u64,
}

const _: () = assert!(size_of::<Client>() == 24);

impl Client {
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
