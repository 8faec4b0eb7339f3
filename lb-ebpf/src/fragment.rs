//! Pieces of fragmented packets: the first one tells the ports and decides, the others follow it.
//!
//! A later piece that comes before the first goes where the client's slot says, since it tells no
//! ports. For UDP the first piece then follows it, as do the rest; where connections or sessions are
//! kept, a backend is given, so there what was early is lost.

use lb_common::{
    backend::NONE,
    fragment::{FragmentKey, Pieces},
    hash,
    listener::{Endpoint, Listener, Reply},
    protocol,
    reason::Reason,
    release::Record,
};

use crate::{
    choose, flow,
    forward::{self, Target},
    listen::{self, Side},
    maps::{self, FRAGMENTS, REPLIES},
    mode::{Aside, Follow},
    packet::Packet,
    parse::{self, Parsed, Piece},
    release,
};

/// Where a piece goes.
enum Way {
    /// To a backend.
    Request(Target),
    /// To a client, for this listener.
    Reply(&'static Reply),
}

/// Takes a packet that is a piece.
#[inline(always)]
pub fn walk(packet: &Packet<'_>) -> Result<Reason, Reason> {
    let mut piece = parse::piece(packet)?;
    let key = piece.key();
    // SAFETY: the entry is copied at once; if another CPU evicts it meanwhile, a piece may go astray.
    let known = unsafe { FRAGMENTS.get(key) }.copied();
    let known = known.filter(|pieces| pieces.is_current(flow::now()));
    if let Some(pieces) = &known {
        piece.learn(pieces);
    }
    // A VIP has an entry for ICMP as well, whose pieces have no ports in any of them.
    if !matches!(piece.network.protocol, protocol::TCP | protocol::UDP) {
        return Err(Reason::Fragment);
    }
    let side = listen::portless_side(&piece.network).ok_or(Reason::Fragment)?;
    piece.check()?;
    if matches!(side, Side::Client(_)) {
        piece.network.check_source()?;
    }
    let parsed = if piece.start == 0 {
        piece.first(packet)?
    } else {
        piece.later()
    };
    if piece.start == 0 {
        listen::check_source(maps::node()?, &parsed)?;
    }
    let way = if piece.start == 0 {
        first(packet, (&piece, &parsed), &key, known)
    } else {
        later(packet, (&piece, &parsed), side, (&key, known))
    };
    // In one place each: what they need of the stack is there once.
    match way? {
        Way::Request(target) => {
            let target = Target {
                entropy: entropy(&parsed),
                ..target
            };
            forward::request::<Aside>(packet, &parsed, &target)
        }
        Way::Reply(reply) => forward::reply::<Aside>(packet, &parsed, reply),
    }
}

/// What outer headers show of a piece: not the flow's bits, which only the first one knows, but its
/// sender's, so that all of a packet's pieces take the same way.
#[inline(always)]
fn entropy(parsed: &Parsed) -> u64 {
    let [first, second] = parsed.source.halves();
    hash::scatter(first ^ second)
}

/// The first piece: by its ports, as a whole packet; or after a datagram's later pieces.
#[inline(always)]
fn first(
    packet: &Packet<'_>,
    (piece, parsed): (&Piece, &Parsed),
    key: &FragmentKey,
    known: Option<Pieces>,
) -> Result<Way, Reason> {
    // A packet whose first piece has come already was an earlier one, with the same identification.
    let known = known.filter(|pieces| !pieces.has_first());
    match listen::looked_up(parsed) {
        Ok(Side::Client(listener)) => {
            let early = known.filter(|pieces| follows(pieces, parsed, listener));
            let target = match early {
                Some(pieces) => going_on(&pieces, listener)?,
                None => choose::<Aside>(packet, parsed, listener, false, || None)?,
            };
            let pieces = taking(&target, parsed, listener).carrying(parsed.protocol);
            remember(key, pieces.after(known), piece)?;
            Ok(Way::Request(target))
        }
        Ok(Side::Backend(reply)) => {
            let port = u16::from_ne_bytes(parsed.source_port);
            let pieces = Pieces::of(reply.backend(), 0, port.into()).carrying(parsed.protocol);
            remember(key, pieces.after(known), piece)?;
            Ok(Way::Reply(reply))
        }
        Err(reason) => {
            remember(
                key,
                Pieces::of(NONE, 0, 0)
                    .carrying(parsed.protocol)
                    .after(known),
                piece,
            )?;
            Err(reason)
        }
    }
}

/// Where the pieces before went.
#[inline(always)]
fn going_on(pieces: &Pieces, listener: &Listener) -> Result<Target, Reason> {
    let record = release::live::<Follow>(pieces.owner())?;
    Ok(Target::new(pieces.backend(), record, listener, 0))
}

/// What is to be known of a packet whose pieces go to `target`.
#[inline(always)]
fn taking(target: &Target, parsed: &Parsed, listener: &Listener) -> Pieces {
    let generation = flow::generation(target.id, parsed.v6).unwrap_or_default();
    Pieces::of(target.id, generation, listener.service())
}

/// Whether a datagram's first piece goes where its later ones went. A session's backend is given.
#[inline(always)]
fn follows(pieces: &Pieces, parsed: &Parsed, listener: &Listener) -> bool {
    let kept = |record: &Record| record.has(Record::SESSIONS);
    parsed.protocol == protocol::UDP
        && !release::live::<Follow>(listener.service()).is_ok_and(kept)
        && pieces.owner() == listener.service()
        && flow::generation(pieces.backend(), parsed.v6) == Some(pieces.generation())
}

/// A later piece: where the first one went, or by the client's slot.
#[inline(always)]
fn later(
    packet: &Packet<'_>,
    (piece, parsed): (&Piece, &Parsed),
    side: Side,
    (key, known): (&FragmentKey, Option<Pieces>),
) -> Result<Way, Reason> {
    if let Some(pieces) = known
        && pieces.has_first()
        && pieces.backend() == NONE
    {
        return Err(Reason::NotListening);
    }
    match side {
        Side::Client(listener) => {
            let target = later_request(packet, (piece, parsed), (key, known), listener)?;
            Ok(Way::Request(target))
        }
        Side::Backend(reply) => Ok(Way::Reply(later_reply(
            (piece, parsed),
            (key, known),
            reply,
        )?)),
    }
}

#[inline(always)]
fn later_request(
    packet: &Packet<'_>,
    (piece, parsed): (&Piece, &Parsed),
    (key, known): (&FragmentKey, Option<Pieces>),
    listener: &Listener,
) -> Result<Target, Reason> {
    let alive = |pieces: &Pieces| {
        flow::generation(pieces.backend(), parsed.v6) == Some(pieces.generation())
    };
    if let Some(pieces) = known.filter(alive) {
        remember(key, pieces, piece)?;
        return going_on(&pieces, listener);
    }
    if listener.is_ambiguous() {
        return Err(Reason::FragmentUnknown);
    }
    let target = choose::<Follow>(packet, parsed, listener, true, || None)?;
    let pieces = taking(&target, parsed, listener);
    remember(key, pieces.after(known), piece)?;
    Ok(target)
}

#[inline(always)]
fn later_reply(
    (piece, parsed): (&Piece, &Parsed),
    (key, known): (&FragmentKey, Option<Pieces>),
    reply: &'static Reply,
) -> Result<&'static Reply, Reason> {
    if let Some(pieces) = known.filter(Pieces::has_first) {
        remember(key, pieces, piece)?;
        let port = pieces.port();
        let from = Endpoint::new(parsed.source, port, parsed.protocol);
        // SAFETY: as in `listen::listener`.
        return unsafe { REPLIES.get(from) }.ok_or(Reason::NotListening);
    }
    // Whatever the first piece turns out to be, most of a server's packets are replies.
    if reply.is_ambiguous() {
        return Err(Reason::Fragment);
    }
    let pieces = known.unwrap_or(Pieces::of(reply.backend(), 0, 0));
    remember(key, pieces, piece)?;
    Ok(reply)
}

/// Keeps what is known after this piece, unless it overlaps the first one: then all of the packet is
/// refused (RFC 5722), as far as it can still be.
#[inline(always)]
fn remember(key: &FragmentKey, pieces: Pieces, piece: &Piece) -> Result<(), Reason> {
    let [first, second] = pieces.words();
    if keep(key, first, second, piece.start, piece.end) {
        Ok(())
    } else {
        Err(Reason::FragmentOverlap)
    }
}

/// A function of its own, so that what is written to the map is not on the walk's stack.
#[inline(never)]
fn keep(key: &FragmentKey, first: u64, second: u64, start: usize, end: usize) -> bool {
    let pieces = Pieces::from_words([first, second]);
    let pieces = pieces.with(start, end).at(flow::now());
    // If there is no room, the next piece finds nothing, and goes by the rule for those.
    let _no_room = FRAGMENTS.insert(key, pieces, 0);
    !pieces.is_refused()
}
