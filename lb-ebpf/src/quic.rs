//! QUIC datagrams: whether one starts a connection, by what all versions show in clear (RFC 8999)
//! and by the types of versions 1 (RFC 9000, section 17.2) and 2 (RFC 9369, section 3.2); and which
//! server its connection id tells (`lb_common::quic_lb`).

use lb_common::{
    listener::Listener,
    quic_lb::{Formats, MIN_NONCE, Server, ServerKey},
    reason::{FlowEvent, Reason},
    trace::Trace,
};

use crate::{
    aside, count, flow,
    maps::SERVERS,
    mode::Mode,
    packet::{Packet, Pair},
    parse::Parsed,
};

/// Bytes of a UDP header.
const UDP: usize = 8;
/// Of the first byte: a long header.
const LONG: u8 = 0x80;
/// Of the first byte of a long header: the type.
const TYPE: u8 = 0x30;

const VERSION_NEGOTIATION: u32 = 0;
const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6b33_43cf;

/// Types of version 1; those of version 2 are one more, modulo four.
const INITIAL: u8 = 0;
const ZERO_RTT: u8 = 1;

/// The least that a client's datagram with an Initial in it may be (RFC 9000, section 14.1).
const LEAST_INITIAL: usize = 1200;

/// Whether a client's datagram starts a connection, as far as one packet can tell: a handshake has
/// several Initials, and whether this is the first its pin says.
///
/// A version that is not known counts as a start: its server answers by a list of those that it
/// speaks, and the client begins again with one of these. That list itself no client ever sends; and
/// an Initial that is too small every server must discard, so it costs none here.
#[inline(always)]
pub fn starts(packet: &Packet<'_>, parsed: &Parsed) -> Result<bool, Reason> {
    let payload = parsed.transport + UDP;
    // A datagram too short for a version is no long header.
    let Some([first, version @ ..]) = packet.read::<[u8; 5]>(payload) else {
        return Ok(false);
    };
    if first & LONG == 0 {
        return Ok(false);
    }
    let kind = (first & TYPE) >> 4;
    let kind = match u32::from_be_bytes(version) {
        VERSION_NEGOTIATION => return Err(Reason::QuicNegotiation),
        VERSION_1 => kind,
        VERSION_2 => kind.wrapping_sub(1) & 3,
        _ => return Ok(true),
    };
    if kind == INITIAL && parsed.end < payload + LEAST_INITIAL {
        return Err(Reason::QuicSmallInitial);
    }
    // Data that comes before the handshake belongs to the Initial that it may have overtaken.
    Ok(kind == INITIAL || kind == ZERO_RTT)
}

/// Where a long header has the length of the destination connection id, which follows (RFC 8999).
const LONG_ID_LENGTH: usize = 5;
/// Where a short header has the destination connection id.
const SHORT_ID: usize = 1;
/// Octets that are read behind an id's first one. Every packet has them: behind the id come 20 at least
/// (RFC 9001, section 5.4.2, of both kinds), and the shortest id that tells a server has five more.
const READ: usize = 16;

/// The backend whose server the packet's destination connection id tells, if it tells one that is there.
///
/// All packets are asked, as the draft has it: the later Initials of a handshake bear a server's id as
/// well, and a client's own first one tells a server by chance alone.
#[inline(always)]
pub fn server<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    listener: &Listener,
) -> Option<Server> {
    M::note(|trace| trace.mark(Trace::CIDS));
    let found = aside::server_at(
        packet,
        (parsed.transport + UDP, parsed.end),
        listener,
        parsed.v6,
    );
    match found {
        Some(_) => count::flow::<M>(FlowEvent::CidRouted),
        None if parsed.opens => {}
        None => count::flow::<M>(FlowEvent::CidUnknown),
    }
    found
}

/// The server of a service that a datagram between two offsets is for.
#[inline(always)]
pub fn find(
    packet: &Packet<'_>,
    (start, end): (usize, usize),
    formats: Formats,
    service: u32,
    v6: bool,
) -> Option<Server> {
    // By reads of more than one byte: of a comparison with the frame's end that leaves room for a single
    // one, the verifier learns nothing. No packet is so short.
    let [head, _, _, _, _, octets]: [u8; 6] = packet.read(start)?;
    let (at, octets) = if head & LONG == 0 {
        // Only its server knows how long it is.
        (start + SHORT_ID, u32::MAX)
    } else {
        (start + LONG_ID_LENGTH + 1, u32::from(octets))
    };
    if at + 1 + READ > end {
        return None;
    }
    let Pair(first, octets_behind): Pair<u8, [u64; READ / 8]> = packet.read(at)?;
    let format = formats.of(first);
    let (_, length) = format;
    if length == 0 || octets < 1 + length + MIN_NONCE {
        return None;
    }
    let key = ServerKey::new(service, format, octets_behind);
    // SAFETY: this program never writes the map; the daemon's writes replace entries as a whole.
    let server = *unsafe { SERVERS.get(key) }?;
    // It may have been removed since.
    flow::generation(server.backend(), v6).map(|_| server)
}
