//! Serin's packet path. The modules stand in the order in which a packet meets them.
//!
//! The kernel side decides nothing: percentages, weights and states are userspace's, and reach
//! this program as a release record, a pool table and a backend entry.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod mode;

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
    trace::Trace,
};

use crate::{listen::Side, mode::Mode, packet::Packet, parse::Parsed};

/// Takes one packet through all stages, counts its way out, and tells the kernel what to do.
#[inline(always)]
pub fn process<M: Mode>(ctx: &XdpContext) -> u32 {
    let packet = Packet::new(ctx);
    let reason = match walk::<M>(&packet) {
        Ok(reason) | Err(reason) => reason,
    };
    M::note(|trace| {
        trace.reason = reason as u32;
        trace.mark(Trace::EXIT);
    });
    count::exit::<M>(reason);
    verdict::action(reason)
}

/// The walk of a packet; `Err` where it ends early.
#[inline(always)]
fn walk<M: Mode>(packet: &Packet<'_>) -> Result<Reason, Reason> {
    let parsed = parse::parse(packet)?;
    match listen::side(&parsed)? {
        Side::Client(listener) => request::<M>(packet, &parsed, listener),
        Side::Backend(reply) => forward::reply::<M>(packet, &parsed, reply),
    }
}

/// A packet from a client: choose the pool, the backend in it, and send it there.
#[inline(always)]
fn request<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    listener: &Listener,
) -> Result<Reason, Reason> {
    M::note(|trace| {
        (trace.listener, trace.service) = (listener.id(), listener.service());
        trace.mark(Trace::LISTENER);
    });
    let node = maps::node()?;
    let record = release::live::<M>(listener.service())?;
    let by_client = record.has(Record::AFFINITY_CLIENT);
    let client = if M::TELLS || by_client || record.needs_bucket() {
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
    let answer = release::answer::<M>(record, client, slot)?;
    let chosen = if parsed.protocol == protocol::TCP {
        flow::settle::<M>(&answer, parsed, listener)
    } else {
        // Each datagram stands for itself, so it takes the new answer.
        answer.current
    };
    if chosen == backend::NONE {
        count::pool_drop::<M>(answer.table);
        return Err(Reason::EmptyPool);
    }
    M::note(|trace| {
        trace.chosen = chosen;
        trace.mark(Trace::CHOSEN);
    });
    forward::request::<M>(packet, parsed, listener, record, chosen)
}
