//! One address type for both families.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

/// An IP address in network byte order; IPv4 is held IPv4-mapped (RFC 4291, section 2.5.5.2).
///
/// Held as two words of memory rather than as bytes, so that the compiler copies and compares it
/// in two registers, and so that map keys lie on the packet path's stack at multiples of 8: it
/// may join neighbouring stores, and the verifier refuses one to the stack that is not aligned.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Address([u64; 2]);

const _: () = assert!(size_of::<Address>() == 16);

impl Address {
    /// The unspecified address `::`, which no packet that is ours can have.
    pub const UNSPECIFIED: Self = Self([0; 2]);

    /// From the four bytes of an IPv4 header's field.
    #[inline(always)]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        let [a, b, c, d] = bytes;
        Self([0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])])
    }

    /// From an IPv4 header's field, read as one word of memory.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self::v4(word.to_ne_bytes())
    }

    /// From the sixteen bytes of an IPv6 header's field.
    #[inline(always)]
    pub const fn v6(bytes: [u8; 16]) -> Self {
        Self(bytemuck::must_cast(bytes))
    }

    /// All sixteen bytes, IPv4 as mapped.
    #[inline(always)]
    pub const fn bytes(&self) -> [u8; 16] {
        bytemuck::must_cast(self.0)
    }

    /// The last four bytes: the IPv4 address of a mapped one.
    #[inline(always)]
    pub const fn v4_bytes(&self) -> [u8; 4] {
        let [_, _, _, _, a, b, c, d] = self.0[1].to_ne_bytes();
        [a, b, c, d]
    }

    /// Whether this is an IPv4 address.
    pub const fn is_v4(&self) -> bool {
        matches!(self.0[1].to_ne_bytes(), [0, 0, 0xff, 0xff, ..]) && self.0[0] == 0
    }

    /// The address as four words of memory. By arithmetic: read as an array of four, the compiler would
    /// keep it as four throughout, and write map keys by parts, for which the kernel's hash waits.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        let [[a, b], [c, d]] = [split(self.0[0]), split(self.0[1])];
        [a, b, c, d]
    }

    /// From [`Self::halves`].
    #[inline(always)]
    pub const fn from_halves(halves: [u64; 2]) -> Self {
        Self(halves)
    }

    /// The address as two words of memory.
    #[inline(always)]
    pub const fn halves(&self) -> [u64; 2] {
        self.0
    }

    /// Starts with 64 zeros, as an IPv4 address does where both families have one type.
    #[inline(always)]
    pub const fn is_embedded(&self) -> bool {
        self.0[0] == 0
    }

    /// The last four bytes, and four zeros, as one word of memory.
    #[inline(always)]
    pub const fn v4_word(&self) -> u64 {
        let [a, b, c, d] = self.v4_bytes();
        u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
    }

    /// Bit by bit, this address where `mask` has ones.
    #[inline(always)]
    #[must_use]
    pub const fn and(&self, mask: &Self) -> Self {
        Self([self.0[0] & mask.0[0], self.0[1] & mask.0[1]])
    }

    /// The first `length` bits kept, the rest zero; `length` counts in the 128-bit form.
    #[must_use]
    pub fn masked(&self, length: u8) -> Self {
        let kept = u128::MAX
            .checked_shl(128 - u32::from(length.min(128)))
            .unwrap_or(0);
        self.and(&Self::v6(kept.to_be_bytes()))
    }
}

/// A word of memory as the two that it is made of.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "each half is meant")]
const fn split(word: u64) -> [u32; 2] {
    let (upper, lower) = ((word >> 32) as u32, word as u32);
    if cfg!(target_endian = "big") {
        [upper, lower]
    } else {
        [lower, upper]
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            Self::V4(Ipv4Addr::from(address.v4_bytes()))
        } else {
            Self::V6(Ipv6Addr::from(address.bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["192.0.2.80", "2001:db8::80", "::1", "0.0.0.0"] {
            let address: IpAddr = text.parse().expect("a literal address");
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn a_mask_keeps_the_network_and_drops_the_host() {
        let host = Address::from("2001:db8:1:2:3:4:5:6".parse::<IpAddr>().expect("literal"));
        let network = Address::from("2001:db8:1:2::".parse::<IpAddr>().expect("literal"));
        assert_eq!(host.masked(64), network);
        assert_eq!(host.masked(128), host);
        assert_eq!(host.masked(0), Address::UNSPECIFIED);
    }
}
