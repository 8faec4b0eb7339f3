//! The packet that an ICMP error quotes, translated as its own connection is.
//!
//! The error's checksum covers the quote, and in IPv6 the error's own addresses (RFC 4443, section
//! 2.3); it is updated for every word that changes, those of the quote's own checksums included.

use lb_common::{
    checksum::{Sum, update, update_udp},
    protocol,
    reason::Reason,
};

use super::{Change, End, V4_DESTINATION, V4_SOURCE, V6_DESTINATION, V6_SOURCE, sum};
use crate::{
    packet::Packet,
    parse::{Parsed, Quote},
};

/// Offset of the checksum in an IPv4 header.
const V4_CHECKSUM: usize = 10;
/// Offset of the checksum in an ICMP message.
const ICMP_CHECKSUM: usize = 2;

/// One end of the quoted packet: where it stands, and what it becomes.
struct Place<'a> {
    address_v4: usize,
    address_v6: usize,
    port: usize,
    old_port: [u8; 2],
    change: Change,
    to: &'a End<'a>,
}

/// Makes `to` the source of the quoted packet; `outer` is what changes in the error's own header.
#[inline(always)]
pub fn rewrite_source(
    packet: &Packet<'_>,
    (parsed, quote): (&Parsed, &Quote),
    outer: &Change,
    to: &End<'_>,
) -> Result<(), Reason> {
    let place = Place {
        address_v4: V4_SOURCE,
        address_v6: V6_SOURCE,
        port: 0,
        old_port: parsed.destination_port,
        change: outer.clone(),
        to,
    };
    rewrite(packet, (parsed, quote), outer, &place)
}

/// Makes `to` the destination of the quoted packet. Its old one need not be the error's source: a
/// router on the way may have sent it.
#[inline(always)]
pub fn rewrite_destination(
    packet: &Packet<'_>,
    (parsed, quote): (&Parsed, &Quote),
    outer: &Change,
    to: &End<'_>,
) -> Result<(), Reason> {
    let place = Place {
        address_v4: V4_DESTINATION,
        address_v6: V6_DESTINATION,
        port: 2,
        old_port: parsed.source_port,
        change: Change {
            old: sum(&quote.destination, parsed.v6),
            new: to.sum,
        },
        to,
    };
    rewrite(packet, (parsed, quote), outer, &place)
}

#[inline(always)]
fn rewrite(
    packet: &Packet<'_>,
    (parsed, quote): (&Parsed, &Quote),
    outer: &Change,
    place: &Place<'_>,
) -> Result<(), Reason> {
    let ports = place.change.with_ports(place.old_port, place.to.port);
    packet
        .write(quote.transport + place.port, place.to.port)
        .ok_or(Reason::IcmpTruncated)?;
    let mut total = ports.clone();
    if quote.checksum != 0 {
        let old = packet.read(quote.checksum).ok_or(Reason::IcmpTruncated)?;
        let new = if parsed.protocol == protocol::TCP {
            update(old, ports.old, ports.new)
        } else {
            update_udp(old, ports.old, ports.new)
        };
        packet
            .write(quote.checksum, new)
            .ok_or(Reason::IcmpTruncated)?;
        total = total.with_ports(old, new);
    }
    if parsed.v6 {
        packet
            .write(quote.network + place.address_v6, *place.to.address)
            .ok_or(Reason::IcmpTruncated)?;
        total = Change {
            old: total.old.plus(outer.old),
            new: total.new.plus(outer.new),
        };
    } else {
        let at = quote.network + V4_CHECKSUM;
        let old = packet.read(at).ok_or(Reason::IcmpTruncated)?;
        let new = update(old, place.change.old, place.change.new);
        packet.write(at, new).ok_or(Reason::IcmpTruncated)?;
        packet
            .write(
                quote.network + place.address_v4,
                place.to.address.v4_bytes(),
            )
            .ok_or(Reason::IcmpTruncated)?;
        total = total.with_ports(old, new);
    }
    error_checksum(packet, parsed, total.old, total.new)
}

#[inline(always)]
fn error_checksum(packet: &Packet<'_>, parsed: &Parsed, old: Sum, new: Sum) -> Result<(), Reason> {
    let at = parsed.transport + ICMP_CHECKSUM;
    let before = packet.read(at).ok_or(Reason::IcmpTruncated)?;
    packet
        .write(at, update(before, old, new))
        .ok_or(Reason::IcmpTruncated)
}
