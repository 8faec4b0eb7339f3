//! QUIC datagrams: whether one starts a connection, by what all versions show in clear (RFC 8999)
//! and by the types of versions 1 (RFC 9000, section 17.2) and 2 (RFC 9369, section 3.2).

use lb_common::reason::Reason;

use crate::{packet::Packet, parse::Parsed};

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
