//! The frame's addresses: all that direct server return changes, and the last thing `nat` does.

use lb_common::{backend::Macs, reason::Reason};

use crate::packet::Packet;

/// Addresses the frame to the next hop.
#[inline(always)]
pub fn rewrite(packet: &Packet<'_>, macs: Macs) -> Result<(), Reason> {
    packet.write(0, macs).ok_or(Reason::TruncatedHeader)
}

/// Swaps the frame's addresses.
#[inline(always)]
pub fn turn_back(packet: &Packet<'_>) -> Option<()> {
    let macs = packet.read::<Macs>(0)?;
    packet.write(0, macs.swapped())
}
