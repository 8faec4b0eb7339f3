//! IPv6 extension headers (RFC 8200, section 4): walked, and left as they are.

use lb_common::{protocol, reason::Reason};

use crate::packet::Packet;

/// Extension headers that are walked before a packet is left to the kernel.
const MAX_EXTENSION_HEADERS: usize = 4;

/// Where they may start at most; the verifier knows nothing of a caller's offsets.
const MAX_START: usize = 512;

/// More bytes than they can have together: a header has 2 048 at most.
const MAX_LENGTH: usize = 8192;

/// Bytes of a fragment header.
pub const FRAGMENT_HEADER: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// In a fragment header's word of offset and flags: all but what is reserved. A header that says
/// zero makes no piece: the packet is whole (RFC 6946).
const PIECE: u16 = 0xfff9;

/// What was found: a transport header, or the header that makes the packet a piece.
///
/// One word, since functions that are verified by themselves answer with a number: protocol, bytes
/// up to what was found, the piece's word of offset and flags, and one more than what is wrong.
#[derive(Clone, Copy)]
pub struct Chain(u64);

impl Chain {
    /// A transport header right at the start.
    #[inline(always)]
    pub const fn none(protocol: u8) -> Self {
        Self(protocol as u64)
    }

    /// A chain from its number.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The number of a chain.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    const fn new(protocol: u8, length: usize, piece: u16) -> Self {
        Self(protocol as u64 | (length as u64 & 0xffff) << 8 | (piece as u64) << 24)
    }

    #[inline(always)]
    const fn wrong(reason: Reason) -> Self {
        Self((reason as u64 + 1) << 40)
    }

    /// What follows; of a piece, what its own header says of it.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest eight bits")]
    pub const fn protocol(self) -> u8 {
        self.0 as u8
    }

    /// Bytes before what was found.
    #[inline(always)]
    pub const fn length(self) -> usize {
        (self.0 >> 8 & 0x3fff) as usize
    }

    /// The fragment header's word of offset and flags, 0 where the packet is no piece.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "sixteen bits are kept")]
    pub const fn piece(self) -> u16 {
        (self.0 >> 24) as u16
    }

    /// Why the walk ended early, if it did.
    #[inline(always)]
    pub const fn refused(self) -> Option<Reason> {
        match (self.0 >> 40) as u32 {
            0 => None,
            more => Reason::numbered(more - 1),
        }
    }
}

/// Walks to the transport header, or to the header that makes this a piece.
#[inline(always)]
pub fn walk(packet: &Packet<'_>, at: usize, first: u8) -> Chain {
    let (mut next, mut length) = (first, 0);
    let at = at & (MAX_START - 1);
    for _ in 0..MAX_EXTENSION_HEADERS {
        // Says nothing new, but lets the verifier take all lengths for one.
        length &= MAX_LENGTH - 1;
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            return Chain::new(next, length, 0);
        }
        let Some([following, units, third, fourth]) = packet.read::<[u8; 4]>(at + length) else {
            return Chain::wrong(Reason::TruncatedHeader);
        };
        if next == FRAGMENT {
            let piece = u16::from_be_bytes([third, fourth]) & PIECE;
            if piece != 0 {
                return Chain::new(following, length, piece);
            }
            length += FRAGMENT_HEADER;
        } else {
            // The address in the header is not yet the packet's destination.
            if next == ROUTING && fourth != 0 {
                return Chain::wrong(Reason::ExtensionHeaders);
            }
            length += (usize::from(units) + 1) * 8;
        }
        next = following;
    }
    match next {
        protocol::TCP | protocol::UDP => Chain::new(next, length, 0),
        _ => Chain::wrong(Reason::ExtensionHeaders),
    }
}
