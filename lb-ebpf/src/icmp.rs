//! ICMP and `ICMPv6` that concern a listener: echo requests, and errors about its connections.
//!
//! An error goes where the packet that it quotes came from: to the backend that owns the
//! connection, or to the client. Which connection it is about is all that an error can prove, so one
//! that quotes none of a listener's is left to the kernel, and one that contradicts itself dropped.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    address::Address,
    checksum::{Sum, update},
    listener::Endpoint,
    node::Node,
    protocol,
    reason::Reason,
};

use crate::{
    choose, forward,
    listen::{self, Side},
    maps,
    mode::{Aside, Follow},
    packet::Packet,
    parse::{self, Network, Part},
    protect, signal,
};

/// Bytes of an ICMP header.
const HEADER: usize = 8;
/// The hop limit of what is sent from here (RFC 1700).
const HOPS: u8 = 64;

/// RFC 792: unreachable, time exceeded, parameter problem, echo. Quenches mean nothing any more
/// (RFC 6633), and redirects are for hosts.
mod v4 {
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    /// The code of an unreachable that only tells a size.
    pub const TOO_BIG: u8 = 4;
    pub const ECHO_REQUEST: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// RFC 4443, section 2.1: errors are below 128; the first four are known.
mod v6 {
    pub const UNREACHABLE: u8 = 1;
    pub const PARAMETER_PROBLEM: u8 = 4;
    pub const ECHO_REQUEST: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
}

/// Takes a packet that is neither TCP nor UDP.
#[inline(always)]
pub fn walk(packet: &Packet<'_>) -> Result<Reason, Reason> {
    let network = parse::network(packet)?;
    if network.protocol != number(network.v6) {
        return Err(Reason::OtherProtocol);
    }
    let [kind, code] = packet
        .read::<[u8; 2]>(network.transport)
        .ok_or(Reason::TruncatedTransport)?;
    if network.rest < HEADER {
        return Err(Reason::TruncatedTransport);
    }
    match (network.v6, kind) {
        (false, v4::ECHO_REQUEST) | (true, v6::ECHO_REQUEST) => {
            answer(packet, &network, [kind, code])
        }
        (false, v4::UNREACHABLE | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM)
        | (true, v6::UNREACHABLE..=v6::PARAMETER_PROBLEM) => error(packet, &network, [kind, code]),
        _ => Err(Reason::OtherProtocol),
    }
}

/// ICMP's number in a family.
#[inline(always)]
const fn number(v6: bool) -> u8 {
    if v6 { protocol::ICMPV6 } else { protocol::ICMP }
}

/// An error: to the backend or the client that the quoted packet came from.
#[inline(always)]
fn error(packet: &Packet<'_>, network: &Network, head: [u8; 2]) -> Result<Reason, Reason> {
    let quoted = parse::quote(packet, network)?;
    let from = Endpoint::new(quoted.source, quoted.ports.0, quoted.protocol);
    let to = || Endpoint::new(quoted.destination, quoted.ports.1, quoted.protocol);
    let Some(side) = listen::of(network.v6, &from, to) else {
        return Err(Reason::IcmpUnrelated);
    };
    if network.destination != quoted.source {
        return Err(Reason::IcmpContradiction);
    }
    sent(match side {
        Side::Client(listener) => {
            network.check_source()?;
            protect::check_denied(maps::node()?, &network.source, network.v6)?;
            let parsed = quoted.mirrored(network);
            let target =
                choose::<Follow>(packet, &parsed, listener, false, || None).map_err(unrelated)?;
            forward::request::<Aside>(packet, &parsed, &target)
        }
        Side::Backend(reply) => {
            let parsed = quoted.from_backend(network);
            if is_unreachable(network.v6, head)
                && let Part::Error(quote) = &parsed.part
            {
                signal::undelivered(packet, &parsed, quote, reply);
            }
            let context = XdpContext::new(apart(packet.raw()));
            forward::reply::<Aside>(&Packet::new(&context), &parsed, reply)
        }
    })
}

/// The same context, which the compiler does not know for that: both ways of an error would share the
/// address of one of its fields, and the verifier refuses a read by another address than its own.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn apart(mut context: *mut xdp_md) -> *mut xdp_md {
    // SAFETY: there is no instruction in it.
    unsafe {
        core::arch::asm!("/* {context} */", context = inout(reg) context, options(pure, nomem, nostack));
    }
    context
}

/// As above, on the host, where there is no verifier.
#[cfg(not(target_arch = "bpf"))]
const fn apart(context: *mut xdp_md) -> *mut xdp_md {
    context
}

/// Whether an error says that a packet can't be delivered, for whatever reason: a client that has just
/// called takes each for a refusal (RFC 5461, section 3.1, of Linux and others).
#[inline(always)]
const fn is_unreachable(v6: bool, [kind, code]: [u8; 2]) -> bool {
    if v6 {
        kind == v6::UNREACHABLE
    } else {
        kind == v4::UNREACHABLE && code != v4::TOO_BIG
    }
}

/// What became of an error, by what became of it as a packet.
#[inline(always)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all others stay as they are"
)]
fn sent(packet: Result<Reason, Reason>) -> Result<Reason, Reason> {
    Ok(match packet? {
        Reason::Transmitted | Reason::ReplyTransmitted => Reason::ErrorTransmitted,
        Reason::Redirected | Reason::ReplyRedirected => Reason::ErrorRedirected,
        Reason::ReplyUnresolved => Reason::ErrorUnresolved,
        other => other,
    })
}

/// A connection that is cut has nobody who could be told.
#[inline(always)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all others stay as they are"
)]
const fn unrelated(reason: Reason) -> Reason {
    match reason {
        Reason::Reset => Reason::IcmpUnrelated,
        other => other,
    }
}

/// An echo request: back to whom it came from, if it was for a VIP and the node is told to.
#[inline(always)]
fn answer(packet: &Packet<'_>, network: &Network, head: [u8; 2]) -> Result<Reason, Reason> {
    let ours = maps::node()?.has(Node::ANSWER_ECHO)
        && listen::vip(network.destination, network.protocol).is_some();
    if !ours {
        return Err(Reason::OtherProtocol);
    }
    network.check_source()?;
    protect::check_denied(maps::node()?, &network.source, network.v6)?;
    forward::turn_back(packet).ok_or(Reason::TruncatedHeader)?;
    turn_network(packet, network).ok_or(Reason::TruncatedHeader)?;
    let [_, code] = head;
    let kind = if network.v6 {
        v6::ECHO_REPLY
    } else {
        v4::ECHO_REPLY
    };
    let at = network.transport;
    let sum: [u8; 2] = packet.read(at + 2).ok_or(Reason::TruncatedTransport)?;
    let [high, low] = update(sum, Sum::word(head), Sum::word([kind, code]));
    packet
        .write(at, [kind, code, high, low])
        .ok_or(Reason::TruncatedTransport)?;
    Ok(Reason::EchoAnswered)
}

/// Swaps the addresses, which changes no sum, and starts the hops anew.
#[inline(always)]
fn turn_network(packet: &Packet<'_>, network: &Network) -> Option<()> {
    let at = network.at;
    if network.v6 {
        packet.write(at + 7, HOPS)?;
        let turned: [Address; 2] = [network.destination, network.source];
        return packet.write(at + 8, turned);
    }
    let [ttl, protocol, high, low] = packet.read::<[u8; 4]>(at + 8)?;
    let (old, new) = (Sum::word([ttl, protocol]), Sum::word([HOPS, protocol]));
    let [high, low] = update([high, low], old, new);
    packet.write(at + 8, [HOPS, protocol, high, low])?;
    packet.write(at + 12, network.destination.v4_bytes())?;
    packet.write(at + 16, network.source.v4_bytes())
}
