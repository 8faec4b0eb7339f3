//! Serin's packet path. The modules stand in the order in which a packet meets them.
//!
//! The kernel side decides nothing: percentages, weights and states are userspace's, and reach
//! this program as a release record, a pool table and a backend entry.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod aside;
pub mod mode;

pub mod extensions;
pub mod link;
pub mod options;
pub mod packet;
pub mod parse;

pub mod listen;
pub mod protect;
pub mod source;

pub mod audience;

pub mod quic;

pub mod release;

pub mod pool;

pub mod flow;
pub mod reset;

pub mod forward;
pub mod signal;

pub mod fragment;
pub mod icmp;

pub mod decap;

pub mod count;
pub mod maps;
pub mod verdict;

use aya_ebpf::programs::XdpContext;
use lb_common::{
    backend, hash, listener::Listener, pool::SLOTS, protocol, quic_lb::Server, reason::Reason,
    release::Record, trace::Trace,
};

use crate::{
    audience::Shares, forward::Target, listen::Side, mode::Mode, packet::Packet, parse::Parsed,
};

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
    let mut parsed = match parse::parse(packet) {
        Ok(parsed) => parsed,
        Err(reason) => {
            // What has no ports of its own may still be a listener's: pieces of packets, and ICMP.
            if !M::TELLS {
                aside::give(packet, reason);
            }
            return Err(reason);
        }
    };
    match listen::side::<M>(maps::node()?, &parsed)? {
        Side::Client(listener) => {
            if parsed.protocol == protocol::UDP && listener.has(Listener::QUIC) {
                parsed.opens = quic::starts(packet, &parsed)?;
            }
            request::<M>(packet, &parsed, listener)
        }
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
    parsed.check_source()?;
    listen::check_source(maps::node()?, parsed)?;
    let tells = !listener.formats().is_empty();
    if tells && !M::SERVES {
        return Err(aside::serve(packet));
    }
    let server = || {
        tells
            .then(|| quic::server::<M>(packet, parsed, listener))
            .flatten()
    };
    let target = choose::<M>(packet, parsed, listener, false, server)?;
    forward::request::<M>(packet, parsed, &target)
}

/// Where a client's packet goes; by the client alone where the packet does not tell its ports, and to
/// the `server` that it tells, if any. No piece of a packet tells one, since QUIC's are never cut into
/// pieces (RFC 9000, section 14), nor does an ICMP error, which quotes the id of a client.
#[inline(always)]
fn choose<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    listener: &Listener,
    portless: bool,
    server: impl FnOnce() -> Option<Server>,
) -> Result<Target, Reason> {
    M::note(|trace| {
        (trace.listener, trace.service) = (listener.id(), listener.service());
        trace.mark(Trace::LISTENER);
    });
    let node = maps::node()?;
    if node.protect() != 0 {
        protect::admit::<M>(node, parsed)?;
    }
    let record = release::live::<M>(listener.service())?;
    let by_client = portless || record.has(Record::AFFINITY_CLIENT);
    let client = if M::TELLS || by_client || record.needs_bucket() {
        node.client_hash(&parsed.source, parsed.v6)
    } else {
        0
    };
    let scattered = if by_client {
        hash::scatter_client(client)
    } else {
        let ports = (parsed.source_port, parsed.destination_port);
        let flow = node
            .key()
            .flow(&parsed.source, &parsed.destination, ports, parsed.protocol);
        hash::scatter(flow)
    };
    let slot = hash::place(scattered, SLOTS);
    let shares = if record.has(Record::AUDIENCES) {
        let alone = parsed.protocol == protocol::UDP && !listener.has(Listener::QUIC);
        audience::shares(packet, parsed, record, parsed.opens || alone)
    } else {
        Shares::of(record)
    };
    if shares.now.number != 0 {
        let bytes = forward::size(packet, parsed);
        count::audience::<M>(shares.now.number, bytes, parsed.opens);
    }
    let mut answer = release::answer::<M>(record, &shares, client, slot)?;
    let told = if M::SERVES { server() } else { None };
    if let Some(server) = told {
        answer = answer.given(&server);
    }
    let settled = if (answer.moving || answer.touched) && !portless {
        flow::settle::<M>(packet, parsed, listener, record, &mut answer)?
    } else {
        answer.current
    };
    // Two connections of one socket may have different servers, and have one pin.
    let chosen = told.map_or(settled, |server| server.backend());
    if chosen == backend::NONE {
        count::pool_drop::<M>(answer.table);
        return Err(Reason::EmptyPool);
    }
    M::note(|trace| {
        trace.chosen = chosen;
        trace.mark(Trace::CHOSEN);
    });
    if !portless {
        signal::request::<M>(packet, parsed, (listener, record), &answer, chosen);
    }
    Ok(Target::new(chosen, record, listener, scattered))
}
