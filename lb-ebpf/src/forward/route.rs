//! The next hop: from the backend's entry, which the daemon keeps; for replies, and for backends
//! that are not resolved yet, from the kernel's routing table.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_fib_lookup as FibLookup, bpf_fib_lookup__bindgen_ty_3 as FibSource,
        bpf_fib_lookup__bindgen_ty_4 as FibDestination,
    },
    helpers::generated::bpf_fib_lookup,
};
use lb_common::{address::Address, backend::Backend, listener::Reply, reason::Reason};

use crate::{maps::PORTS, packet::Packet, parse::Parsed};

/// `AF_INET` and `AF_INET6` of `linux/socket.h`.
const FAMILIES: (u8, u8) = (2, 10);

/// Bytes of the query, as the helper counts them.
const QUERY_SIZE: i32 = 64;
const _: () = assert!(size_of::<FibLookup>() == 64);

/// Where a frame goes next.
pub struct Hop {
    /// Interface to send on.
    pub ifindex: u32,
    /// The next hop's address.
    pub destination: [u8; 6],
    /// The interface's own address.
    pub source: [u8; 6],
}

/// What became of a frame.
pub struct Sent {
    /// It leaves by the interface it came in by.
    pub same_interface: bool,
}

/// The way to a backend.
#[inline(always)]
pub fn to_backend(packet: &Packet<'_>, parsed: &Parsed, backend: &Backend) -> Result<Hop, Reason> {
    // A packet that has no hop left is the kernel's: it tells the sender (RFC 1812, section 5.3.1).
    if parsed.hops <= 1 {
        return Err(Reason::TtlExceeded);
    }
    if backend.ifindex() != 0 {
        let (destination, source) = backend.macs();
        return Ok(Hop {
            ifindex: backend.ifindex(),
            destination,
            source,
        });
    }
    match ask_kernel(packet, parsed, &parsed.source, backend.address()) {
        (BPF_FIB_LKUP_RET_SUCCESS, hop) => Ok(hop),
        _ => Err(Reason::NoRoute),
    }
}

/// The way to a client; `None` where the kernel must resolve the next hop first.
#[inline(always)]
pub fn to_client(
    packet: &Packet<'_>,
    parsed: &Parsed,
    reply: &Reply,
) -> Result<Option<Hop>, Reason> {
    if parsed.hops <= 1 {
        return Err(Reason::TtlExceeded);
    }
    match ask_kernel(packet, parsed, reply.address(), &parsed.destination) {
        (BPF_FIB_LKUP_RET_SUCCESS, hop) => Ok(Some(hop)),
        (BPF_FIB_LKUP_RET_NO_NEIGH, _) => Ok(None),
        // The host itself is what the backend talks to: a health check's answer, say.
        (BPF_FIB_LKUP_RET_NOT_FWDED, _) => Err(Reason::ReplyLocal),
        _ => Err(Reason::ReplyUnroutable),
    }
}

/// Hands the frame to the interface.
#[inline(always)]
pub fn send(packet: &Packet<'_>, hop: &Hop) -> Result<Sent, Reason> {
    if hop.ifindex == packet.ingress() {
        return Ok(Sent {
            same_interface: true,
        });
    }
    match PORTS.redirect(hop.ifindex, 0) {
        Ok(_) => Ok(Sent {
            same_interface: false,
        }),
        Err(_) => Err(Reason::NoPort),
    }
}

/// `bpf_fib_lookup` (net/core/filter.c): route and neighbour in one.
#[inline(always)]
fn ask_kernel(packet: &Packet<'_>, parsed: &Parsed, from: &Address, to: &Address) -> (u32, Hop) {
    // SAFETY: the structure is plain data for which zero is valid everywhere.
    let mut query: FibLookup = unsafe { core::mem::zeroed() };
    query.ifindex = packet.ingress();
    query.l4_protocol = parsed.protocol;
    if parsed.v6 {
        query.family = FAMILIES.1;
        query.__bindgen_anon_3 = FibSource {
            ipv6_src: from.words(),
        };
        query.__bindgen_anon_4 = FibDestination {
            ipv6_dst: to.words(),
        };
    } else {
        query.family = FAMILIES.0;
        query.__bindgen_anon_3 = FibSource {
            ipv4_src: u32::from_ne_bytes(from.v4_bytes()),
        };
        query.__bindgen_anon_4 = FibDestination {
            ipv4_dst: u32::from_ne_bytes(to.v4_bytes()),
        };
    }
    // SAFETY: both pointers are to live values of the types that the helper expects.
    let verdict =
        unsafe { bpf_fib_lookup(packet.context().as_ptr(), &raw mut query, QUERY_SIZE, 0) };
    let hop = Hop {
        ifindex: query.ifindex,
        destination: query.dmac,
        source: query.smac,
    };
    // Negative: the helper refused the query; no positive answer has this number.
    (u32::try_from(verdict).unwrap_or(u32::MAX), hop)
}
