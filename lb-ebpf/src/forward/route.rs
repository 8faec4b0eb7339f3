//! The next hop: from the backend's entry, which the daemon keeps; for replies, and for backends
//! that are not resolved yet, from the kernel's routing table.

use core::mem::offset_of;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS,
        BPF_FIB_LKUP_RET_UNSUPP_LWT, bpf_fib_lookup as FibLookup,
    },
    helpers::generated::bpf_fib_lookup,
};
use lb_common::{
    address::Address,
    backend::{Backend, Macs},
    listener::Reply,
    reason::Reason,
};

use crate::{maps::PORTS, packet::Packet, parse::Parsed};

/// Address families of `linux/socket.h`.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Bytes of the query, as the helper counts them.
const QUERY_SIZE: i32 = 64;
const _: () = assert!(size_of::<FibLookup>() == 64);

/// Where a frame goes next.
pub struct Hop {
    /// Interface to send on.
    pub ifindex: u32,
    /// The next hop's address and the interface's own.
    pub macs: Macs,
    /// Bytes of the largest IP packet that goes.
    pub mtu: u16,
}

/// What became of a frame.
pub struct Sent {
    /// It leaves by the interface it came in by.
    pub same_interface: bool,
}

/// The way to a backend.
#[inline(always)]
pub fn to_backend(packet: &Packet<'_>, parsed: &Parsed, backend: &Backend) -> Result<Hop, Reason> {
    let hop = backend.next_hop();
    if hop.ifindex() != 0 {
        return Ok(Hop {
            ifindex: hop.ifindex(),
            macs: hop.macs(),
            mtu: hop.mtu(),
        });
    }
    // With direct server return the next hop may be of the other family.
    let from = if backend.is_v6() == parsed.v6 {
        &parsed.source
    } else {
        &Address::UNSPECIFIED
    };
    match ask_kernel(packet, parsed, backend.is_v6(), (from, backend.address())) {
        (BPF_FIB_LKUP_RET_SUCCESS, hop) => Ok(hop),
        _ => Err(Reason::NoRoute),
    }
}

/// The way to a client; `None` where the kernel must resolve the next hop first, or puts the packet
/// into another one (a route with `encap`).
#[inline(always)]
pub fn to_client(
    packet: &Packet<'_>,
    parsed: &Parsed,
    reply: &Reply,
) -> Result<Option<Hop>, Reason> {
    let ends = (reply.address(), &parsed.destination);
    match ask_kernel(packet, parsed, parsed.v6, ends) {
        (BPF_FIB_LKUP_RET_SUCCESS, hop) => Ok(Some(hop)),
        (BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_UNSUPP_LWT, _) => Ok(None),
        // The host itself is what the backend talks to: a health check's answer, say.
        (BPF_FIB_LKUP_RET_NOT_FWDED, _) => Err(Reason::ReplyLocal),
        _ => Err(Reason::ReplyUnroutable),
    }
}

/// Hands the frame to the interface, which takes it as it is when the program returns.
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
fn ask_kernel(
    packet: &Packet<'_>,
    parsed: &Parsed,
    v6: bool,
    ends: (&Address, &Address),
) -> (u32, Hop) {
    let mut query = Query::new(packet.ingress(), parsed.protocol, v6, ends);
    let place = (&raw mut query).cast::<FibLookup>();
    // SAFETY: both pointers are to live values of the sizes that the helper expects.
    let verdict = unsafe { bpf_fib_lookup(packet.context().as_ptr(), place, QUERY_SIZE, 0) };
    // Negative: the helper refused the query; no positive answer has this number.
    (u32::try_from(verdict).unwrap_or(u32::MAX), query.hop())
}

/// `struct bpf_fib_lookup` by words of 8 bytes: the verifier takes no access to the stack that is
/// not aligned, and by its fields the compiler would join some that are not.
struct Query([u64; 8]);

const _: () = assert!(
    size_of::<Query>() == size_of::<FibLookup>()
        && offset_of!(FibLookup, __bindgen_anon_1) == 6
        && offset_of!(FibLookup, ifindex) == 8
        && offset_of!(FibLookup, __bindgen_anon_3) == 16
        && offset_of!(FibLookup, __bindgen_anon_4) == 32
        && offset_of!(FibLookup, smac) == 52
        && offset_of!(FibLookup, dmac) == 58
);

impl Query {
    #[inline(always)]
    fn new(ingress: u32, protocol: u8, v6: bool, (from, to): (&Address, &Address)) -> Self {
        let (family, [from, from_rest], [to, to_rest]) = if v6 {
            (AF_INET6, from.halves(), to.halves())
        } else {
            (AF_INET, [from.v4_word(), 0], [to.v4_word(), 0])
        };
        let head = u64::from_ne_bytes([family, protocol, 0, 0, 0, 0, 0, 0]);
        let [a, b, c, d] = ingress.to_ne_bytes();
        let ifindex = u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]);
        // The last two words are the answer's. Zeros would do as well, but the compiler would write
        // them by a call that loops over bytes.
        Self([head, ifindex, from, from_rest, to, to_rest, head, head])
    }

    /// What the helper has filled in.
    #[inline(always)]
    fn hop(&self) -> Hop {
        let [.., mtu, mtu_rest] = self.word(0).to_ne_bytes();
        let [a, b, c, d, ..] = self.word(1).to_ne_bytes();
        let [_, _, _, _, s0, s1, s2, s3] = self.word(6).to_ne_bytes();
        let [s4, s5, destination @ ..] = self.word(7).to_ne_bytes();
        Hop {
            ifindex: u32::from_ne_bytes([a, b, c, d]),
            macs: Macs::new(destination, [s0, s1, s2, s3, s4, s5]),
            mtu: u16::from_ne_bytes([mtu, mtu_rest]),
        }
    }

    /// A word, read as one.
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        // SAFETY: the reference is to a live word.
        unsafe { (&raw const self.0[index]).read_volatile() }
    }
}
