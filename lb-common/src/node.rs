//! What holds for the whole host.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable, bytes_of};

use crate::{address::Address, encap::Encap, hash::HashKey, listener::Endpoint};

/// Settings of the node; written before the program is attached, and again by each daemon.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Node {
    key: HashKey,
    /// Network byte order, over the mapped form.
    client_mask_v4: Address,
    client_mask_v6: Address,
    /// See the `Node::` constants.
    flags: u32,
    /// Number of the live copy of [`crate::protect::Protect`]; 0 while there is no protection. It
    /// changes while the program is attached, and so do the next two fields; no other does.
    protect: u32,
    /// Another number after each change of the listeners.
    listeners: u32,
    /// See [`Self::may_listen`].
    ports: u32,
    encap: Encap,
}

const ALL: Address = Address::v6([0xff; 16]);

impl Node {
    /// Echo requests to a VIP are answered, rather than left to the kernel.
    pub const ANSWER_ECHO: u32 = 1;

    /// Clients are told apart by the first `v4` bits (of 32) or `v6` bits (of 128) of their address.
    pub fn new(key: HashKey, v4: u8, v6: u8) -> Self {
        Self {
            key,
            client_mask_v4: ALL.masked(96 + v4.min(32)),
            client_mask_v6: ALL.masked(v6),
            flags: 0,
            protect: 0,
            listeners: 0,
            ports: 0,
            encap: Encap::default(),
        }
    }

    /// The same node with `flag` set.
    #[must_use]
    pub const fn with(mut self, flag: u32) -> Self {
        self.flags |= flag;
        self
    }

    /// Whether `flag` is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The same node, which encapsulates so.
    #[must_use]
    pub const fn with_encap(mut self, encap: Encap) -> Self {
        self.encap = encap;
        self
    }

    /// Whether both make the same choices: what pins, buckets and slots depend on.
    pub fn chooses_like(&self, other: &Self) -> bool {
        self.key == other.key
            && self.client_mask_v4 == other.client_mask_v4
            && self.client_mask_v6 == other.client_mask_v6
    }

    /// How packets are encapsulated.
    #[inline(always)]
    pub const fn encap(&self) -> &Encap {
        &self.encap
    }

    /// The bytes that [`Self::chooses_like`] compares; at the start of the node in every ABI.
    pub fn choice(&self) -> &[u8] {
        &bytes_of(self)[..offset_of!(Self, flags)]
    }

    /// The same settings under another copy of the protection's.
    #[must_use]
    pub const fn protected(mut self, number: u32) -> Self {
        self.protect = number;
        self
    }

    /// Number of the live copy of the protection's settings, 0 if there is none.
    #[inline(always)]
    pub const fn protect(&self) -> u32 {
        self.protect
    }

    /// The same settings after another change of the listeners than the `before`th.
    #[must_use]
    pub const fn after_listeners(mut self, before: u32) -> Self {
        self.listeners = before.wrapping_add(1);
        self
    }

    /// The same settings with a listener at this endpoint.
    #[must_use]
    pub const fn listening(mut self, at: &Endpoint) -> Self {
        if !at.is_portless() {
            self.ports |= Self::bit(at.port());
        }
        self
    }

    /// Whether there is, was or may be a listener with this port, in network byte order: each stands for
    /// its lowest five bits. Of most packets it tells at once that they come from no listener.
    #[inline(always)]
    pub const fn may_listen(&self, port: [u8; 2]) -> bool {
        self.ports & Self::bit(port) != 0
    }

    const fn bit([_, low]: [u8; 2]) -> u32 {
        1 << (low & 31)
    }

    /// Another number after each change of the listeners: what was looked up under an earlier one
    /// may be no more.
    #[inline(always)]
    pub const fn listeners(&self) -> u32 {
        self.listeners
    }

    /// The secret of all hashes.
    #[inline(always)]
    pub const fn key(&self) -> &HashKey {
        &self.key
    }

    /// The hash by which the client with this address is known.
    #[inline(always)]
    pub const fn client_hash(&self, client: &Address, v6: bool) -> u64 {
        self.key.client(&self.client(client, v6))
    }

    /// What of an address tells the client from others.
    #[inline(always)]
    pub const fn client(&self, client: &Address, v6: bool) -> Address {
        let mask = if v6 {
            &self.client_mask_v6
        } else {
            &self.client_mask_v4
        };
        client.and(mask)
    }
}
