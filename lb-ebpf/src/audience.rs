//! Audiences: clients that get an answer of their own, before the share is asked.
//!
//! Some conditions hold for a connection's first packet only: later ones announce no segment size,
//! and may have another DSCP or TTL. A rule with such a condition is decided by the first packet
//! alone, which pins the connection; later packets look for the pin and skip the rule. A service
//! whose rules have no such condition pins nothing for them.
//!
//! The work is done by global functions, one after the other: the verifier looks at each of them
//! once, whatever is known of the packet where it is called (it would look at an inlined one, or a
//! static one, for every way that leads there), and a service without audiences has its registers
//! to itself. Their arguments are numbers, which need no further proof.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    audience::{self, Decision, Marks, NO_VLAN, condition},
    protocol,
    release::Record,
};

use crate::{
    maps::AUDIENCE_SETS,
    packet::Packet,
    parse::{ETHERNET, Parsed, TAG},
    source,
};

/// Bytes of a TCP header without options.
const TCP: usize = 20;
/// TCP options that are walked in search of the segment size; every known stack sends it first.
const MAX_OPTIONS: usize = 10;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// In the argument of a function that tells what the packet is: it has IPv6.
const V6: u64 = 1 << 32;
/// It begins a connection.
const OPENS: u64 = 1 << 33;
/// It decides by itself.
const DECIDES: u64 = 1 << 34;

/// The candidate's share among the clients of one packet, by its audience or by the record.
pub struct Shares {
    /// What the current set says, or the record.
    pub now: Decision,
    /// The share at the last settled state.
    pub origin_ppm: u32,
}

impl Shares {
    /// Those of a service without audiences.
    #[inline(always)]
    pub const fn of(record: &Record) -> Self {
        Self {
            now: Decision::none(record.share_ppm),
            origin_ppm: record.origin_share_ppm,
        }
    }
}

/// The shares that hold for a packet; one that begins a connection, or stands for itself, `decides`.
#[inline(always)]
pub fn shares(packet: &Packet<'_>, parsed: &Parsed, record: &Record, decides: bool) -> Shares {
    let [set, origin] = record.audience_sets();
    let now = decide(packet, parsed, set, record.share_ppm, decides);
    let origin_ppm = if set == origin {
        match now.number {
            0 => record.origin_share_ppm,
            _ => now.share_ppm,
        }
    } else {
        decide(packet, parsed, origin, record.origin_share_ppm, false).share_ppm
    };
    Shares { now, origin_ppm }
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "members are the lower half"
)]
fn decide(packet: &Packet<'_>, parsed: &Parsed, set: u32, share: u32, decides: bool) -> Decision {
    let Some(rules) = AUDIENCE_SETS.get(set).filter(|_| set != 0) else {
        return Decision::none(share);
    };
    let members = source::members(rules.prefixes(), &parsed.source, parsed.v6);
    // Most clients are in no audience.
    if !rules.concerns(members as u32) {
        return Decision::none(share);
    }
    let mut kind = if parsed.v6 { V6 } else { 0 };
    if decides {
        kind |= DECIDES;
    }
    if parsed.opens && parsed.protocol == protocol::TCP {
        kind |= OPENS;
    }
    let needs = rules.conditions() & (condition::VLAN | condition::DSCP | condition::MSS);
    let shown = if needs == 0 {
        0
    } else {
        let places = (parsed.network as u64) << 32 | parsed.transport as u64;
        serin_shown(packet.context().ctx, places, u64::from(needs) | kind)
    };
    let port = u64::from(u16::from_ne_bytes(parsed.source_port));
    let given = u64::from(share) | port << 32 | u64::from(parsed.hops) << 48;
    let decision = serin_audience(u64::from(set) | kind, members, shown, given);
    Decision::from_bits(decision)
}

/// The first audience of a set (in the lower half of `set`) that a packet is in, as
/// [`Decision::bits`]: by the audiences that its source is among, by what [`serin_shown`] has found,
/// and by the share without an audience, the source port and the hop limit.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are taken out of words"
)]
pub extern "C" fn serin_audience(set: u64, members: u64, shown: u64, given: u64) -> u64 {
    let (share, members) = (given as u32, members as u32);
    let Some(rules) = AUDIENCE_SETS.get(set as u32) else {
        return Decision::none(share).bits();
    };
    let admits = |index| rules.rule(index).is_plain() || serin_rule(set, index, shown, given) != 0;
    let found = audience::first(rules.candidates(members, set & DECIDES != 0), admits);
    rules.decision(members, found, share).bits()
}

/// 1 if the conditions of a rule hold, beyond its sources; the arguments are those of
/// [`serin_audience`]. Were it part of the loop over rules, the compiler would work out before the loop
/// whatever is the same for all rules, and keep it on the stack.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are taken out of words"
)]
extern "C" fn serin_rule(set: u64, index: u32, shown: u64, given: u64) -> u64 {
    let Some(rules) = AUDIENCE_SETS.get(set as u32) else {
        return 0;
    };
    let marks = Marks {
        source_port: ((given >> 32) as u16).to_ne_bytes(),
        vlan: [shown as u16, (shown >> 16) as u16],
        mss: (shown >> 32) as u16,
        dscp: (shown >> 48) as u8,
        hops: (given >> 48) as u8,
    };
    rules.rule(index).admits(&marks).into()
}

/// What a frame shows beyond its addresses and ports: the ids of its tags, the segment size, and
/// the DSCP, from the lowest bit on. `places` has where the IP header starts above where the
/// transport header does; only what `needs` asks for is looked up.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are taken out of words"
)]
pub extern "C" fn serin_shown(ctx: *mut xdp_md, places: u64, needs: u64) -> u64 {
    let context = XdpContext::new(ctx);
    let packet = Packet::new(&context);
    let (network, transport) = ((places >> 32) as usize, places as u32 as usize);
    let asks = |condition: u32| needs & u64::from(condition) != 0;
    let mut shown = u64::from(NO_VLAN) | u64::from(NO_VLAN) << 16;
    if asks(condition::VLAN) {
        shown = vlan(&packet, network, 0) | vlan(&packet, network, 1) << 16;
    }
    if asks(condition::MSS) && needs & OPENS != 0 {
        shown |= u64::from(mss(&packet, transport).unwrap_or(0)) << 32;
    }
    if asks(condition::DSCP) {
        shown |= u64::from(dscp(&packet, network, needs & V6 != 0).unwrap_or(0)) << 48;
    }
    shown
}

/// The id of a tag (IEEE 802.1Q): the lower 12 bits behind the tag's type.
#[inline(always)]
fn vlan(packet: &Packet<'_>, network: usize, tag: usize) -> u64 {
    if network < ETHERNET + (tag + 1) * TAG {
        return u64::from(NO_VLAN);
    }
    let word = packet.read::<u16>(ETHERNET + tag * TAG);
    u64::from(word.map_or(NO_VLAN, |word| u16::from_be(word) & 0xfff))
}

/// The upper six bits of the type of service, or of the traffic class (RFC 2474).
#[inline(always)]
fn dscp(packet: &Packet<'_>, network: usize, v6: bool) -> Option<u8> {
    let [first, second] = packet.read::<[u8; 2]>(network)?;
    Some(if v6 {
        (first << 2 | second >> 6) & 0x3f
    } else {
        second >> 2
    })
}

/// The segment size that a SYN announces (RFC 9293, section 3.7.1).
#[inline(always)]
fn mss(packet: &Packet<'_>, transport: usize) -> Option<u16> {
    // Two bytes: the verifier takes no range from a comparison that allows for one alone.
    let [offset, _] = packet.read::<[u8; 2]>(transport + 12)?;
    let end = transport + usize::from(offset >> 4) * 4;
    let mut at = transport + TCP;
    for _ in 0..MAX_OPTIONS {
        if at + 4 > end {
            break;
        }
        let [kind, length, high, low] = packet.read::<[u8; 4]>(at)?;
        match kind {
            OPTION_END => break,
            OPTION_NOP => at += 1,
            OPTION_MSS if length == 4 => return Some(u16::from_be_bytes([high, low])),
            _ if length < 2 => break,
            _ => at += usize::from(length),
        }
    }
    None
}
