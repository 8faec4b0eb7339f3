//! What Serin's XDP program and its daemon agree on: the layout of every map, and the arithmetic
//! that both sides must do alike.
//!
//! Contract: addresses, ports and checksums are in network byte order wherever they stand in a
//! map or a packet; every other number is in the host's order. No type here has padding (the
//! `Pod` derive proves it), so a map key never misses by an unset byte.
#![no_std]

pub mod address;
pub mod audience;
pub mod backend;
pub mod bench;
pub mod checksum;
pub mod counters;
pub mod decap;
pub mod encap;
pub mod flow;
pub mod fragment;
pub mod hash;
pub mod limit;
pub mod listener;
pub mod live;
pub mod maps;
pub mod node;
pub mod pool;
pub mod prefix;
pub mod protect;
pub mod quic_lb;
pub mod reason;
pub mod release;
pub mod signal;
pub mod trace;

/// Protocols on top of IP, by their IANA numbers: those that a listener may have, and ICMP's.
pub mod protocol {
    /// Internet Control Message Protocol, RFC 792.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol, RFC 9293.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol, RFC 768.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
}
