//! The decapsulator: what `forward = "ipip"` and `"gue"` have put into a packet is taken out, and
//! goes on to the kernel as if it had come so. For backends, on kernels with and without devices
//! for tunnels; a program of its own, which shares nothing with the packet path but its ground.
//!
//! The frame keeps its addresses and VLAN tags. Congestion marks are combined (RFC 6040); else the
//! packet inside is as it was sent.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    programs::XdpContext,
};
use lb_common::{
    address::Address,
    backend::Macs,
    checksum::{Sum, update},
    decap::{Exit, Settings, ecn},
    protocol,
};

use crate::{
    link::{self, Move},
    maps::{DECAP, DECAP_COUNTERS},
    packet::Packet,
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethernet},
};

const IPV4: usize = 20;
const IPV6: usize = 40;
const UDP: usize = 8;
/// Bytes of the header of Generic UDP Encapsulation, variant 0, without options.
const GUE: usize = 4;
/// Protocol number of an IPv4 packet inside another packet.
const IPV4_INSIDE: u8 = 4;
/// Protocol number of an IPv6 packet inside another packet.
const IPV6_INSIDE: u8 = 41;

/// Takes one packet out of another, if it is in one.
#[inline(always)]
pub fn process(ctx: &XdpContext) -> u32 {
    let packet = Packet::new(ctx);
    let exit = match walk(&packet) {
        Ok(exit) | Err(exit) => exit,
    };
    if let Some(counter) = DECAP_COUNTERS.get_ptr_mut(exit as u32) {
        // SAFETY: the element is this CPU's own, and programs on one CPU don't interrupt each other.
        unsafe { *counter += 1 };
    }
    match exit {
        Exit::CongestionLost => XDP_DROP,
        Exit::Ipip
        | Exit::Gue
        | Exit::Other
        | Exit::OtherSource
        | Exit::Fragment
        | Exit::Malformed
        | Exit::OtherVariant => XDP_PASS,
    }
}

/// The outer header.
struct Outer {
    at: usize,
    /// Where what it carries starts.
    payload: usize,
    protocol: u8,
    class: u8,
    source: Address,
}

/// The packet inside.
struct Inner {
    at: usize,
    v6: bool,
}

#[inline(always)]
fn walk(packet: &Packet<'_>) -> Result<Exit, Exit> {
    let settings = DECAP.get(0).ok_or(Exit::Other)?;
    let outer = outer(packet)?;
    let (inner, exit) = inner(packet, settings, &outer)?;
    if !settings.trusts(&outer.source) {
        return Err(Exit::OtherSource);
    }
    combine_marks(packet, &inner, outer.class & 3)?;
    take_out(packet, &outer, &inner).ok_or(Exit::Malformed)?;
    Ok(exit)
}

#[inline(always)]
fn outer(packet: &Packet<'_>) -> Result<Outer, Exit> {
    match ethernet(packet).map_err(|_| Exit::Other)? {
        (ETHERTYPE_IPV4, at) => outer_v4(packet, at),
        (ETHERTYPE_IPV6, at) => outer_v6(packet, at),
        _ => Err(Exit::Other),
    }
}

#[inline(always)]
fn outer_v4(packet: &Packet<'_>, at: usize) -> Result<Outer, Exit> {
    let header = packet.view::<[u8; IPV4]>(at).ok_or(Exit::Malformed)?;
    let &[
        version_length,
        class,
        ..,
        fragment,
        offset,
        _,
        protocol,
        _,
        _,
        a,
        b,
        c,
        d,
        _,
        _,
        _,
        _,
    ] = header;
    if !matches!(protocol, IPV4_INSIDE | IPV6_INSIDE | protocol::UDP) {
        return Err(Exit::Other);
    }
    let length = usize::from(version_length & 0xf) * 4;
    if version_length >> 4 != 4 || length < IPV4 {
        return Err(Exit::Malformed);
    }
    if u16::from_be_bytes([fragment, offset]) & 0x3fff != 0 {
        // Most datagrams are nobody's but the kernel's.
        let exit = if protocol == protocol::UDP {
            Exit::Other
        } else {
            Exit::Fragment
        };
        return Err(exit);
    }
    Ok(Outer {
        at,
        payload: at + length,
        protocol,
        class,
        source: Address::v4([a, b, c, d]),
    })
}

#[inline(always)]
fn outer_v6(packet: &Packet<'_>, at: usize) -> Result<Outer, Exit> {
    let &[high, low, _, _, _, _, next, _] = packet.view::<[u8; 8]>(at).ok_or(Exit::Malformed)?;
    let source = packet.read::<Address>(at + 8).ok_or(Exit::Malformed)?;
    Ok(Outer {
        at,
        payload: at + IPV6,
        protocol: next,
        class: high << 4 | low >> 4,
        source,
    })
}

#[inline(always)]
fn inner(packet: &Packet<'_>, settings: &Settings, outer: &Outer) -> Result<(Inner, Exit), Exit> {
    let (inner, exit) = match outer.protocol {
        IPV4_INSIDE => (inside(outer.payload, false), Exit::Ipip),
        IPV6_INSIDE => (inside(outer.payload, true), Exit::Ipip),
        protocol::UDP => (in_datagram(packet, settings, outer.payload)?, Exit::Gue),
        _ => return Err(Exit::Other),
    };
    check(packet, &inner).ok_or(Exit::Malformed)?;
    Ok((inner, exit))
}

const fn inside(at: usize, v6: bool) -> Inner {
    Inner { at, v6 }
}

/// Variant 1 has the packet right behind the UDP header, whose first bits tell (4 or 6 look like
/// version 1); variant 0 has a header of its own before it, which Linux sends.
#[inline(always)]
fn in_datagram(packet: &Packet<'_>, settings: &Settings, at: usize) -> Result<Inner, Exit> {
    let port = packet.read::<[u8; 2]>(at + 2).ok_or(Exit::Other)?;
    if port != settings.gue_port() {
        return Err(Exit::Other);
    }
    let [first, protocol, ..] = packet.read::<[u8; GUE]>(at + UDP).ok_or(Exit::Malformed)?;
    match (first >> 4, first, protocol) {
        (4, _, _) => Ok(inside(at + UDP, false)),
        (6, _, _) => Ok(inside(at + UDP, true)),
        (_, 0, IPV4_INSIDE) => Ok(inside(at + UDP + GUE, false)),
        (_, 0, IPV6_INSIDE) => Ok(inside(at + UDP + GUE, true)),
        _ => Err(Exit::OtherVariant),
    }
}

/// The packet inside must be of its version, and lie within the frame.
#[inline(always)]
fn check(packet: &Packet<'_>, inner: &Inner) -> Option<()> {
    let [version, _, a, b, c, d] = packet.read::<[u8; 6]>(inner.at)?;
    let (expected, length) = if inner.v6 {
        (6, IPV6 + usize::from(u16::from_be_bytes([c, d])))
    } else {
        (4, usize::from(u16::from_be_bytes([a, b])))
    };
    let fits = version >> 4 == expected && packet.reaches(inner.at + length);
    (fits && length >= IPV4).then_some(())
}

#[inline(always)]
fn combine_marks(packet: &Packet<'_>, inner: &Inner, outer: u8) -> Result<(), Exit> {
    let combine = |class: u8| {
        let marks = ecn::leave_tunnel(class & 3, outer).ok_or(Exit::CongestionLost)?;
        Ok(class & !3 | marks)
    };
    if inner.v6 {
        let [high, low] = packet.read::<[u8; 2]>(inner.at).ok_or(Exit::Malformed)?;
        let class = combine(high << 4 | low >> 4)?;
        let marked = [high & 0xf0 | class >> 4, class << 4 | low & 0xf];
        return packet.write(inner.at, marked).ok_or(Exit::Malformed);
    }
    let [version, class] = packet.read::<[u8; 2]>(inner.at).ok_or(Exit::Malformed)?;
    let marked = [version, combine(class)?];
    if marked[1] == class {
        return Ok(());
    }
    let sum = packet.read(inner.at + 10).ok_or(Exit::Malformed)?;
    let sum = update(sum, Sum::word([version, class]), Sum::word(marked));
    packet.write(inner.at + 10, sum).ok_or(Exit::Malformed)?;
    packet.write(inner.at, marked).ok_or(Exit::Malformed)
}

/// Brings the frame's own header to the packet inside, and lets the frame start there.
#[inline(always)]
fn take_out(packet: &Packet<'_>, outer: &Outer, inner: &Inner) -> Option<()> {
    let by = inner.at - outer.at;
    let ethertype = if inner.v6 {
        ETHERTYPE_IPV6
    } else {
        ETHERTYPE_IPV4
    };
    let macs = packet.read::<Macs>(0)?;
    let moved = Move {
        from: 0,
        to: by,
        length: outer.at,
    };
    link::write(packet, &moved, macs, ethertype, [0_u8; 0])?;
    packet.shrink(by)
}
