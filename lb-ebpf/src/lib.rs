//! Serin's packet path. The modules stand in the order in which a packet meets them.
//!
//! The kernel side decides nothing: percentages, weights and states are userspace's, and reach
//! this program as a release record, a pool table and a backend entry.
#![no_std]

pub mod packet;
pub mod parse;

pub mod listen;

pub mod release;

pub mod pool;

pub mod flow;

pub mod forward;

pub mod count;
pub mod maps;
pub mod verdict;

use aya_ebpf::programs::XdpContext;
use lb_common::{
    backend, hash, listener::Listener, pool::SLOTS, protocol, reason::Reason, release::Record,
};

use crate::{listen::Side, packet::Packet, parse::Parsed};

/// Takes one packet through all stages, counts its way out, and tells the kernel what to do.
#[inline(always)]
pub fn process(ctx: &XdpContext) -> u32 {
    let packet = Packet::new(ctx);
    let reason = match walk(&packet) {
        Ok(reason) | Err(reason) => reason,
    };
    count::exit(reason);
    verdict::action(reason)
}

/// The walk of a packet; `Err` where it ends early.
#[inline(always)]
fn walk(packet: &Packet<'_>) -> Result<Reason, Reason> {
    let parsed = parse::parse(packet)?;
    match listen::side(&parsed)? {
        Side::Client(listener) => request(packet, &parsed, listener),
        Side::Backend(reply) => forward::reply(packet, &parsed, reply),
    }
}

/// A packet from a client: choose the pool, the backend in it, and send it there.
#[inline(always)]
fn request(packet: &Packet<'_>, parsed: &Parsed, listener: &Listener) -> Result<Reason, Reason> {
    let node = maps::node()?;
    let record = release::live(listener.service())?;
    let by_client = record.has(Record::AFFINITY_CLIENT);
    let client = if by_client || record.needs_bucket() {
        node.client_hash(&parsed.source, parsed.v6)
    } else {
        0
    };
    let slot = if by_client {
        hash::client_slot(client, SLOTS)
    } else {
        let ports = (parsed.source_port, parsed.destination_port);
        let flow = node
            .key()
            .flow(&parsed.source, &parsed.destination, ports, parsed.protocol);
        hash::slot(flow, SLOTS)
    };
    let answer = release::answer(record, client, slot)?;
    let chosen = if parsed.protocol == protocol::TCP {
        flow::settle(&answer, parsed, listener)
    } else {
        // Each datagram stands for itself, so it takes the new answer.
        answer.current
    };
    if chosen == backend::NONE {
        count::pool_drop(answer.table);
        return Err(Reason::EmptyPool);
    }
    forward::request(packet, parsed, listener, record, chosen)
}
