//! Packets that are larger than the way to their backend takes: their sender is told the size that
//! it does (RFC 1191, section 4; RFC 8201; RFC 4443, section 3.2), as a router there would.
//!
//! The answer comes from the VIP, since the sender knows of no other address, and leaves by the
//! interface that the packet came in by. IPv4 packets that might be cut are answered as well: this
//! program can't cut, and their sender is better told than left to wonder.

use aya_ebpf::{
    bindings::{bpf_check_mtu_ret::BPF_MTU_CHK_RET_FRAG_NEEDED, xdp_md},
    helpers::generated::{bpf_check_mtu, bpf_csum_diff, bpf_ktime_get_ns},
};
use lb_common::{
    address::Address, backend::Macs, checksum::Sum, encap::OUTER_HOPS, limit::Limit, protocol,
    reason::Reason,
};

use super::outer::{V4, V6};
use crate::{
    aside,
    link::{self, Move},
    maps::{MTU, TOO_BIG, node},
    mode::Mode,
    packet::{Header, Packet, Pair},
    parse::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Parsed},
};

/// Bytes of the packet that the answer quotes: its headers, most likely whole. The number is a
/// constant, since the verifier refuses `bpf_csum_diff` over a length that is not, and at most 512,
/// since kernels before 6.13 take no more.
const QUOTE: usize = 256;
/// Bytes of an ICMP header.
const ICMP: usize = 8;

/// Offset of the flags in an IPv4 header.
const FLAGS: usize = 6;
/// "Don't fragment", among them.
const DONT_FRAGMENT: u8 = 0x40;

/// Destination unreachable, fragmentation needed (RFC 792).
const UNREACHABLE_TOO_BIG: [u8; 2] = [3, 4];
/// Packet too big (RFC 4443).
const PACKET_TOO_BIG: [u8; 2] = [2, 0];

/// Answers at once, after a rest.
const BURST: u32 = 50;

/// What the answer needs to know of the packet.
struct Refused {
    source: Address,
    destination: Address,
    network: usize,
    /// The largest packet that goes.
    mtu: usize,
    v6: bool,
}

/// Has the packet turned into the answer, which says that `mtu` bytes are the most; by a tail call,
/// so that the path of all other packets is neither longer nor deeper for it.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an MTU fits 32 bits")]
pub fn answer<M: Mode>(packet: &Packet<'_>, mtu: usize) -> Reason {
    if M::TELLS {
        return Reason::TooBig;
    }
    if let Some(place) = MTU.get_ptr_mut(0) {
        // SAFETY: the element is this CPU's own, and programs on one CPU don't interrupt each other.
        unsafe { *place = mtu as u32 };
        return aside::too_big(packet);
    }
    Reason::TooBigUntold
}

/// Turns the packet into the answer.
#[inline(always)]
pub fn walk(packet: &Packet<'_>) -> Result<Reason, Reason> {
    // 0 in a map that was made this moment, by a daemon that takes over.
    let mtu = MTU.get(0).copied().unwrap_or(0) as usize;
    let parsed = parse::headed(packet).map_err(|_| Reason::TooBigUntold)?;
    if mtu == 0 || !may_answer() {
        return Err(Reason::TooBigUntold);
    }
    let refused = Refused {
        source: parsed.source,
        destination: parsed.destination,
        network: parsed.network,
        mtu,
        v6: parsed.v6,
    };
    let made = if refused.v6 {
        answer_v6(packet, &refused)
    } else {
        answer_v4(packet, &refused)
    };
    // Nothing where the frame is shorter than the quote: the next hop's MTU is below nobody's.
    made.map(|()| Reason::TooBig).ok_or(Reason::TooBigUntold)
}

/// Whether this is several packets in one, which the kernel has joined (GRO) before a program in
/// generic mode sees them, and will divide again. A packet by itself fits the interface that it
/// came in by.
#[inline(always)]
pub fn is_joined(packet: &Packet<'_>, parsed: &Parsed) -> bool {
    exceeds_ingress(packet.raw(), parsed.end - parsed.network)
}

/// Whether routers may cut the packet: IPv4 without "don't fragment" (RFC 791, section 3.1).
#[inline(always)]
pub fn may_be_cut(packet: &Packet<'_>, parsed: &Parsed) -> bool {
    let flags = packet.read::<[u8; 2]>(parsed.network + FLAGS);
    !parsed.v6 && flags.is_some_and(|[flags, _]| flags & DONT_FRAGMENT == 0)
}

/// A function of its own (a call between BPF programs): few packets need it.
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "lengths of packets fit 32 bits"
)]
fn exceeds_ingress(raw: *mut xdp_md, length: usize) -> bool {
    let mut length = length as u32;
    // SAFETY: the context is this run's own, and the length lives until the helper returns.
    let verdict = unsafe { bpf_check_mtu(raw.cast(), 0, &raw mut length, 0, 0) };
    verdict == i64::from(BPF_MTU_CHK_RET_FRAG_NEEDED)
}

/// The limit is each CPU's own: no lock, and no cache line that CPUs fight for.
#[inline(always)]
fn may_answer() -> bool {
    let (Ok(node), Some(state)) = (node(), TOO_BIG.get_ptr_mut(0)) else {
        return false;
    };
    // SAFETY: the helper takes nothing and only reads a clock.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the element is this CPU's own, and programs on one CPU don't interrupt each other.
    let state = unsafe { &mut *state };
    let Some(next) = Limit::new(node.encap().too_big_per_second(), BURST).admit(*state, now) else {
        return false;
    };
    *state = next;
    true
}

#[inline(always)]
fn answer_v4(packet: &Packet<'_>, refused: &Refused) -> Option<()> {
    let source = u32::from_ne_bytes(refused.destination.v4_bytes());
    let destination = u32::from_ne_bytes(refused.source.v4_bytes());
    let [high, low] = short(V4 + ICMP + QUOTE);
    let first = u32::from_ne_bytes([0x45, 0, high, low]);
    let second = u32::from_ne_bytes([0, 0, 0x40, 0]);
    let [ttl, icmp] = [OUTER_HOPS, protocol::ICMP];
    let third = u32::from_ne_bytes([ttl, icmp, 0, 0]);
    let sum = Sum::words([first, second, third, source, destination]);
    let [high, low] = (!sum.fold()).to_ne_bytes();
    let third = u32::from_ne_bytes([ttl, icmp, high, low]);
    let header = [first, second, third, source, destination];
    turn(packet, refused.network, ETHERTYPE_IPV4, header)?;
    let [high, low] = short(refused.mtu);
    let rest = [0, 0, high, low];
    write_icmp(
        packet,
        refused.network + V4,
        UNREACHABLE_TOO_BIG,
        rest,
        Sum::ZERO,
    )
}

#[inline(always)]
fn answer_v6(packet: &Packet<'_>, refused: &Refused) -> Option<()> {
    let (source, destination) = (&refused.destination, &refused.source);
    let [high, low] = short(ICMP + QUOTE);
    let first = [0x60, 0, 0, 0, high, low, protocol::ICMPV6, OUTER_HOPS];
    let header = Pair(u64::from_ne_bytes(first), Pair(*source, *destination));
    turn(packet, refused.network, ETHERTYPE_IPV6, header)?;
    // The pseudo-header of RFC 8200, section 8.1.
    let pseudo = Sum::v6(source)
        .plus(Sum::v6(destination))
        .plus(Sum::word([high, low]))
        .plus(Sum::word([0, protocol::ICMPV6]));
    let [high, low] = short(refused.mtu);
    let rest = [0, 0, high, low];
    write_icmp(packet, refused.network + V6, PACKET_TOO_BIG, rest, pseudo)
}

/// Cuts the packet to what is quoted, and puts `header` between it and the frame's own header, which
/// is turned to where it came from. The ICMP header is still to be written, after `header`.
#[inline(always)]
fn turn<T: Header>(packet: &Packet<'_>, network: usize, ethertype: u16, header: T) -> Option<()> {
    let macs = packet.read::<Macs>(0)?;
    packet.cut_to(network + QUOTE)?;
    packet.grow(size_of::<T>() + ICMP)?;
    let moved = Move {
        from: size_of::<T>() + ICMP,
        to: 0,
        length: network,
    };
    link::write(packet, &moved, macs.swapped(), ethertype, header)
}

/// Writes the ICMP header at `at`, in front of the quote.
#[inline(always)]
fn write_icmp(
    packet: &Packet<'_>,
    at: usize,
    [kind, code]: [u8; 2],
    rest: [u8; 4],
    pseudo: Sum,
) -> Option<()> {
    let quote = packet.pointer::<[u8; QUOTE]>(at + ICMP)?;
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    let length = QUOTE as u32;
    // SAFETY: `pointer` has checked that so many bytes are the frame's; the helper only reads them.
    let quoted = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, quote.cast(), length, 0) };
    let sum = Sum::partial(u32::try_from(quoted).ok()?)
        .plus(Sum::word([kind, code]))
        .plus(Sum::words([u32::from_ne_bytes(rest)]))
        .plus(pseudo);
    let [high, low] = (!sum.fold()).to_ne_bytes();
    packet.write(at, [[kind, code, high, low], rest])
}

/// A length in network byte order.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "lengths of packets fit 16 bits"
)]
const fn short(length: usize) -> [u8; 2] {
    (length as u16).to_be_bytes()
}
