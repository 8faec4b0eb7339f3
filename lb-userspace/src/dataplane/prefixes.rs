//! The compiler of source prefixes: from lists of them to the block that the packet path searches.
//!
//! What the block looks like, and why, is told in [`lb_common::prefix`].

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, sync::Arc};

use ipnet::IpNet;
use lb_common::prefix::{DEPTH, Prefixes, Way, Words, index_shape, range_v4};

/// Ranges that are searched without a further index.
const FEW: usize = 8;
/// Places of one index, as a power of two.
const INDEX_BITS: u32 = 16;
const V4_BITS: u32 = 32;
const V6_BITS: u32 = 128;

/// The words of one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block(Arc<Vec<u64>>);

impl Block {
    /// A block of these words.
    pub fn new(words: Vec<u64>) -> Self {
        Self(Arc::new(words))
    }

    /// The words.
    pub fn words(&self) -> &[u64] {
        &self.0
    }
}

impl Words for Block {
    fn word(&self, index: u32) -> Option<u64> {
        self.0.get(index as usize).copied()
    }
}

/// A range begins at the first of each pair, and has these members up to the next.
type Ranges = Vec<(u128, u32)>;

/// Compiles prefixes, each with the members that it stands for, to a block and the ways into it.
pub fn compile(prefixes: impl IntoIterator<Item = (IpNet, u32)>) -> (Prefixes, Block) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (prefix, members) in prefixes {
        match (prefix.network(), prefix.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                v4.push((first.to_bits().into()..=last.to_bits().into(), members));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                v6.push((first.to_bits()..=last.to_bits(), members));
            }
            _ => unreachable!("both ends of a prefix are of one family"),
        }
    }
    let mut writer = Writer::default();
    let v4 = writer.v4(&ranges(v4, V4_BITS));
    let v6 = writer.v6(&ranges(v6, V6_BITS));
    let length = u32::try_from(writer.words.len()).unwrap_or(u32::MAX);
    let prefixes = Prefixes::new(v4, v6, 0, length);
    (prefixes, Block::new(writer.words))
}

/// Cuts the space of addresses wherever the members change. Empty if there are none anywhere.
fn ranges(covers: Vec<(RangeInclusive<u128>, u32)>, bits: u32) -> Ranges {
    let mut edges: BTreeMap<u128, Vec<(u32, i32)>> = BTreeMap::new();
    for (addresses, members) in covers {
        let (first, last) = addresses.into_inner();
        edges.entry(first).or_default().push((members, 1));
        if last < u128::MAX >> (u128::BITS - bits) {
            edges.entry(last + 1).or_default().push((members, -1));
        }
    }
    let mut ranges = Vec::with_capacity(edges.len() + 1);
    let mut depth = [0_i32; u32::BITS as usize];
    let mut members = 0;
    for (at, changes) in edges {
        for (bits, change) in changes {
            for (bit, depth) in depth.iter_mut().enumerate() {
                if bits >> bit & 1 == 1 {
                    *depth += change;
                    let there = u32::from(*depth > 0);
                    members = members & !(1 << bit) | there << bit;
                }
            }
        }
        if ranges.is_empty() && at > 0 {
            ranges.push((0, 0));
        }
        if ranges.last().is_none_or(|&(_, before)| before != members) {
            ranges.push((at, members));
        }
    }
    ranges
}

/// Lays a block out.
#[derive(Default)]
struct Writer {
    words: Vec<u64>,
}

impl Writer {
    fn v4(&mut self, ranges: &Ranges) -> Way {
        let firsts: Vec<u64> = ranges
            .iter()
            .map(|&(first, _)| truncate(first) << 32)
            .collect();
        let at = self.place();
        let words = ranges.iter().zip(&firsts);
        let words = words.map(|(&(_, members), first)| range_v4((first >> 32) as u32, members));
        self.words.extend(words);
        self.index(&firsts, at, 1)
    }

    /// Ranges that differ in the lower half of the address only lie deeper.
    fn v6(&mut self, ranges: &Ranges) -> Way {
        let mut outer: Vec<(u64, u64)> = Vec::new();
        let mut before = 0;
        let halves = ranges.chunk_by(|(a, _), (b, _)| a >> 64 == b >> 64);
        for same in halves {
            let half = truncate(same[0].0 >> 64);
            let plain = |half, members: u32| (half, u64::from(members));
            // The last range of the half before goes on, but not below that half's own ranges.
            if outer.last().is_some_and(|&(last, _)| last + 1 < half) && is_deep(&outer) {
                let next = outer[outer.len() - 1].0 + 1;
                outer.push(plain(next, before));
            }
            let inner = inner(same, before);
            before = same[same.len() - 1].1;
            if inner.len() == 1 {
                outer.push(plain(half, inner[0].1));
            } else {
                let way = self.wide(
                    inner
                        .iter()
                        .map(|&(first, members)| (first, members.into())),
                );
                outer.push((half, way.deeper()));
            }
        }
        if is_deep(&outer) && outer[outer.len() - 1].0 < u64::MAX {
            let next = outer[outer.len() - 1].0 + 1;
            outer.push((next, before.into()));
        }
        self.wide(outer.into_iter())
    }

    fn wide(&mut self, ranges: impl Iterator<Item = (u64, u64)>) -> Way {
        let at = self.place();
        let mut firsts = Vec::new();
        for (first, value) in ranges {
            firsts.push(first);
            self.words.extend([first, value]);
        }
        self.index(&firsts, at, 2)
    }

    /// The way to ranges that begin at `firsts`, the first of them at `at`, each of `width` words.
    fn index(&mut self, firsts: &[u64], at: u32, width: u32) -> Way {
        if firsts.is_empty() {
            return Way::default();
        }
        self.narrow(firsts, at, width, 0)
    }

    fn narrow(&mut self, firsts: &[u64], at: u32, width: u32, depth: u32) -> Way {
        if firsts.len() <= FEW || depth == DEPTH {
            return Way::to_ranges(at, length(firsts.len()));
        }
        // Below the second range there is only the first.
        let (low, high) = (firsts[1], firsts[firsts.len() - 1]);
        let bits = length(firsts.len()).ilog2().min(INDEX_BITS);
        let shift = (u64::BITS - (high - low).leading_zeros()).saturating_sub(bits);
        let last = (high - low) >> shift;
        let index = self.place();
        self.words
            .extend([low, index_shape(shift, truncate_u32(last))]);
        let places = self.words.len();
        self.words.resize(places + length_of(last) + 1, 0);
        let mut from = 0;
        for place in 0..=last {
            // The last range that begins before this place's keys, to the last that begins among them.
            let begin = low + (place << shift);
            while from + 1 < firsts.len() && firsts[from + 1] <= begin && place > 0 {
                from += 1;
            }
            let mut to = from;
            let end = if place == last {
                u64::MAX
            } else {
                low + ((place + 1) << shift) - 1
            };
            while to + 1 < firsts.len() && firsts[to + 1] <= end {
                to += 1;
            }
            let first = at + length(from) * width;
            let way = self.narrow(&firsts[from..=to], first, width, depth + 1);
            self.words[places + length_of(place)] = way.bits();
            from = to;
        }
        Way::to_index(index)
    }

    fn place(&self) -> u32 {
        length(self.words.len())
    }
}

/// The ranges within one upper half, from its beginning on.
fn inner(same: &[(u128, u32)], before: u32) -> Vec<(u64, u32)> {
    let mut inner: Vec<(u64, u32)> = Vec::with_capacity(same.len() + 1);
    if truncate(same[0].0) > 0 {
        inner.push((0, before));
    }
    inner.extend(
        same.iter()
            .map(|&(first, members)| (truncate(first), members)),
    );
    inner
}

fn is_deep(outer: &[(u64, u64)]) -> bool {
    outer.last().is_some_and(|&(_, value)| value >> 32 != 0)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn truncate(number: u128) -> u64 {
    number as u64
}

fn truncate_u32(number: u64) -> u32 {
    u32::try_from(number).expect("an index has at most 2^17 places")
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("a block has fewer than 2^32 words")
}

fn length_of(place: u64) -> usize {
    usize::try_from(place).expect("an index has at most 2^17 places")
}

#[cfg(test)]
mod tests;
