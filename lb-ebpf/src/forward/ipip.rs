//! `forward = "ipip"`: the packet inside an IP packet to the backend (RFC 2003, RFC 2473, RFC 4213).
//!
//! Either family goes inside of either: a backend needs one address, and serves listeners of both.

use lb_common::reason::Reason;

use super::outer::{self, Inner, Way};
use crate::{packet::Packet, parse::Parsed};

/// Bytes that an encapsulated packet is longer by.
#[inline(always)]
pub const fn overhead(v6: bool) -> usize {
    if v6 { outer::V6 } else { outer::V4 }
}

/// Puts the packet into another one.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a header's length fits 16 bits"
)]
pub fn encapsulate(packet: &Packet<'_>, parsed: &Parsed, way: &Way<'_>) -> Result<(), Reason> {
    let inner = Inner::pass_on(packet, parsed)?;
    if way.backend.is_v6() {
        let header = outer::v6(&inner, way, inner.protocol, inner.length);
        outer::put(packet, parsed, way, header)
    } else {
        let length = inner.length.wrapping_add(outer::V4 as u16);
        let header = outer::v4(&inner, way, inner.protocol, length);
        outer::put(packet, parsed, way, header)
    }
}
