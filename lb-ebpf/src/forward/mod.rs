//! Sending a packet on: find the next hop, choose the interface, rewrite the headers.
//!
//! The interface comes before the rewrite, so that a packet which can't leave is neither changed
//! nor counted for a backend.

mod l2;
mod nat;
mod route;

use lb_common::{
    backend,
    listener::{Endpoint, Listener, Reply},
    reason::Reason,
    release::Record,
    trace::Trace,
};

use self::nat::End;
use crate::{count, maps::BACKENDS, mode::Mode, packet::Packet, parse::Parsed};

/// Sends a client's packet to the backend `id`.
#[inline(always)]
pub fn request<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    listener: &Listener,
    record: &Record,
    id: u16,
) -> Result<Reason, Reason> {
    let backend = BACKENDS
        .get(backend::index(id, parsed.v6))
        .ok_or(Reason::NoBackend)?;
    if !backend.is_present() {
        return Err(Reason::NoBackend);
    }
    let translate = record.forward() == Record::FORWARD_NAT;
    if translate {
        nat::check_hops(parsed)?;
    }
    let hop = route::to_backend(packet, parsed, backend)?;
    M::note(|trace| {
        trace.ifindex = hop.ifindex;
        trace.mark(Trace::HOP);
    });
    let sent = route::send(packet, &hop)?;
    if translate {
        let to = End {
            address: backend.address(),
            sum: backend.address_sum(),
            port: backend.port_or(listener.backend_port()),
        };
        nat::rewrite_destination(packet, parsed, &to)?;
    }
    l2::rewrite(packet, hop.macs)?;
    count::request::<M>(id, size(packet, parsed), parsed.opens);
    Ok(if sent.same_interface {
        Reason::Transmitted
    } else {
        Reason::Redirected
    })
}

/// Sends a backend's packet to its client, as from the listener.
#[inline(always)]
pub fn reply<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    reply: &Reply,
) -> Result<Reason, Reason> {
    nat::check_hops(parsed)?;
    let from = Endpoint::new(*reply.address(), reply.port(), parsed.protocol);
    let Some(hop) = route::to_client(packet, parsed, reply)? else {
        // The kernel forwards it, and counts the hop.
        nat::rewrite_source(packet, parsed, &from, 0)?;
        count::reply::<M>(reply.backend(), size(packet, parsed));
        return Ok(Reason::ReplyUnresolved);
    };
    let sent = route::send(packet, &hop)?;
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
fn size(packet: &Packet<'_>, parsed: &Parsed) -> usize {
    packet.length().max(parsed.end)
}
