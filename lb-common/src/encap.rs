//! The outer headers of `forward = "ipip"` and `"gue"`, as far as they are the same for all packets.

use core::net::{Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// TTL and hop limit of outer headers.
pub const OUTER_HOPS: u8 = 64;
/// The port of Generic UDP Encapsulation (IANA's `gue`).
pub const GUE_PORT: u16 = 6080;
/// Outer IPv4 sources, unless `node.encap` says otherwise.
pub const SOURCES_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 16, 0, 0), 16);
/// Outer IPv6 sources, unless `node.encap` says otherwise: the discard prefix (RFC 6666), which no
/// host answers from.
pub const SOURCES_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64);
/// Answers to packets that are too big, a second and CPU, unless `node.too_big_per_second` says
/// otherwise: as many as the kernel sends (`net.ipv4.icmp_msgs_per_sec`).
pub const TOO_BIG_PER_SECOND: u32 = 1000;

/// How the host encapsulates.
///
/// The outer source is made up for each flow, inside a prefix: receivers spread packets over their
/// queues by a hash of the outer addresses, and between one edge host and one backend these would
/// else be always the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Encap {
    v6: Address,
    /// Bits of the second half of `v6` that are the flow's; network byte order.
    v6_hosts: u64,
    /// Network byte order.
    v4: u32,
    /// Bits of `v4` that are the flow's.
    v4_hosts: u32,
    /// Network byte order.
    gue_port: [u8; 2],
    reserved: u16,
    /// Answers to packets that are too big, a second and CPU.
    too_big_per_second: u32,
}

const _: () = assert!(size_of::<Encap>() == 40);

impl Default for Encap {
    fn default() -> Self {
        Self::new(SOURCES_V4, SOURCES_V6)
    }
}

impl Encap {
    /// Outer sources from these prefixes; of an IPv6 prefix shorter than 64 bits, only the last 64
    /// bits of an address are the flow's.
    pub fn new((v4, v4_length): (Ipv4Addr, u8), (v6, v6_length): (Ipv6Addr, u8)) -> Self {
        let v4_hosts = u32::MAX.checked_shr(v4_length.into()).unwrap_or(0);
        let v6_hosts = u64::MAX
            .checked_shr(u32::from(v6_length).saturating_sub(64))
            .unwrap_or(0);
        let v6 = u128::from(v6) & !u128::from(v6_hosts);
        Self {
            v6: Address::v6(v6.to_be_bytes()),
            v6_hosts: v6_hosts.to_be(),
            v4: (u32::from(v4) & !v4_hosts).to_be(),
            v4_hosts: v4_hosts.to_be(),
            gue_port: GUE_PORT.to_be_bytes(),
            reserved: 0,
            too_big_per_second: TOO_BIG_PER_SECOND,
        }
    }

    /// The same, with another port for Generic UDP Encapsulation.
    #[must_use]
    pub const fn with_gue_port(mut self, port: u16) -> Self {
        self.gue_port = port.to_be_bytes();
        self
    }

    /// The same, with another limit for answers to packets that are too big; 0 sends none.
    #[must_use]
    pub const fn with_too_big_per_second(mut self, limit: u32) -> Self {
        self.too_big_per_second = limit;
        self
    }

    /// The outer IPv4 source for a flow, as it lies in a header.
    #[inline(always)]
    pub const fn source_v4(&self, entropy: u64) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any 32 bits of the hash will do"
        )]
        let entropy = entropy as u32;
        self.v4 | (entropy & self.v4_hosts)
    }

    /// The outer IPv6 source for a flow, as it lies in a header, in two words.
    #[inline(always)]
    pub const fn source_v6(&self, entropy: u64) -> [u64; 2] {
        let [first, second] = self.v6.halves();
        [first, second | (entropy & self.v6_hosts)]
    }

    /// Where Generic UDP Encapsulation is sent to, in network byte order.
    #[inline(always)]
    pub const fn gue_port(&self) -> [u8; 2] {
        self.gue_port
    }

    /// Answers to packets that are too big, a second and CPU.
    #[inline(always)]
    pub const fn too_big_per_second(&self) -> u32 {
        self.too_big_per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_sources_stay_in_their_prefix_and_differ_by_flow() {
        let encap = Encap::new(
            (Ipv4Addr::new(172, 16, 255, 1), 20),
            (Ipv6Addr::new(0x100, 1, 2, 3, 0xffff, 5, 6, 7), 80),
        );
        let v4 = |entropy| Ipv4Addr::from(encap.source_v4(entropy).to_ne_bytes());
        assert_eq!(v4(0), Ipv4Addr::new(172, 16, 240, 0));
        assert_eq!(v4(u64::MAX), Ipv4Addr::new(172, 16, 255, 255));
        let v6 = |entropy| {
            let bytes: [u8; 16] = bytemuck::must_cast(encap.source_v6(entropy));
            Ipv6Addr::from(bytes)
        };
        let lowest = Ipv6Addr::new(0x100, 1, 2, 3, 0xffff, 0, 0, 0);
        let highest = Ipv6Addr::new(0x100, 1, 2, 3, 0xffff, 0xffff, 0xffff, 0xffff);
        assert_eq!((v6(0), v6(u64::MAX)), (lowest, highest));
    }

    #[test]
    fn a_prefix_of_full_length_leaves_one_source() {
        let (v4, v6) = (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::LOCALHOST);
        let encap = Encap::new((v4, 32), (v6, 128));
        assert_eq!(encap.source_v4(u64::MAX), encap.source_v4(0));
        assert_eq!(encap.source_v6(u64::MAX), encap.source_v6(0));
    }

    #[test]
    fn a_short_prefix_leaves_the_last_64_bits_to_the_flow() {
        let encap = Encap::new(SOURCES_V4, (Ipv6Addr::new(0x100, 1, 2, 3, 4, 0, 0, 0), 8));
        let bytes: [u8; 16] = bytemuck::must_cast(encap.source_v6(u64::MAX));
        let expected = Ipv6Addr::new(0x100, 1, 2, 3, 0xffff, 0xffff, 0xffff, 0xffff);
        assert_eq!(Ipv6Addr::from(bytes), expected);
    }
}
