//! IPv4 options (RFC 791, section 3.1): walked, and left as they are.

use lb_common::reason::Reason;

use crate::packet::Packet;

/// As many options as a header has bytes for them.
const MAX_OPTIONS: usize = 40;

/// No header with options reaches further into a frame, VLAN tags and all.
const FURTHEST: usize = 127;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// What is wrong with the options up to `end`: they reach beyond it, or are a source route whose end
/// is not reached, so that the address in the header is not yet the packet's destination.
#[inline(always)]
pub fn walk(packet: &Packet<'_>, mut at: usize, end: usize) -> Option<Reason> {
    for _ in 0..MAX_OPTIONS {
        // Says nothing new, but lets the verifier take all places for one.
        at &= FURTHEST;
        if at >= end {
            return None;
        }
        // Two bytes, though the last option may have one: behind the options is a transport header.
        let [kind, length] = packet.read::<[u8; 2]>(at)?;
        match kind {
            END => return None,
            NO_OPERATION => at += 1,
            _ if length < 2 || at + usize::from(length) > end => return Some(Reason::BadOptions),
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE if goes_on(packet, at, length) => {
                return Some(Reason::SourceRoute);
            }
            _ => at += usize::from(length),
        }
    }
    None
}

/// Whether a source route's pointer is not past its addresses yet.
#[inline(always)]
fn goes_on(packet: &Packet<'_>, at: usize, length: u8) -> bool {
    let pointer = packet.read::<[u8; 2]>(at + 2);
    pointer.is_some_and(|[pointer, _]| pointer < length)
}
