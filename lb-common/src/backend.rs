//! A backend as the packet path sees it: where it is, and over which next hop.

use bytemuck::{Pod, Zeroable};

use crate::{address::Address, checksum::Sum, maps::MAX_BACKENDS};

/// The backend id that stands for "none".
pub const NONE: u16 = 0;

/// Where in the backends' array the entry of `id` for a family is; each has one for IPv4 and
/// one for IPv6.
#[inline(always)]
pub const fn index(id: u16, v6: bool) -> u32 {
    (id as u32) << 1 | v6 as u32
}

/// Entries in the backends' array.
pub const ENTRIES: u32 = MAX_BACKENDS * 2;

/// A backend's entry for one address family; all zero where there is no such backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    address: Address,
    /// One is live, as the flags say; the other may be written.
    hops: [NextHop; 2],
    /// Network byte order; 0 keeps the listener's.
    port: [u8; 2],
    generation: u16,
    /// The one's complement sum of the address, folded, in memory order.
    address_sum: u16,
    flags: u16,
}

const _: () = assert!(size_of::<Backend>() == 64);

/// Where a backend's packets go next.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct NextHop {
    macs: Macs,
    /// 0 while it is not resolved.
    ifindex: u32,
    /// Bytes of the largest IP packet that the way there takes.
    mtu: u32,
}

const _: () = assert!(size_of::<NextHop>() == 20);

impl NextHop {
    const UNRESOLVED: Self = Self {
        macs: Macs([0; 3]),
        ifindex: 0,
        mtu: u16::MAX as u32,
    };

    /// The interface towards it, 0 if unresolved.
    #[inline(always)]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Destination and source address of the frame, in the order of an Ethernet header.
    #[inline(always)]
    pub const fn macs(&self) -> Macs {
        self.macs
    }

    /// Bytes of the largest IP packet that the way there takes.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it was 16 bits")]
    pub const fn mtu(&self) -> u16 {
        self.mtu as u16
    }
}

/// Destination and source address of a frame, as they lie in an Ethernet header; words, so that
/// they are copied as such.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Macs([u32; 3]);

impl Macs {
    /// Both addresses.
    #[inline(always)]
    pub const fn new(destination: [u8; 6], source: [u8; 6]) -> Self {
        let (to, from) = (destination, source);
        Self([
            u32::from_ne_bytes([to[0], to[1], to[2], to[3]]),
            u32::from_ne_bytes([to[4], to[5], from[0], from[1]]),
            u32::from_ne_bytes([from[2], from[3], from[4], from[5]]),
        ])
    }

    /// The same with destination and source exchanged: the way back.
    #[inline(always)]
    #[must_use]
    pub const fn swapped(self) -> Self {
        let [a, b, c] = self.0;
        let ([d0, d1, d2, d3], [d4, d5, s0, s1]) = (a.to_ne_bytes(), b.to_ne_bytes());
        let [s2, s3, s4, s5] = c.to_ne_bytes();
        Self::new([s0, s1, s2, s3, s4, s5], [d0, d1, d2, d3, d4, d5])
    }

    /// The twelve bytes, as three words of memory.
    #[inline(always)]
    pub const fn words(self) -> [u32; 3] {
        self.0
    }
}

/// The entry names a backend.
const PRESENT: u16 = 1;
/// Its address is an IPv6 address.
const V6: u16 = 1 << 1;
/// The second next hop is the live one.
const SECOND: u16 = 1 << 2;

impl Backend {
    /// A backend whose next hop is not known yet; `port` 0 keeps the listener's.
    pub fn new(address: Address, port: u16, generation: u16) -> Self {
        let (sum, family) = if address.is_v4() {
            (Sum::v4(&address), 0)
        } else {
            (Sum::v6(&address), V6)
        };
        Self {
            address,
            hops: [NextHop::UNRESOLVED; 2],
            port: port.to_be_bytes(),
            generation,
            address_sum: sum.fold(),
            flags: PRESENT | family,
        }
    }

    /// The same backend, reached over interface `ifindex` through `next_hop_mac`.
    #[must_use]
    pub const fn via(mut self, ifindex: u32, source_mac: [u8; 6], next_hop_mac: [u8; 6]) -> Self {
        self.hops[0].ifindex = ifindex;
        self.hops[0].macs = Macs::new(next_hop_mac, source_mac);
        self
    }

    /// The same backend, whose next hop takes IP packets of up to `mtu` bytes; without, of any
    /// length.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u32) -> Self {
        self.hops[0].mtu = mtu.min(u16::MAX.into());
        self
    }

    /// The same as it is compared and kept: its live next hop is the first, and there is no other.
    #[must_use]
    pub const fn settled(mut self) -> Self {
        let live = self.hops[self.live()];
        self.hops = [live, NextHop::UNRESOLVED];
        self.flags &= !SECOND;
        self
    }

    /// The two writes that bring an entry to `next` so that no packet meets half a next hop: one where
    /// no packet looks, and one that changes a single bit. Nothing where more than that differs.
    pub fn steps_to(self, next: Self) -> Option<[Self; 2]> {
        let live = self.live();
        let mut aside = self;
        aside.hops[1 - live] = next.hops[next.live()];
        let mut turned = aside;
        turned.flags ^= SECOND;
        (turned.settled() == next.settled() && self.is_present()).then_some([aside, turned])
    }

    #[inline(always)]
    const fn live(&self) -> usize {
        (self.flags & SECOND != 0) as usize
    }

    /// Whether the entry names a backend at all.
    #[inline(always)]
    pub const fn is_present(&self) -> bool {
        self.flags & PRESENT != 0
    }

    /// Whether the backend's own address is one of IPv6; with direct server return that need not
    /// be the listener's family.
    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        self.flags & V6 != 0
    }

    /// The backend's address.
    #[inline(always)]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The one's complement sum of the address.
    #[inline(always)]
    pub const fn address_sum(&self) -> Sum {
        Sum::folded(self.address_sum)
    }

    /// The backend's port, or that of the listener, in network byte order.
    #[inline(always)]
    pub const fn port_or(&self, listeners: [u8; 2]) -> [u8; 2] {
        if u16::from_ne_bytes(self.port) == 0 {
            listeners
        } else {
            self.port
        }
    }

    /// Tells this backend from an earlier one that had its id.
    #[inline(always)]
    pub const fn generation(&self) -> u16 {
        self.generation
    }

    /// The interface towards the next hop, 0 if unresolved.
    pub const fn ifindex(&self) -> u32 {
        self.hops[self.live()].ifindex
    }

    /// The next hop, all of it as it was at one moment: which of the two is live is read once, and
    /// that one stays as it is until no packet is under way that has read so.
    #[inline(always)]
    pub fn next_hop(&self) -> &NextHop {
        // SAFETY: the reference is to a live field; the daemon may write it meanwhile.
        let flags = unsafe { (&raw const self.flags).read_volatile() };
        &self.hops[usize::from(flags & SECOND != 0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(generation: u16, mac: u8) -> Backend {
        Backend::new(Address::v4([10, 0, 0, 1]), 80, generation).via(mac.into(), [mac; 6], [mac; 6])
    }

    #[test]
    fn a_next_hop_is_written_where_no_packet_looks_and_then_made_the_live_one() {
        let mut entry = backend(1, 1);
        for mac in 2..6 {
            let next = backend(1, mac).with_mtu(1400 + u32::from(mac));
            let [aside, turned] = entry.steps_to(next).expect("only its next hop differs");
            assert_eq!(aside.next_hop(), entry.next_hop());
            assert_eq!(aside.settled(), entry.settled());
            assert_eq!(turned.settled(), next);
            assert_eq!(turned.flags ^ aside.flags, SECOND);
            assert_eq!(turned.hops, aside.hops);
            entry = turned;
        }
    }

    #[test]
    fn another_backend_is_written_at_once() {
        assert_eq!(backend(1, 1).steps_to(backend(2, 2)), None);
        assert_eq!(Backend::zeroed().steps_to(backend(1, 2)), None);
    }
}
