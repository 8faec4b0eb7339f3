//! Sets of source prefixes, looked up in a time that hardly depends on their number.
//!
//! The kernel's LPM trie takes about 800 ns at 100 000 prefixes (measured, Linux 6.18): it walks a
//! node a bit, each a cache miss. Which prefix is the longest does not matter here, only which
//! audiences hold the address. So the daemon cuts the address space into ranges within which that
//! does not change, and the packet path finds an address's range: by one or two look-ups of an
//! index that is spread evenly over the ranges, and a short binary search.
//!
//! Everything is words of 64 bits in one block, addressed from the block's start. A range of IPv4
//! is one word, its first address above its members; a range of IPv6 is two, the upper half of its
//! first address and its members, or the way to the ranges within that half.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// Indexes on the way to a range; deeper ones are left to the binary search.
pub const DEPTH: u32 = 4;
/// Steps of a binary search over as many ranges as a block can hold.
const STEPS: u32 = 21;
/// The number of ranges that a way says, in bits 32 to 55.
const COUNT_MASK: u64 = (1 << 24) - 1;
/// A way leads to an index rather than to ranges.
const INDEX: u64 = 1 << 63;
/// A range's members are a way: they differ in the lower half of the address.
const DEEPER: u64 = 1 << 62;

/// Where words come from: a map in the kernel, a vector in the daemon.
pub trait Words {
    /// The word at `index`, if there is one.
    fn word(&self, index: u32) -> Option<u64>;
}

/// The way to ranges or to an index of them; all zero where there is nothing.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Way(u64);

impl Way {
    /// To `count` ranges, the first at `at`.
    pub const fn to_ranges(at: u32, count: u32) -> Self {
        Self(at as u64 | (count as u64 & COUNT_MASK) << 32)
    }

    /// To an index at `at`: the word from which it counts, its shift and last place, its places.
    pub const fn to_index(at: u32) -> Self {
        Self(at as u64 | INDEX)
    }

    /// As a word of a block.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// As the members of a range whose addresses differ in them.
    pub const fn deeper(self) -> u64 {
        self.0 | DEEPER
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    const fn at(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    const fn count(self) -> u32 {
        (self.0 >> 32 & COUNT_MASK) as u32
    }
}

/// The second word of an index: its keys are shifted by `shift`, and its places are 0 to `last`.
pub const fn index_shape(shift: u32, last: u32) -> u64 {
    shift as u64 | (last as u64) << 8
}

/// The word of a range of IPv4 that begins at `first`.
pub const fn range_v4(first: u32, members: u32) -> u64 {
    (first as u64) << 32 | members as u64
}

/// The prefixes of a set of audiences, or of the deny list; all zero where there are none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Prefixes {
    v4: Way,
    v6: Way,
    /// Where the block begins.
    base: u32,
    /// Words of the block.
    length: u32,
}

const _: () = assert!(size_of::<Prefixes>() == 24);

impl Prefixes {
    /// The ways into a block.
    pub const fn new(v4: Way, v6: Way, base: u32, length: u32) -> Self {
        Self {
            v4,
            v6,
            base,
            length,
        }
    }

    /// Where the block begins.
    pub const fn base(&self) -> u32 {
        self.base
    }

    /// Words of the block.
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// The same ways into a block at another place.
    #[must_use]
    pub const fn moved(self, base: u32) -> Self {
        Self { base, ..self }
    }

    /// One bit for each audience that has the address among its sources. `v6` tells by which
    /// header it came: a mapped address in an IPv6 header is an IPv6 address.
    #[inline(always)]
    pub fn members(&self, words: &impl Words, address: &Address, v6: bool) -> Option<u32> {
        self.family(v6).members(words, address, v6)
    }

    /// The prefixes of one family.
    #[inline(always)]
    pub const fn family(&self, v6: bool) -> Family {
        Family {
            way: if v6 { self.v6 } else { self.v4 },
            base: self.base,
        }
    }
}

/// The prefixes of one family, in two registers.
#[derive(Clone, Copy)]
pub struct Family {
    way: Way,
    /// Where the block begins.
    base: u32,
}

impl Family {
    /// From [`Self::way`] and [`Self::base`].
    #[inline(always)]
    pub const fn new(way: u64, base: u32) -> Self {
        Self {
            way: Way(way),
            base,
        }
    }

    /// The way into the block, 0 if there are no prefixes.
    #[inline(always)]
    pub const fn way(self) -> u64 {
        self.way.0
    }

    /// Where the block begins.
    #[inline(always)]
    pub const fn base(self) -> u32 {
        self.base
    }

    /// As [`Prefixes::members`].
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "members are the lower half"
    )]
    pub fn members(self, words: &impl Words, address: &Address, v6: bool) -> Option<u32> {
        let [upper, lower] = address.halves();
        let key = if v6 {
            u64::from_be(upper)
        } else {
            // Above every word whose range begins at this address, whatever its members.
            let address = u32::from_be_bytes(address.v4_bytes());
            u64::from(address) << 32 | 0xffff_ffff
        };
        if self.way.0 == 0 {
            return Some(0);
        }
        let members = self.find(words, self.way, key, v6)?;
        // The upper half of an IPv4 range is its first address.
        if !v6 || members & DEEPER == 0 {
            return Some(members as u32);
        }
        let way = Way(members & !DEEPER);
        Some(self.find(words, way, u64::from_be(lower), true)? as u32)
    }

    /// The members of the last range that begins at or below `key`.
    #[inline(always)]
    fn find(self, words: &impl Words, way: Way, key: u64, wide: bool) -> Option<u64> {
        let way = self.narrow(words, way, key)?;
        let wide = u32::from(wide);
        let (mut first, mut count) = (self.base.wrapping_add(way.at()), way.count());
        for _ in 0..STEPS {
            if count <= 1 {
                break;
            }
            let half = count / 2;
            let middle = first.wrapping_add(half << wide);
            if words.word(middle)? <= key {
                first = middle;
            }
            count -= half;
        }
        words.word(first.wrapping_add(wide))
    }

    /// Follows indexes to a few ranges, one of which `key` is in.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an index has far fewer places than 32 bits count"
    )]
    fn narrow(self, words: &impl Words, mut way: Way, key: u64) -> Option<Way> {
        for _ in 0..DEPTH {
            if way.0 & INDEX == 0 {
                break;
            }
            let at = self.base.wrapping_add(way.at());
            let low = words.word(at)?;
            let shape = words.word(at.wrapping_add(1))?;
            let place = key.saturating_sub(low) >> (shape & 63);
            let last = shape >> 8;
            let place = if place < last { place } else { last };
            way = Way(words.word(at.wrapping_add(2).wrapping_add(place as u32))?);
        }
        Some(way)
    }
}
