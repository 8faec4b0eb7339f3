//! Network address translation of one end, without a connection table.
//!
//! The transport checksum covers a pseudo-header with both addresses (RFC 9293, section 3.1;
//! RFC 8200, section 8.1), so it changes with them; it is updated (RFC 1624), never computed: a
//! packet that came in with a wrong sum leaves with a wrong sum, for its receiver to see.

use lb_common::{
    address::Address,
    checksum::{Sum, update, update_udp},
    listener::Endpoint,
    protocol,
    reason::Reason,
};

use crate::{
    packet::Packet,
    parse::{ETHERNET, Parsed},
};

/// Offset of the hop limit in an IPv6 header.
const V6_HOP_LIMIT: usize = 7;
/// Offset of the source address in an IPv6 header.
const V6_SOURCE: usize = 8;
/// Offset of the destination address in an IPv6 header.
const V6_DESTINATION: usize = 24;
/// Offset of TTL, protocol, checksum and both addresses in an IPv4 header.
const V4_TTL: usize = 8;
/// Offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: usize = 6;

/// What one end of the connection becomes.
pub struct End<'a> {
    /// The new address.
    pub address: &'a Address,
    /// Its one's complement sum.
    pub sum: Sum,
    /// The new port, in network byte order.
    pub port: [u8; 2],
}

/// Makes `to` the packet's destination, one hop further on.
#[inline(always)]
pub fn rewrite_destination(
    packet: &Packet<'_>,
    parsed: &Parsed,
    to: &End<'_>,
) -> Result<(), Reason> {
    let (old, old_port) = (&parsed.destination, parsed.destination_port);
    let change = Change {
        old: sum(old, parsed.v6),
        new: to.sum,
    };
    packet
        .write(parsed.transport + 2, to.port)
        .ok_or(Reason::TruncatedTransport)?;
    transport_checksum(packet, parsed, &change.with_ports(old_port, to.port))?;
    if parsed.v6 {
        network_v6(packet, parsed, V6_DESTINATION, to.address)
    } else {
        network_v4(packet, &change, |v4| {
            v4[8..12].copy_from_slice(&to.address.v4_bytes());
        })
    }
}

/// Makes `from` the packet's source, one hop further on.
#[inline(always)]
pub fn rewrite_source(packet: &Packet<'_>, parsed: &Parsed, from: &Endpoint) -> Result<(), Reason> {
    let (old, old_port) = (&parsed.source, parsed.source_port);
    let change = Change {
        old: sum(old, parsed.v6),
        new: sum(from.address(), parsed.v6),
    };
    packet
        .write(parsed.transport, from.port())
        .ok_or(Reason::TruncatedTransport)?;
    transport_checksum(packet, parsed, &change.with_ports(old_port, from.port()))?;
    if parsed.v6 {
        network_v6(packet, parsed, V6_SOURCE, from.address())
    } else {
        network_v4(packet, &change, |v4| {
            v4[4..8].copy_from_slice(&from.address().v4_bytes());
        })
    }
}

/// Words that leave a header, and those that take their place.
struct Change {
    old: Sum,
    new: Sum,
}

impl Change {
    #[inline(always)]
    const fn with_ports(&self, old: [u8; 2], new: [u8; 2]) -> Self {
        Self {
            old: self.old.plus(Sum::word(old)),
            new: self.new.plus(Sum::word(new)),
        }
    }
}

#[inline(always)]
const fn sum(address: &Address, v6: bool) -> Sum {
    if v6 {
        Sum::v6(address)
    } else {
        Sum::v4(address)
    }
}

#[inline(always)]
fn transport_checksum(packet: &Packet<'_>, parsed: &Parsed, change: &Change) -> Result<(), Reason> {
    let tcp = parsed.protocol == protocol::TCP;
    let at = parsed.transport + if tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
    let old = packet
        .read::<[u8; 2]>(at)
        .ok_or(Reason::TruncatedTransport)?;
    let new = if tcp {
        update(old, change.old, change.new)
    } else {
        update_udp(old, change.old, change.new)
    };
    packet.write(at, new).ok_or(Reason::TruncatedTransport)
}

/// IPv6 has no checksum of its own.
#[inline(always)]
fn network_v6(
    packet: &Packet<'_>,
    parsed: &Parsed,
    at: usize,
    address: &Address,
) -> Result<(), Reason> {
    packet
        .write(ETHERNET + V6_HOP_LIMIT, [parsed.hops - 1])
        .ok_or(Reason::TruncatedHeader)?;
    packet
        .write(ETHERNET + at, address.bytes())
        .ok_or(Reason::TruncatedHeader)
}

/// TTL, checksum and addresses lie together: bytes 8 to 19 of the header.
#[inline(always)]
fn network_v4(
    packet: &Packet<'_>,
    change: &Change,
    set_address: impl FnOnce(&mut [u8; 12]),
) -> Result<(), Reason> {
    let at = ETHERNET + V4_TTL;
    let mut header = packet.read::<[u8; 12]>(at).ok_or(Reason::TruncatedHeader)?;
    let old = change.old.plus(Sum::word([header[0], header[1]]));
    header[0] -= 1;
    let new = change.new.plus(Sum::word([header[0], header[1]]));
    let checksum = update([header[2], header[3]], old, new);
    header[2..4].copy_from_slice(&checksum);
    set_address(&mut header);
    packet.write(at, header).ok_or(Reason::TruncatedHeader)
}
