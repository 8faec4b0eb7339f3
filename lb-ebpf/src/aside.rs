//! Programs and functions of their own for what few packets have.
//!
//! A tail call gives a packet to another program, which counts its way out and has a stack of its own:
//! those of a chain of functions add up to 512 bytes at most, and the main program takes most of that.
//! A global function is verified by itself, once, and its callers take any answer. So the rare cases
//! cost the others nothing, neither at run time nor in the verifier's patience.

use aya_ebpf::{EbpfContext as _, bindings::xdp_md, programs::XdpContext};
use lb_common::{
    listener::Listener,
    maps::aside,
    quic_lb::{Formats, Server},
    reason::Reason,
};

use crate::{
    count, extensions, forward::too_big, fragment, icmp, maps::PROGRAMS, mode::Forward, options,
    packet::Packet, quic, reset, verdict,
};

/// What [`serin_options`] answers where nothing is wrong.
const FINE: u32 = u32::MAX;
/// What [`serin_server_of`] answers where there is none: no backend has this number.
const NOBODY: u32 = 0;

/// Gives a packet away for the reason that keeps it from being a connection's; returns where nobody
/// takes it.
#[inline(always)]
pub fn give(packet: &Packet<'_>, reason: Reason) {
    let program = if reason == Reason::Fragment {
        aside::FRAGMENT
    } else if reason == Reason::OtherProtocol {
        aside::ICMP
    } else {
        return;
    };
    // SAFETY: nothing here waits to be dropped.
    unsafe { PROGRAMS.tail_call(packet.context(), program) };
}

/// Gives a segment away whose client is to be told that its connection is cut; returns where nobody
/// takes it, which drops it.
#[inline(always)]
pub fn reset(packet: &Packet<'_>) -> Reason {
    // SAFETY: nothing here waits to be dropped.
    unsafe { PROGRAMS.tail_call(packet.context(), aside::RESET) };
    Reason::NoProgram
}

/// Gives a datagram away whose connection id may tell its server; returns where nobody takes it, which
/// drops it.
#[inline(always)]
pub fn serve(packet: &Packet<'_>) -> Reason {
    // SAFETY: nothing here waits to be dropped.
    unsafe { PROGRAMS.tail_call(packet.context(), aside::SERVER) };
    Reason::NoProgram
}

/// Gives a packet away that is too big for its way; returns where nobody takes it, which drops it.
#[inline(always)]
pub fn too_big(packet: &Packet<'_>) -> Reason {
    // SAFETY: nothing here waits to be dropped.
    unsafe { PROGRAMS.tail_call(packet.context(), aside::TOO_BIG) };
    Reason::NoProgram
}

/// Takes a packet that is too big for its way.
#[inline(always)]
pub fn refused(ctx: &XdpContext) -> u32 {
    leave(too_big::walk(&Packet::new(ctx)))
}

/// Takes a segment whose connection is cut.
#[inline(always)]
pub fn cut(ctx: &XdpContext) -> u32 {
    leave(reset::walk(&Packet::new(ctx)))
}

/// Takes a packet that is a piece of one.
#[inline(always)]
pub fn fragment(ctx: &XdpContext) -> u32 {
    leave(fragment::walk(&Packet::new(ctx)))
}

/// Takes a packet that is neither TCP nor UDP.
#[inline(always)]
pub fn icmp(ctx: &XdpContext) -> u32 {
    leave(icmp::walk(&Packet::new(ctx)))
}

#[inline(always)]
fn leave(result: Result<Reason, Reason>) -> u32 {
    let reason = match result {
        Ok(reason) | Err(reason) => reason,
    };
    count::exit::<Forward>(reason);
    verdict::action(reason)
}

/// Checks the IPv4 options between two offsets.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets of headers are small"
)]
pub fn options_of(packet: &Packet<'_>, first: usize, end: usize) -> Result<(), Reason> {
    match Reason::numbered(serin_options(context(packet), first as u32, end as u32)) {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

/// Walks the IPv6 extension headers at an offset; see [`extensions::Chain`].
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets of headers are small"
)]
pub fn extensions_at(packet: &Packet<'_>, at: usize, first: u8) -> u64 {
    serin_extensions(context(packet), at as u32, u32::from(first))
}

/// The server that a datagram between two offsets is for; see [`quic::find`].
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets of headers are small, and an end is cut to 16 bits"
)]
pub fn server_at(
    packet: &Packet<'_>,
    (start, end): (usize, usize),
    listener: &Listener,
    v6: bool,
) -> Option<Server> {
    let place = start as u32 | (end.min(usize::from(u16::MAX)) as u32) << 16;
    let (formats, service) = (listener.formats().bits(), listener.service());
    let found = serin_server_of(context(packet), place, formats, service, u32::from(v6));
    (found != NOBODY).then(|| Server::from_bits(found))
}

#[inline(always)]
fn context(packet: &Packet<'_>) -> *mut xdp_md {
    packet.context().as_ptr().cast()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn serin_options(context: *mut xdp_md, first: u32, end: u32) -> u32 {
    let context = XdpContext::new(context);
    let wrong = options::walk(&Packet::new(&context), first as usize, end as usize);
    wrong.map_or(FINE, |reason| reason as u32)
}

#[unsafe(no_mangle)]
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "the caller has a byte")]
extern "C" fn serin_extensions(context: *mut xdp_md, at: u32, first: u32) -> u64 {
    let context = XdpContext::new(context);
    extensions::walk(&Packet::new(&context), at as usize, first as u8).bits()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn serin_server_of(
    context: *mut xdp_md,
    place: u32,
    formats: u32,
    service: u32,
    v6: u32,
) -> u32 {
    let context = XdpContext::new(context);
    let (start, end) = ((place & 0xffff) as usize, (place >> 16) as usize);
    let formats = Formats::from_bits(formats);
    let found = quic::find(
        &Packet::new(&context),
        (start, end),
        formats,
        service,
        v6 != 0,
    );
    found.map_or(NOBODY, Server::bits)
}
