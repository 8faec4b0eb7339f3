//! The frame's own header, written anew where the packet in it has got another one in front, or
//! lost one: addresses, the VLAN tags that there were, and the `EtherType` of what follows.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::backend::Macs;

use crate::{
    packet::{Header, Packet, Pair},
    parse::{ETHERNET, TAG},
};

/// Bytes of both addresses.
const MACS: usize = 12;

/// Where the header was, and where it goes; it is `length` bytes long, to the `EtherType`.
pub struct Move {
    /// Where it was.
    pub from: usize,
    /// Where it goes.
    pub to: usize,
    /// Its bytes.
    pub length: usize,
}

/// Writes the header, and `behind` right behind it.
#[inline(always)]
pub fn write<T: Header>(
    packet: &Packet<'_>,
    moved: &Move,
    macs: Macs,
    ethertype: u16,
    behind: T,
) -> Option<()> {
    let ethertype = ethertype.to_be();
    if moved.length == ETHERNET {
        return packet.write(moved.to, Pair(macs, Pair(ethertype, behind)));
    }
    let Move { from, to, length } = *moved;
    write_tags(packet.raw(), from + MACS, to + MACS, length, ethertype)?;
    packet.write(to + length, behind)?;
    packet.write(to, macs)
}

/// Few frames have tags: a function of its own (a call between BPF programs), so that the path of
/// all others is neither longer nor deeper for it.
#[inline(never)]
fn write_tags(
    raw: *mut xdp_md,
    from: usize,
    to: usize,
    length: usize,
    ethertype: u16,
) -> Option<()> {
    let ctx = XdpContext::new(raw);
    let packet = Packet::new(&ctx);
    if length == ETHERNET + TAG {
        let tag = packet.read::<u32>(from)?;
        return packet.write(to, Pair(tag, ethertype));
    }
    let tags = packet.read::<u64>(from)?;
    packet.write(to, Pair(tags, ethertype))
}
