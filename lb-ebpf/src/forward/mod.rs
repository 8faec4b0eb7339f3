//! Sending a packet on: find the next hop, rewrite the headers, choose the interface.

mod l2;
mod nat;
mod route;

use lb_common::{
    backend,
    listener::{Endpoint, Listener, Reply},
    reason::Reason,
    release::Record,
};

use self::nat::End;
use crate::{count, maps::BACKENDS, packet::Packet, parse::Parsed};

/// Sends a client's packet to the backend `id`.
#[inline(always)]
pub fn request(
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
    let hop = route::to_backend(packet, parsed, backend)?;
    let length = packet.length();
    if record.has(Record::FORWARD_L2) {
        l2::rewrite(packet, &hop)?;
    } else {
        let port = backend.port_or(listener.backend_port());
        let to = End {
            address: backend.address(),
            sum: backend.address_sum(),
            port,
        };
        nat::rewrite_destination(packet, parsed, &to)?;
        l2::rewrite(packet, &hop)?;
    }
    count::request(id, length, parsed.opens);
    let sent = route::send(packet, &hop)?;
    Ok(if sent.same_interface {
        Reason::Transmitted
    } else {
        Reason::Redirected
    })
}

/// Sends a backend's packet to its client, as from the listener.
#[inline(always)]
pub fn reply(packet: &Packet<'_>, parsed: &Parsed, reply: &Reply) -> Result<Reason, Reason> {
    let hop = route::to_client(packet, parsed, reply)?;
    let length = packet.length();
    let from = Endpoint::new(*reply.address(), reply.port(), parsed.protocol);
    nat::rewrite_source(packet, parsed, &from)?;
    count::reply(reply.backend(), length);
    let Some(hop) = hop else {
        return Ok(Reason::ReplyUnresolved);
    };
    l2::rewrite(packet, &hop)?;
    let sent = route::send(packet, &hop)?;
    Ok(if sent.same_interface {
        Reason::ReplyTransmitted
    } else {
        Reason::ReplyRedirected
    })
}
