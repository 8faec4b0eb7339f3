//! What holds for the whole host.

use bytemuck::{Pod, Zeroable};

use crate::{address::Address, hash::HashKey};

/// Settings of the node; written once before the program is attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Node {
    key: HashKey,
    /// Network byte order, over the mapped form.
    client_mask_v4: Address,
    client_mask_v6: Address,
}

const ALL: Address = Address::v6([0xff; 16]);

impl Node {
    /// Clients are told apart by the first `v4` bits (of 32) or `v6` bits (of 128) of their address.
    pub fn new(key: HashKey, v4: u8, v6: u8) -> Self {
        Self {
            key,
            client_mask_v4: ALL.masked(96 + v4.min(32)),
            client_mask_v6: ALL.masked(v6),
        }
    }

    /// The secret of all hashes.
    #[inline(always)]
    pub const fn key(&self) -> &HashKey {
        &self.key
    }

    /// The hash by which the client with this address is known.
    #[inline(always)]
    pub const fn client_hash(&self, client: &Address, v6: bool) -> u64 {
        let mask = if v6 {
            &self.client_mask_v6
        } else {
            &self.client_mask_v4
        };
        self.key.client(&client.and(mask))
    }
}
