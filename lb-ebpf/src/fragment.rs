//! Pieces of fragmented packets: the first one tells the ports and decides, the others follow it.
//!
//! A later piece that comes before the first goes where the client's slot says, since it tells no
//! ports. For UDP the first piece then follows it, as do the rest; a TCP connection's backend is
//! given, so there what was early is lost and repeated.

use lb_common::{
    backend::NONE,
    fragment::{FragmentKey, Pieces},
    listener::{Endpoint, Listener, Reply},
    protocol,
    reason::Reason,
};

use crate::{
    choose, flow, forward,
    listen::{self, Side},
    maps::{FRAGMENTS, REPLIES},
    mode::{Follow, Forward},
    packet::Packet,
    parse::{self, Parsed, Piece},
    release,
};

/// Takes a packet that is a piece.
#[inline(always)]
pub fn walk(packet: &Packet<'_>) -> Result<Reason, Reason> {
    let piece = parse::piece(packet)?;
    let side = listen::portless_side(&piece.network).ok_or(Reason::Fragment)?;
    piece.check()?;
    if matches!(side, Side::Client(_)) {
        piece.network.check_source()?;
    }
    let key = piece.key();
    // SAFETY: the entry is copied at once; if another CPU evicts it meanwhile, a piece may go astray.
    let known = unsafe { FRAGMENTS.get(key) }.copied();
    let known = known.filter(|pieces| pieces.is_current(flow::now()));
    if piece.start == 0 {
        first(packet, &piece, &key, known)
    } else {
        later(packet, (&piece, side), &key, known)
    }
}

/// The first piece: by its ports, as a whole packet; or after a datagram's later pieces.
#[inline(always)]
fn first(
    packet: &Packet<'_>,
    piece: &Piece,
    key: &FragmentKey,
    known: Option<Pieces>,
) -> Result<Reason, Reason> {
    let parsed = piece.first(packet)?;
    // A packet whose first piece has come already was an earlier one, with the same identification.
    let known = known.filter(|pieces| !pieces.has_first());
    match listen::side(&parsed) {
        Ok(Side::Client(listener)) => {
            let early = known.filter(|pieces| follows(pieces, &parsed, listener));
            let (record, backend) = match early {
                Some(pieces) => (
                    release::live::<Follow>(listener.service())?,
                    pieces.backend(),
                ),
                None => choose::<Forward>(&parsed, listener, false)?,
            };
            let generation = flow::generation(backend, parsed.v6).unwrap_or_default();
            let pieces = Pieces::of(backend, generation, listener.service());
            remember(key, pieces.after(known), piece)?;
            forward::request::<Forward>(packet, &parsed, listener, record, backend)
        }
        Ok(Side::Backend(reply)) => {
            let [high, low] = parsed.source_port;
            let port = u32::from_ne_bytes([high, low, 0, 0]);
            let pieces = Pieces::of(reply.backend(), 0, port);
            remember(key, pieces.after(known), piece)?;
            forward::reply::<Forward>(packet, &parsed, reply)
        }
        Err(reason) => {
            remember(key, Pieces::of(NONE, 0, 0).after(known), piece)?;
            Err(reason)
        }
    }
}

/// Whether a datagram's first piece goes where its later ones went.
#[inline(always)]
fn follows(pieces: &Pieces, parsed: &Parsed, listener: &Listener) -> bool {
    parsed.protocol == protocol::UDP
        && pieces.owner() == listener.service()
        && flow::generation(pieces.backend(), parsed.v6) == Some(pieces.generation())
}

/// A later piece: where the first one went, or by the client's slot.
#[inline(always)]
fn later(
    packet: &Packet<'_>,
    (piece, side): (&Piece, Side),
    key: &FragmentKey,
    known: Option<Pieces>,
) -> Result<Reason, Reason> {
    if let Some(pieces) = known
        && pieces.has_first()
        && pieces.backend() == NONE
    {
        return Err(Reason::NotListening);
    }
    match side {
        Side::Client(listener) => later_request(packet, piece, (key, known), listener),
        Side::Backend(reply) => later_reply(packet, piece, (key, known), reply),
    }
}

#[inline(always)]
fn later_request(
    packet: &Packet<'_>,
    piece: &Piece,
    (key, known): (&FragmentKey, Option<Pieces>),
    listener: &Listener,
) -> Result<Reason, Reason> {
    let parsed = piece.later();
    let alive = |pieces: &Pieces| {
        flow::generation(pieces.backend(), parsed.v6) == Some(pieces.generation())
    };
    if let Some(pieces) = known.filter(alive) {
        remember(key, pieces, piece)?;
        let record = release::live::<Follow>(pieces.owner())?;
        return forward::request::<Forward>(packet, &parsed, listener, record, pieces.backend());
    }
    if listener.is_ambiguous() {
        return Err(Reason::FragmentUnknown);
    }
    let (record, backend) = choose::<Follow>(&parsed, listener, true)?;
    let generation = flow::generation(backend, parsed.v6).unwrap_or_default();
    let pieces = Pieces::of(backend, generation, listener.service());
    remember(key, pieces.after(known), piece)?;
    forward::request::<Forward>(packet, &parsed, listener, record, backend)
}

#[inline(always)]
fn later_reply(
    packet: &Packet<'_>,
    piece: &Piece,
    (key, known): (&FragmentKey, Option<Pieces>),
    reply: &Reply,
) -> Result<Reason, Reason> {
    let parsed = piece.later();
    if let Some(pieces) = known.filter(Pieces::has_first) {
        remember(key, pieces, piece)?;
        let [high, low, ..] = pieces.owner().to_ne_bytes();
        let from = Endpoint::new(parsed.source, [high, low], parsed.protocol);
        // SAFETY: as in `listen::of`.
        let reply = unsafe { REPLIES.get(from) }.ok_or(Reason::NotListening)?;
        return forward::reply::<Forward>(packet, &parsed, reply);
    }
    // Whatever the first piece turns out to be, most of a server's packets are replies.
    if reply.is_ambiguous() {
        return Err(Reason::Fragment);
    }
    let pieces = known.unwrap_or(Pieces::of(reply.backend(), 0, 0));
    remember(key, pieces, piece)?;
    forward::reply::<Forward>(packet, &parsed, reply)
}

/// Keeps what is known after this piece, unless it overlaps the first one: then all of the packet is
/// refused (RFC 5722), as far as it can still be.
#[inline(always)]
fn remember(key: &FragmentKey, pieces: Pieces, piece: &Piece) -> Result<(), Reason> {
    let pieces = pieces.with(piece.start, piece.end).at(flow::now());
    // If there is no room, the next piece finds nothing, and goes by the rule for those.
    let _no_room = FRAGMENTS.insert(key, pieces, 0);
    if pieces.is_refused() {
        return Err(Reason::FragmentOverlap);
    }
    Ok(())
}
