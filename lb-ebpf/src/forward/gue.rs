//! `forward = "gue"`: the packet inside a UDP datagram to the backend, by variant 1 of Generic UDP
//! Encapsulation (draft-ietf-intarea-gue, section 4): the datagram's payload is the packet.
//!
//! Networks spread UDP over their paths and queues where they do not look into IP in IP. The
//! datagram has no checksum: the packet inside has its own (RFC 6935; RFC 6936, section 5; Linux's
//! `fou` and Katran do the same).

use lb_common::{protocol, reason::Reason};

use super::outer::{self, Inner, Way};
use crate::{
    packet::{Packet, Pair},
    parse::Parsed,
};

/// Bytes of a UDP header.
const UDP: u16 = 8;
/// The lowest of the source ports, a power of two of them (RFC 6335: the dynamic ones).
const FIRST_PORT: u16 = 0xc000;

/// Bytes that an encapsulated packet is longer by.
#[inline(always)]
pub const fn overhead(v6: bool) -> usize {
    super::ipip::overhead(v6) + UDP as usize
}

/// Puts the packet into a datagram.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a header's length fits 16 bits"
)]
pub fn encapsulate(packet: &Packet<'_>, parsed: &Parsed, way: &Way<'_>) -> Result<(), Reason> {
    let inner = Inner::pass_on(packet, parsed)?;
    let length = inner.length.wrapping_add(UDP);
    let datagram = udp(way, length);
    if way.backend.is_v6() {
        let header = outer::v6(&inner, way, protocol::UDP, length);
        outer::put(packet, parsed, way, Pair(header, datagram))
    } else {
        let whole = length.wrapping_add(outer::V4 as u16);
        let header = outer::v4(&inner, way, protocol::UDP, whole);
        outer::put(packet, parsed, way, Pair(header, datagram))
    }
}

/// A UDP header (RFC 768), by its words of memory.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "any bits of the hash will do"
)]
const fn udp(way: &Way<'_>, length: u16) -> [u32; 2] {
    let [from, from_low] = (FIRST_PORT | way.entropy as u16).to_be_bytes();
    let [to, to_low] = way.encap.gue_port();
    let [high, low] = length.to_be_bytes();
    [
        u32::from_ne_bytes([from, from_low, to, to_low]),
        u32::from_ne_bytes([high, low, 0, 0]),
    ]
}
