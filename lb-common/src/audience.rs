//! Audiences: named sets of clients that get an answer of their own, before the share is asked.
//!
//! A set is what one record names: all audiences of a service, in their order. It never changes;
//! another one is written aside, and a record that names it is stored.

use bytemuck::{Pod, Zeroable};

use crate::prefix::Prefixes;

/// Audiences of one service: as many as a range of prefixes has bits for.
pub const RULES: u32 = 32;
/// Ranges that one condition may list.
pub const RANGES: usize = 4;

/// What a packet must have, beyond its source address.
pub mod condition {
    /// Its source port lies in one of the ranges.
    pub const PORTS: u32 = 1;
    /// One of its VLAN tags has an id in one of the ranges.
    pub const VLAN: u32 = 1 << 1;
    /// Its DSCP is one of those.
    pub const DSCP: u32 = 1 << 2;
    /// Its TTL or hop limit lies in the range.
    pub const TTL: u32 = 1 << 3;
    /// Its TCP options announce a segment size in the range.
    pub const MSS: u32 = 1 << 4;
    /// The conditions that later packets of a connection may not meet although its first did:
    /// the first packet decides, and the connection is pinned.
    pub const OPENING: u32 = DSCP | TTL | MSS;
}

/// Numbers from `low` to `high`; none if `low` is the higher one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Range {
    /// The lowest.
    pub low: u16,
    /// The highest.
    pub high: u16,
}

impl Range {
    /// No number at all.
    pub const NONE: Self = Self { low: 1, high: 0 };

    /// Negative for a number that is not among them.
    #[inline(always)]
    const fn distance(self, number: u16) -> i32 {
        let (low, high, number) = (self.low as i32, self.high as i32, number as i32);
        (number - low) | (high - number)
    }
}

/// One audience: its conditions, all of which must hold, and its answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Rule {
    /// DSCPs, a bit each.
    pub dscp: u64,
    /// See [`condition`].
    pub conditions: u32,
    /// Part of these clients that goes to the candidate, in parts per million.
    pub share_ppm: u32,
    /// Number of its counters; outlives a change of the set.
    pub number: u32,
    /// Source ports.
    pub ports: [Range; RANGES],
    /// VLAN ids.
    pub vlan: [Range; RANGES],
    /// TCP segment sizes, in bytes.
    pub mss: Range,
    /// TTLs or hop limits.
    pub ttl: Range,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Rule>() == 64);

impl Rule {
    /// An audience of everybody, that gets this share.
    pub const fn new(number: u32, share_ppm: u32) -> Self {
        Self {
            dscp: 0,
            conditions: 0,
            share_ppm,
            number,
            ports: [Range::NONE; RANGES],
            vlan: [Range::NONE; RANGES],
            mss: Range::NONE,
            ttl: Range::NONE,
            reserved: 0,
        }
    }

    #[inline(always)]
    const fn needs(&self, condition: u32) -> bool {
        self.conditions & condition != 0
    }

    /// Whether it has no condition beyond its sources.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        self.conditions == 0
    }

    /// Whether all conditions hold. Each is worked out without a branch: there are few of them, and
    /// the processor has nothing to guess.
    #[inline(always)]
    pub fn admits(&self, marks: &Marks) -> bool {
        let port = u16::from_be_bytes(marks.source_port);
        let [outer, inner] = marks.vlan;
        let vlan = outside_all(&self.vlan, outer) & outside_all(&self.vlan, inner);
        let failed = outside_all(&self.ports, port) * condition::PORTS
            + vlan * condition::VLAN
            + lacks(self.dscp, marks.dscp) * condition::DSCP
            + sign(self.ttl.distance(u16::from(marks.hops))) * condition::TTL
            + sign(self.mss.distance(marks.mss)) * condition::MSS;
        self.conditions & failed == 0
    }
}

/// 1 if a number lies in none of the ranges.
#[inline(always)]
const fn outside_all(ranges: &[Range; RANGES], number: u16) -> u32 {
    let [a, b, c, d] = ranges;
    sign(a.distance(number) & b.distance(number) & c.distance(number) & d.distance(number))
}

/// 1 if a bit is not set.
#[inline(always)]
const fn lacks(bits: u64, bit: u8) -> u32 {
    ((!bits >> (bit & 63)) & 1) as u32
}

/// 1 for a negative number.
#[inline(always)]
const fn sign(number: i32) -> u32 {
    number.cast_unsigned() >> 31
}

/// What a packet shows of its client, beyond the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Network byte order.
    pub source_port: [u8; 2],
    /// Ids of its VLAN tags; [`NO_VLAN`] where it has none.
    pub vlan: [u16; 2],
    /// 0 where the packet announces none: no range has it.
    pub mss: u16,
    /// Differentiated services code point.
    pub dscp: u8,
    /// TTL or hop limit.
    pub hops: u8,
}

/// No VLAN has this id: the field has 12 bits.
pub const NO_VLAN: u16 = u16::MAX;

/// All audiences of one service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct AudienceSet {
    prefixes: Prefixes,
    /// Rules that are there, a bit each.
    present: u32,
    /// Rules that name sources.
    by_source: u32,
    /// Rules that only the first packet of a connection decides.
    by_opening: u32,
    /// All conditions of all rules.
    conditions: u32,
    rules: [Rule; RULES as usize],
}

const _: () = assert!(size_of::<AudienceSet>() == 40 + 64 * RULES as usize);

/// What a set says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Number of the audience, 0 if the packet is in none.
    pub number: u32,
    /// The audience's share, or the one given.
    pub share_ppm: u32,
    /// Only a first packet tells: the connection must be pinned.
    pub pins: bool,
    /// An earlier packet may have told otherwise: there may be a pin.
    pub pinned: bool,
}

const SHARE_BITS: u32 = 20;
const PINS: u64 = 1 << 63;
const PINNED: u64 = 1 << 62;

impl Decision {
    /// No audience.
    #[inline(always)]
    pub const fn none(share_ppm: u32) -> Self {
        Self {
            number: 0,
            share_ppm,
            pins: false,
            pinned: false,
        }
    }

    /// In one register, for a function of the packet path that is not inlined.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        let flags = if self.pins { PINS } else { 0 } | if self.pinned { PINNED } else { 0 };
        self.share_ppm as u64 | (self.number as u64) << SHARE_BITS | flags
    }

    /// From [`Self::bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            number: (bits >> SHARE_BITS & 0xffff) as u32,
            share_ppm: (bits & ((1 << SHARE_BITS) - 1)) as u32,
            pins: bits & PINS != 0,
            pinned: bits & PINNED != 0,
        }
    }
}

impl AudienceSet {
    /// A set of these rules, each with whether it names sources; at most [`RULES`].
    pub fn new(rules: &[(Rule, bool)], prefixes: Prefixes) -> Self {
        let mut set = Self {
            prefixes,
            present: 0,
            by_source: 0,
            by_opening: 0,
            conditions: 0,
            rules: [Rule::new(0, 0); RULES as usize],
        };
        for (index, (rule, sources)) in rules.iter().take(RULES as usize).enumerate() {
            let bit = 1 << index;
            set.present |= bit;
            set.by_source |= if *sources { bit } else { 0 };
            set.by_opening |= if rule.needs(condition::OPENING) {
                bit
            } else {
                0
            };
            set.conditions |= rule.conditions;
            set.rules[index] = *rule;
        }
        set
    }

    /// The sources of all rules.
    pub const fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// The same set, its sources in a block at another place.
    #[must_use]
    pub const fn moved(mut self, base: u32) -> Self {
        self.prefixes = self.prefixes.moved(base);
        self
    }

    /// The rules, in their order.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        let present = self.present;
        let rules = self.rules.iter().enumerate();
        rules.filter_map(move |(index, rule)| (present >> index & 1 == 1).then_some(rule))
    }

    /// Whether some rule is decided by the first packet of a connection alone.
    #[inline(always)]
    pub const fn pins(&self) -> bool {
        self.by_opening != 0
    }

    /// All conditions of all rules.
    #[inline(always)]
    pub const fn conditions(&self) -> u32 {
        self.conditions
    }

    /// Whether any rule could hold for a packet whose source is among these.
    #[inline(always)]
    pub const fn concerns(&self, members: u32) -> bool {
        self.open(members) != 0
    }

    /// The rules that a packet may be in, a bit each: given which of them its source is among, and
    /// whether it decides for its connection.
    #[inline(always)]
    pub const fn candidates(&self, members: u32, decides: bool) -> u32 {
        let open = self.open(members);
        if decides {
            open
        } else {
            open & !self.by_opening
        }
    }

    /// What the set says of a packet whose first rule is the one at `index`, if it has one; without
    /// one, `share_ppm` stands.
    #[inline(always)]
    pub fn decision(&self, members: u32, index: Option<u32>, share_ppm: u32) -> Decision {
        let by_opening = self.open(members) & self.by_opening;
        let Some(index) = index else {
            return Decision {
                pinned: by_opening != 0,
                ..Decision::none(share_ppm)
            };
        };
        let rule = self.rule(index);
        let upto = by_opening & (u32::MAX >> ((31 - index) & 31));
        Decision {
            number: rule.number,
            share_ppm: rule.share_ppm,
            pins: upto >> index & 1 != 0,
            pinned: upto != 0,
        }
    }

    /// The rule at `index`, which is below [`RULES`]: a power of two, so that no branch is needed for
    /// the verifier to see it.
    #[inline(always)]
    pub const fn rule(&self, index: u32) -> &Rule {
        &self.rules[(index & (RULES - 1)) as usize]
    }

    #[inline(always)]
    const fn open(&self, members: u32) -> u32 {
        self.present & (members | !self.by_source)
    }
}

/// The first of these rules (a bit each) that is admitted.
#[inline(always)]
pub fn first(candidates: u32, admits: impl Fn(u32) -> bool) -> Option<u32> {
    for index in 0..RULES {
        let left = candidates >> index;
        if left == 0 {
            break;
        }
        if left & 1 != 0 && admits(index) {
            return Some(index);
        }
    }
    None
}
