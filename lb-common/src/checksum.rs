//! The Internet checksum (RFC 1071), updated where a header changes (RFC 1624).
//!
//! Sums are over 16-bit words as they lie in memory: one's complement addition commutes with a
//! swap of bytes (RFC 1071, section 2(B)), so no word is ever swapped.

use crate::address::Address;

/// A one's complement sum of 16-bit words, carries not yet folded in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of one 16-bit word.
    #[inline(always)]
    pub const fn word(bytes: [u8; 2]) -> Self {
        Self(u16::from_ne_bytes(bytes) as u64)
    }

    /// The sum of words of four bytes.
    #[inline(always)]
    pub const fn words<const N: usize>(words: [u32; N]) -> Self {
        let (mut sum, mut index) = (0, 0);
        while index < N {
            sum += words[index] as u64;
            index += 1;
        }
        Self(sum)
    }

    /// A sum that was made elsewhere, not folded yet, as the kernel's helpers give it.
    #[inline(always)]
    pub const fn partial(sum: u32) -> Self {
        Self(sum as u64)
    }

    /// The sum of an address: of its last four bytes for IPv4, since the mapped prefix is not
    /// part of any header.
    #[inline(always)]
    pub const fn v4(address: &Address) -> Self {
        Self(u32::from_ne_bytes(address.v4_bytes()) as u64)
    }

    /// The sum of all sixteen bytes of an IPv6 address.
    #[inline(always)]
    pub const fn v6(address: &Address) -> Self {
        let words = address.words();
        Self(words[0] as u64 + words[1] as u64 + words[2] as u64 + words[3] as u64)
    }

    /// A sum that was folded before, as kept in a map.
    #[inline(always)]
    pub const fn folded(sum: u16) -> Self {
        Self(sum as u64)
    }

    /// Both sums together.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum of words that have this sum, as it lies in a header.
    #[inline(always)]
    pub const fn checksum(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// The sum in 16 bits, carries wrapped around. Thrice is enough for a sum below 2^44, and no
    /// header has words for a larger one: below 2^28 and 2^16 are left, below 2^12 and 2^16, and 16 bits.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the carries were folded into 16 bits"
    )]
    pub const fn fold(self) -> u16 {
        let mut x = self.0;
        x = (x & 0xffff) + (x >> 16);
        x = (x & 0xffff) + (x >> 16);
        x = (x & 0xffff) + (x >> 16);
        x as u16
    }
}

/// Zero, in one's complement of 16 bits: larger than any sum of a header's words.
const ZERO: u64 = 0xffff_ffff << 8;

/// The checksum after words summing to `old` were replaced by words summing to `new`.
///
/// RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`, folded once for all three.
#[inline(always)]
pub const fn update(checksum: [u8; 2], old: Sum, new: Sum) -> [u8; 2] {
    let kept = !u16::from_ne_bytes(checksum) as u64;
    let removed = ZERO - old.0;
    (!Sum(kept + removed + new.0).fold()).to_ne_bytes()
}

/// [`update`] for UDP, where zero says "no checksum": zero stays, and a sum that comes out as
/// zero is sent as all ones (RFC 768).
#[inline(always)]
pub const fn update_udp(checksum: [u8; 2], old: Sum, new: Sum) -> [u8; 2] {
    if u16::from_ne_bytes(checksum) == 0 {
        return checksum;
    }
    match update(checksum, old, new) {
        [0, 0] => [0xff, 0xff],
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071's definition, word by word in network order, as an independent reference.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        !u16::try_from(sum).expect("folded at every step")
    }

    #[test]
    fn the_worked_example_of_rfc_1624() {
        // Section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285 gives 0x0000 and not 0xFFFF.
        let (old, new) = (Sum::word([0x55, 0x55]), Sum::word([0x32, 0x85]));
        assert_eq!(update([0xdd, 0x2f], old, new), [0, 0]);
    }

    #[test]
    fn udp_without_a_checksum_stays_without() {
        assert_eq!(
            update_udp([0, 0], Sum::word([1, 2]), Sum::word([3, 4])),
            [0, 0]
        );
    }

    #[test]
    fn udp_never_sends_zero_for_a_computed_sum() {
        let (old, new) = (Sum::word([0x55, 0x55]), Sum::word([0x32, 0x85]));
        assert_eq!(update_udp([0xdd, 0x2f], old, new), [0xff, 0xff]);
    }

    #[test]
    fn the_largest_sums_that_are_folded_keep_their_carries() {
        // One's complement sums are remainders by 0xffff, which itself stands for zero.
        for sum in [
            (1 << 44) - 1,
            (1 << 44) - 0x1_0000,
            0xffff_ffff * 9,
            0x1_ffff,
            0xffff,
        ] {
            let expected = (sum - 1) % 0xffff + 1;
            assert_eq!(u64::from(Sum(sum).fold()), expected, "{sum:#x}");
        }
    }

    proptest! {
        #[test]
        fn an_update_equals_a_sum_from_scratch(
            mut header in prop::collection::vec(any::<u8>(), 40..80usize),
            from in any::<[u8; 16]>(),
            to in any::<[u8; 16]>(),
        ) {
            header.truncate(header.len() & !1);
            // A word that is never zero keeps clear of the two forms of zero.
            header[..2].copy_from_slice(&[0x12, 0x34]);
            header[16..32].copy_from_slice(&from);
            let before = reference(&header).to_be_bytes();
            header[16..32].copy_from_slice(&to);
            let after = reference(&header).to_be_bytes();
            let updated = update(
                before,
                Sum::v6(&Address::v6(from)),
                Sum::v6(&Address::v6(to)),
            );
            prop_assert_eq!(updated, after);
        }

        #[test]
        fn a_v4_sum_leaves_the_mapped_prefix_out(bytes in any::<[u8; 4]>()) {
            let expected = !reference(&bytes);
            let sum = Sum::v4(&Address::v4(bytes)).fold().to_ne_bytes();
            prop_assert_eq!(u16::from_be_bytes(sum), expected);
        }
    }
}
