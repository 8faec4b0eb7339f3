//! The frame's addresses: all that direct server return changes, and the last thing `nat` does.

use lb_common::reason::Reason;

use super::route::Hop;
use crate::packet::Packet;

/// Addresses the frame to the next hop.
#[inline(always)]
pub fn rewrite(packet: &Packet<'_>, hop: &Hop) -> Result<(), Reason> {
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&hop.destination);
    macs[6..].copy_from_slice(&hop.source);
    packet.write(0, macs).ok_or(Reason::TruncatedHeader)
}
