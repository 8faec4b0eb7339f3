//! What encapsulations have in common: a new outer header in front of the packet, which stays as it
//! was but for the hop that it has made (RFC 2003, section 3; RFC 2473, section 3).
//!
//! The outer header carries the inner one's traffic class, congestion marks included (RFC 6040,
//! section 4.1, normal mode), so that queues on the way treat it, and may mark it, as its own.

use lb_common::{
    backend::{Backend, Macs},
    checksum::{Sum, update},
    encap::{Encap, OUTER_HOPS},
    reason::Reason,
};

use crate::{
    link::{self, Move},
    packet::{Header, Packet},
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Parsed},
};

/// Bytes of an IPv4 header without options.
pub const V4: usize = 20;
/// Bytes of an IPv6 header.
pub const V6: usize = 40;

/// Protocol number of an IPv4 packet inside another packet.
const IPV4_INSIDE: u8 = 4;
/// Protocol number of an IPv6 packet inside another packet.
const IPV6_INSIDE: u8 = 41;
/// "Don't fragment", as it lies in the second word of an IPv4 header.
const DONT_FRAGMENT: u32 = u32::from_be(0x4000);

/// The packet that goes into another one, as far as that one shows it.
pub struct Inner {
    /// Bytes of the packet, by its own word.
    pub length: u16,
    /// Its protocol number inside an IP packet.
    pub protocol: u8,
    /// TOS or traffic class.
    class: u8,
    /// Identification and "don't fragment" for an outer IPv4 header: those of an inner one, so that
    /// only what may be cut is, and its pieces can be told from others; IPv6 is never cut.
    fragmentation: u32,
}

impl Inner {
    /// Takes the packet one hop further, and tells what it shows.
    #[inline(always)]
    pub fn pass_on(packet: &Packet<'_>, parsed: &Parsed) -> Result<Self, Reason> {
        let inner = if parsed.v6 {
            Self::pass_v6(packet, parsed)
        } else {
            Self::pass_v4(packet, parsed)
        };
        inner.ok_or(Reason::TruncatedHeader)
    }

    #[inline(always)]
    fn pass_v4(packet: &Packet<'_>, parsed: &Parsed) -> Option<Self> {
        let [first, second, third] = packet.edit::<[[u8; 4]; 3]>(parsed.network)?;
        let [ttl, protocol, high, low] = *third;
        // What leaves the header is a one in the place of the TTL, whatever that and the protocol are.
        let [high, low] = update([high, low], Sum::word([1, 0]), Sum::ZERO);
        *third = [ttl - 1, protocol, high, low];
        let [_, class, length @ ..] = *first;
        Some(Self {
            length: u16::from_be_bytes(length),
            protocol: IPV4_INSIDE,
            class,
            fragmentation: whole(*second),
        })
    }

    #[inline(always)]
    fn pass_v6(packet: &Packet<'_>, parsed: &Parsed) -> Option<Self> {
        let [high, low, _, _, length @ .., _, hops] = packet.edit::<[u8; 8]>(parsed.network)?;
        *hops -= 1;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the parser has seen that the packet fits a frame"
        )]
        let whole = u16::from_be_bytes(*length).wrapping_add(V6 as u16);
        Some(Self {
            length: whole,
            protocol: IPV6_INSIDE,
            class: *high << 4 | *low >> 4,
            fragmentation: DONT_FRAGMENT,
        })
    }
}

/// Identification and fragmentation of the packet around one that has these. Around a piece it is
/// whole itself (RFC 2003, section 3.1), and tells by its identification from those around the others.
#[inline(always)]
const fn whole([high, low, flags, rest]: [u8; 4]) -> u32 {
    let offset = u16::from_be_bytes([flags & 0x1f, rest]);
    let identification = u16::from_be_bytes([high, low]).wrapping_add(offset);
    let [high, low] = identification.to_be_bytes();
    u32::from_ne_bytes([high, low, flags & 0x40, 0])
}

/// Where the encapsulated packet goes, and what makes its flow tell from others.
pub struct Way<'a> {
    /// To this backend.
    pub backend: &'a Backend,
    /// From these sources.
    pub encap: &'a Encap,
    /// The flow's bits.
    pub entropy: u64,
    /// By this next hop.
    pub macs: Macs,
}

/// An outer IPv4 header (RFC 791), by its words of memory.
#[inline(always)]
pub fn v4(inner: &Inner, way: &Way<'_>, protocol: u8, length: u16) -> [u32; 5] {
    let [high, low] = length.to_be_bytes();
    let first = u32::from_ne_bytes([0x45, inner.class, high, low]);
    let second = inner.fragmentation;
    let source = way.encap.source_v4(way.entropy);
    let third = u32::from_ne_bytes([OUTER_HOPS, protocol, 0, 0]);
    let sum = way
        .backend
        .address_sum()
        .plus(Sum::words([first, second, third, source]));
    let [high, low] = (!sum.fold()).to_ne_bytes();
    let third = u32::from_ne_bytes([OUTER_HOPS, protocol, high, low]);
    let destination = u32::from_ne_bytes(way.backend.address().v4_bytes());
    [first, second, third, source, destination]
}

/// An outer IPv6 header (RFC 8200), by its words of memory. Its flow label is the flow's as well
/// (RFC 6438).
#[inline(always)]
pub fn v6(inner: &Inner, way: &Way<'_>, protocol: u8, payload: u16) -> [u64; 5] {
    let [.., a, b, c] = way.entropy.to_ne_bytes();
    let class = inner.class;
    let [high, low] = payload.to_be_bytes();
    let first = [
        0x60 | class >> 4,
        class << 4 | a & 0xf,
        b,
        c,
        high,
        low,
        protocol,
        OUTER_HOPS,
    ];
    let [from, from_rest] = way.encap.source_v6(way.entropy);
    let [to, to_rest] = way.backend.address().halves();
    [u64::from_ne_bytes(first), from, from_rest, to, to_rest]
}

/// Puts `header` between the frame's own header, VLAN tags included, and the packet.
#[inline(always)]
pub fn put<T: Header>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    way: &Way<'_>,
    header: T,
) -> Result<(), Reason> {
    packet.grow(size_of::<T>()).ok_or(Reason::NoHeadroom)?;
    let ethertype = if way.backend.is_v6() {
        ETHERTYPE_IPV6
    } else {
        ETHERTYPE_IPV4
    };
    let moved = Move {
        from: size_of::<T>(),
        to: 0,
        length: parsed.network,
    };
    link::write(packet, &moved, way.macs, ethertype, header).ok_or(Reason::TruncatedHeader)
}
