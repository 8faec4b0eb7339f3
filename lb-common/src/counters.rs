//! Counters that the packet path keeps, one set a CPU.

use bytemuck::{Pod, Zeroable};

/// What one backend has served. A pool's and a service's numbers are sums over their backends.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BackendCounters {
    /// Packets from clients.
    pub packets: u64,
    /// Bytes of those frames, from the Ethernet header on.
    pub bytes: u64,
    /// TCP connections: every SYN without ACK counts, a repeated one again.
    pub connections: u64,
    /// Packets from the backend (`nat` only; direct server return does not pass here).
    pub reply_packets: u64,
    /// Bytes of those frames.
    pub reply_bytes: u64,
}

const _: () = assert!(size_of::<BackendCounters>() == 40);

impl BackendCounters {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            connections: self.connections + other.connections,
            reply_packets: self.reply_packets + other.reply_packets,
            reply_bytes: self.reply_bytes + other.reply_bytes,
        }
    }
}

/// What one audience has been given.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct AudienceCounters {
    /// Packets from its clients.
    pub packets: u64,
    /// Bytes of those frames, from the Ethernet header on.
    pub bytes: u64,
    /// TCP connections: every SYN without ACK counts, a repeated one again.
    pub connections: u64,
}

const _: () = assert!(size_of::<AudienceCounters>() == 24);

impl AudienceCounters {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            connections: self.connections + other.connections,
        }
    }
}
