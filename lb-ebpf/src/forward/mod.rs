//! Sending a packet on: find the next hop, choose the interface, rewrite the headers.
//!
//! The interface comes before the rewrite, so that a packet which can't leave is neither changed
//! nor counted for a backend.

mod gue;
mod ipip;
mod l2;
mod nat;
mod outer;
mod route;
pub mod too_big;

use lb_common::{
    backend::{self, Backend},
    listener::{Endpoint, Listener, Reply},
    reason::Reason,
    release::Record,
    trace::Trace,
};

use self::{nat::End, outer::Way, route::Hop};
use crate::{
    count,
    maps::{BACKENDS, node},
    mode::Mode,
    packet::Packet,
    parse::{Parsed, Part},
    signal,
};

/// Where a client's packet goes, and how.
pub struct Target {
    /// The backend.
    pub id: u16,
    /// One of [`Record`]'s `FORWARD_` constants.
    pub forward: u32,
    /// The port of backends that name none, in network byte order.
    pub port: [u8; 2],
    /// The flow's bits, which outer headers show.
    pub entropy: u64,
}

impl Target {
    /// The backend `id`, by what record and listener say.
    #[inline(always)]
    pub const fn new(id: u16, record: &Record, listener: &Listener, entropy: u64) -> Self {
        Self {
            id,
            forward: record.forward(),
            port: listener.backend_port(),
            entropy,
        }
    }
}

/// Sends a client's packet to its backend.
#[inline(always)]
pub fn request<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    target: &Target,
) -> Result<Reason, Reason> {
    let backend = BACKENDS
        .get(backend::index(target.id, parsed.v6))
        .ok_or(Reason::NoBackend)?;
    if !backend.is_present() {
        return Err(Reason::NoBackend);
    }
    if target.forward != Record::FORWARD_L2 {
        nat::check_hops(parsed)?;
    }
    let hop = route::to_backend(packet, parsed, backend)?;
    M::note(|trace| {
        trace.ifindex = hop.ifindex;
        trace.mark(Trace::HOP);
    });
    let overhead = overhead(target.forward, backend.is_v6());
    let mtu = usize::from(hop.mtu).saturating_sub(overhead);
    let joined = || overhead == 0 && too_big::is_joined(packet, parsed);
    if parsed.end > parsed.network + mtu && !joined() {
        // No error is told of an error, or of a piece without its headers (RFC 1122, section 3.2.2).
        return Err(match parsed.part {
            Part::Headed => too_big::answer::<M>(packet, mtu),
            Part::Tail | Part::Error(_) => Reason::TooBigUntold,
        });
    }
    let sent = route::send(packet, &hop)?;
    let bytes = size(packet, parsed);
    rewrite(packet, parsed, target, backend, &hop)?;
    count::request::<M>(target.id, bytes, parsed.opens);
    Ok(if sent.same_interface {
        Reason::Transmitted
    } else {
        Reason::Redirected
    })
}

/// Bytes that the packet is longer by, on its way to a backend of this family.
#[inline(always)]
const fn overhead(forward: u32, v6: bool) -> usize {
    match forward {
        Record::FORWARD_IPIP => ipip::overhead(v6),
        Record::FORWARD_GUE => gue::overhead(v6),
        _ => 0,
    }
}

/// Makes the frame one for the next hop.
#[inline(always)]
fn rewrite(
    packet: &Packet<'_>,
    parsed: &Parsed,
    target: &Target,
    backend: &Backend,
    hop: &Hop,
) -> Result<(), Reason> {
    if target.forward == Record::FORWARD_NAT {
        let to = End {
            address: backend.address(),
            sum: backend.address_sum(),
            port: backend.port_or(target.port),
        };
        nat::rewrite_destination(packet, parsed, &to)?;
    } else if target.forward != Record::FORWARD_L2 {
        let way = Way {
            backend,
            encap: node()?.encap(),
            entropy: target.entropy,
            macs: hop.macs,
        };
        return if target.forward == Record::FORWARD_GUE {
            gue::encapsulate(packet, parsed, &way)
        } else {
            ipip::encapsulate(packet, parsed, &way)
        };
    }
    l2::rewrite(packet, hop.macs)
}

/// Sends a backend's packet to its client, as from the listener.
#[inline(always)]
pub fn reply<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    reply: &Reply,
) -> Result<Reason, Reason> {
    nat::check_hops(parsed)?;
    signal::reply::<M>(packet, parsed, reply);
    let from = Endpoint::new(*reply.address(), reply.port(), parsed.protocol);
    let exceeds = |hop: &Hop| {
        let end = parsed.network + usize::from(hop.mtu);
        parsed.end > end && !too_big::is_joined(packet, parsed)
    };
    let way = match route::to_client(packet, parsed, reply)? {
        Some(hop) if !exceeds(&hop) => route::send(packet, &hop).ok().map(|sent| (hop, sent)),
        // The kernel finds it too big as well, and tells the backend.
        Some(_) if !too_big::may_be_cut(packet, parsed) => return Err(Reason::ReplyTooBig),
        _ => None,
    };
    let Some((hop, sent)) = way else {
        // The kernel forwards it, in pieces if need be, and counts the hop.
        nat::rewrite_source(packet, parsed, &from, 0)?;
        count::reply::<M>(reply.backend(), size(packet, parsed));
        return Ok(Reason::ReplyUnresolved);
    };
    nat::rewrite_source(packet, parsed, &from, 1)?;
    l2::rewrite(packet, hop.macs)?;
    count::reply::<M>(reply.backend(), size(packet, parsed));
    Ok(if sent.same_interface {
        Reason::ReplyTransmitted
    } else {
        Reason::ReplyRedirected
    })
}

/// Swaps the frame's addresses: it goes back to whom it came from.
#[inline(always)]
pub fn turn_back(packet: &Packet<'_>) -> Option<()> {
    l2::turn_back(packet)
}

/// Bytes of the frame: those of its first buffer, or as far as its IP header says.
#[inline(always)]
pub fn size(packet: &Packet<'_>, parsed: &Parsed) -> usize {
    packet.length().max(parsed.end)
}
