//! A reset in the name of a VIP: the client of a connection that is cut is told at once.
//!
//! RFC 9293, section 3.10.7.1: the reset of a segment with an acknowledgement has that for its
//! sequence number, so that the client takes it (RFC 5961, section 3.2, wants it exact); the reset
//! of any other acknowledges what it brings. A reset is never answered.

use lb_common::{address::Address, backend::Macs, checksum::Sum, protocol, reason::Reason};

use crate::{
    packet::{Header, Packet},
    parse::{self, Parsed, Part},
};

const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;
/// Where the flags are in a TCP header.
const FLAGS: usize = 13;

const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

const HOPS: u8 = 64;

/// What a segment says of its place in the stream.
#[repr(C)]
#[derive(Clone, Copy)]
struct Segment {
    sequence: [u8; 4],
    acknowledgement: [u8; 4],
    offset: u8,
    flags: u8,
}

// SAFETY: bytes only.
unsafe impl Header for Segment {}

/// Whether the segment is a reset itself; an error about one is none.
#[inline(always)]
pub fn is_reset(packet: &Packet<'_>, parsed: &Parsed) -> bool {
    if !matches!(parsed.part, Part::Headed) {
        return false;
    }
    // With the byte before: of a single byte the compiler may compare its own address, rather than
    // that behind it, with the frame's end, which tells the verifier nothing.
    let flags = packet.read::<[u8; 2]>(parsed.transport + FLAGS - 1);
    flags.is_none_or(|[_, flags]| flags & RST != 0)
}

/// Makes the reset of a segment out of it, on its way back.
#[inline(always)]
pub fn walk(packet: &Packet<'_>) -> Result<Reason, Reason> {
    // Nothing that is cut goes on to the host.
    let parsed = parse::headed(packet).map_err(|_| Reason::NoProgram)?;
    make(packet, &parsed).ok_or(Reason::NoProgram)?;
    Ok(Reason::Reset)
}

#[inline(always)]
fn make(packet: &Packet<'_>, parsed: &Parsed) -> Option<()> {
    // The lower address first: its bounds would follow from the other's, for the compiler, which then
    // leaves out a comparison that the verifier needs.
    let macs = packet.read::<Macs>(0)?;
    let segment = packet.read::<Segment>(parsed.transport + 4)?;
    let tcp = reset(parsed, &segment, payload(parsed, &segment)?);
    let header = if parsed.v6 { IPV6 } else { IPV4 };
    shorten(packet, parsed.network + header + TCP);
    packet.write(0, macs.swapped())?;
    if parsed.v6 {
        packet.write(parsed.network, ipv6(parsed))?;
    } else {
        packet.write(parsed.network, ipv4(parsed))?;
    }
    packet.write(parsed.network + header, tcp)
}

/// Bytes behind the segment's header, by what the IP header says.
#[inline(always)]
fn payload(parsed: &Parsed, segment: &Segment) -> Option<u32> {
    let start = parsed.transport + usize::from(segment.offset >> 4) * 4;
    u32::try_from(parsed.end.saturating_sub(start)).ok()
}

/// The TCP header, its sum included.
#[inline(always)]
fn reset(parsed: &Parsed, segment: &Segment, payload: u32) -> [u8; TCP] {
    let (sequence, acknowledgement, flags) = numbers(segment, payload);
    let mut header = [0; TCP];
    header[0..2].copy_from_slice(&parsed.destination_port);
    header[2..4].copy_from_slice(&parsed.source_port);
    header[4..8].copy_from_slice(&sequence);
    header[8..12].copy_from_slice(&acknowledgement);
    header[12] = 5 << 4;
    header[FLAGS] = flags;
    // RFC 9293, section 3.1; RFC 8200, section 8.1: the pseudo-header.
    let sum = addresses(parsed)
        .plus(Sum::word([0, protocol::TCP]))
        .plus(Sum::word([0, 20]))
        .plus(words(&header));
    header[16..18].copy_from_slice(&sum.checksum());
    header
}

/// Sequence number, acknowledgement and flags of the reset.
#[inline(always)]
const fn numbers(segment: &Segment, payload: u32) -> ([u8; 4], [u8; 4], u8) {
    if segment.flags & ACK != 0 {
        return (segment.acknowledgement, [0; 4], RST);
    }
    let syn = (segment.flags & SYN != 0) as u32;
    let fin = (segment.flags & FIN != 0) as u32;
    let next = u32::from_be_bytes(segment.sequence).wrapping_add(payload + syn + fin);
    ([0; 4], next.to_be_bytes(), RST | ACK)
}

#[inline(always)]
fn ipv4(parsed: &Parsed) -> [u8; IPV4] {
    let mut header = [0; IPV4];
    header[0] = 0x45;
    header[3] = 40;
    // Don't fragment, so that the identification need not differ (RFC 6864, section 4).
    header[6] = 0x40;
    (header[8], header[9]) = (HOPS, protocol::TCP);
    header[12..16].copy_from_slice(&parsed.destination.v4_bytes());
    header[16..20].copy_from_slice(&parsed.source.v4_bytes());
    let sum = words(&header).checksum();
    header[10..12].copy_from_slice(&sum);
    header
}

/// Version, length, next header and hop limit, then both addresses.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ipv6([u8; 8], Address, Address);

// SAFETY: bytes and addresses only.
unsafe impl Header for Ipv6 {}

#[inline(always)]
const fn ipv6(parsed: &Parsed) -> Ipv6 {
    let first = [0x60, 0, 0, 0, 0, 20, protocol::TCP, HOPS];
    Ipv6(first, parsed.destination, parsed.source)
}

#[inline(always)]
const fn addresses(parsed: &Parsed) -> Sum {
    if parsed.v6 {
        Sum::v6(&parsed.source).plus(Sum::v6(&parsed.destination))
    } else {
        Sum::v4(&parsed.source).plus(Sum::v4(&parsed.destination))
    }
}

/// The sum of a header of 20 bytes.
#[inline(always)]
fn words(header: &[u8; 20]) -> Sum {
    let mut sum = Sum::ZERO;
    let mut at = 0;
    while at < header.len() {
        sum = sum.plus(Sum::word([header[at], header[at + 1]]));
        at += 2;
    }
    sum
}

/// Cuts the frame's end off. Where the kernel refuses, what is left of it is padding behind the
/// packet, which its receiver ignores.
#[inline(always)]
fn shorten(packet: &Packet<'_>, length: usize) {
    let _as_it_is = packet.cut_to(length);
}
