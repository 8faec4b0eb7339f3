//! Network address translation of one end, without a connection table.
//!
//! The transport checksum covers a pseudo-header with both addresses (RFC 9293, section 3.1;
//! RFC 8200, section 8.1), so it changes with them; it is updated (RFC 1624), never computed: a
//! packet that came in with a wrong sum leaves with a wrong sum, for its receiver to see.

mod quoted;

use lb_common::{
    address::Address,
    checksum::{Sum, update, update_udp},
    listener::Endpoint,
    protocol,
    reason::Reason,
};

use crate::{
    packet::Packet,
    parse::{Parsed, Part},
};

/// Offset of the hop limit in an IPv6 header.
const V6_HOP_LIMIT: usize = 7;
/// Offset of the source address in an IPv6 header.
const V6_SOURCE: usize = 8;
/// Offset of the destination address in an IPv6 header.
const V6_DESTINATION: usize = 24;
/// Offset of TTL, protocol and checksum in an IPv4 header, four bytes in all.
const V4_TTL: usize = 8;
/// Offset of the source address in an IPv4 header.
const V4_SOURCE: usize = 12;
/// Offset of the destination address in an IPv4 header.
const V4_DESTINATION: usize = 16;
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

/// A packet that has no hop left is the kernel's: it tells the sender (RFC 1812, section 5.3.1).
#[inline(always)]
pub const fn check_hops(parsed: &Parsed) -> Result<(), Reason> {
    if parsed.hops <= 1 {
        return Err(Reason::TtlExceeded);
    }
    Ok(())
}

/// Makes `to` the packet's destination, one hop further on.
#[inline(always)]
pub fn rewrite_destination(
    packet: &Packet<'_>,
    parsed: &Parsed,
    to: &End<'_>,
) -> Result<(), Reason> {
    let change = Change {
        old: sum(&parsed.destination, parsed.v6),
        new: to.sum,
    };
    match &parsed.part {
        Part::Headed => {
            packet
                .write(parsed.transport + 2, to.port)
                .ok_or(Reason::TruncatedTransport)?;
            let ports = change.with_ports(parsed.destination_port, to.port);
            transport_checksum(packet, parsed, &ports)?;
        }
        Part::Tail => {}
        Part::Error(quote) => {
            quoted::rewrite_source(packet, (parsed, quote), &change, to)?;
        }
    }
    if parsed.v6 {
        network_v6(packet, parsed, 1, (V6_DESTINATION, to.address))
    } else {
        network_v4(packet, parsed, &change, 1, (V4_DESTINATION, to.address))
    }
}

/// Makes `from` the packet's source, `hops` further on.
#[inline(always)]
pub fn rewrite_source(
    packet: &Packet<'_>,
    parsed: &Parsed,
    from: &Endpoint,
    hops: u8,
) -> Result<(), Reason> {
    let change = Change {
        old: sum(&parsed.source, parsed.v6),
        new: sum(from.address(), parsed.v6),
    };
    match &parsed.part {
        Part::Headed => {
            packet
                .write(parsed.transport, from.port())
                .ok_or(Reason::TruncatedTransport)?;
            let ports = change.with_ports(parsed.source_port, from.port());
            transport_checksum(packet, parsed, &ports)?;
        }
        Part::Tail => {}
        Part::Error(quote) => {
            let to = End {
                address: from.address(),
                sum: change.new,
                port: from.port(),
            };
            quoted::rewrite_destination(packet, (parsed, quote), &change, &to)?;
        }
    }
    if parsed.v6 {
        network_v6(packet, parsed, hops, (V6_SOURCE, from.address()))
    } else {
        network_v4(packet, parsed, &change, hops, (V4_SOURCE, from.address()))
    }
}

/// Words that leave a header, and those that take their place.
#[derive(Clone)]
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
    let old = packet.read(at).ok_or(Reason::TruncatedTransport)?;
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
    hops: u8,
    (at, address): (usize, &Address),
) -> Result<(), Reason> {
    packet
        .write(parsed.network + V6_HOP_LIMIT, parsed.hops - hops)
        .ok_or(Reason::TruncatedHeader)?;
    packet
        .write(parsed.network + at, *address)
        .ok_or(Reason::TruncatedHeader)
}

#[inline(always)]
fn network_v4(
    packet: &Packet<'_>,
    parsed: &Parsed,
    change: &Change,
    hops: u8,
    (at, address): (usize, &Address),
) -> Result<(), Reason> {
    let [ttl, protocol, high, low] = packet
        .read::<[u8; 4]>(parsed.network + V4_TTL)
        .ok_or(Reason::TruncatedHeader)?;
    // What leaves the header is the number of hops in the place of the TTL, whatever that was.
    let old = change.old.plus(Sum::word([hops, 0]));
    let [high, low] = update([high, low], old, change.new);
    packet
        .write(parsed.network + V4_TTL, [ttl - hops, protocol, high, low])
        .ok_or(Reason::TruncatedHeader)?;
    packet
        .write(parsed.network + at, address.v4_bytes())
        .ok_or(Reason::TruncatedHeader)
}
