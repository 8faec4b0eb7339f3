use std::{
    collections::{BTreeSet, HashMap},
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{Ipv4Net, Ipv6Net};
use lb_common::{address::Address, hash::mix};
use proptest::prelude::*;

use super::*;

/// The members of an address, by looking at every prefix.
fn naive(prefixes: &[(IpNet, u32)], address: IpAddr) -> u32 {
    let covering = prefixes.iter().filter(|(net, _)| net.contains(&address));
    covering.fold(0, |all, (_, members)| all | members)
}

fn members(compiled: &(Prefixes, Block), address: IpAddr) -> u32 {
    let found = compiled
        .0
        .members(&compiled.1, &Address::from(address), address.is_ipv6());
    found.expect("every way ends at a word")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a literal prefix")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("a literal address")
}

#[test]
fn overlapping_prefixes_add_up() {
    let compiled = compile([
        (net("10.0.0.0/8"), 1),
        (net("10.1.0.0/16"), 2),
        (net("10.1.2.3/32"), 4),
        (net("10.1.0.0/16"), 8),
    ]);
    for (at, expected) in [
        ("9.255.255.255", 0),
        ("10.0.0.0", 1),
        ("10.1.0.0", 11),
        ("10.1.2.3", 15),
        ("10.1.2.4", 11),
        ("10.2.0.0", 1),
        ("11.0.0.0", 0),
        ("2001:db8::1", 0),
    ] {
        assert_eq!(members(&compiled, address(at)), expected, "{at}");
    }
}

#[test]
fn prefixes_longer_than_64_bits_are_told_apart() {
    let compiled = compile([
        (net("64:ff9b::198.51.100.0/120"), 1),
        (net("2001:db8::/64"), 2),
        (net("2001:db8::8:0:0/96"), 4),
        (net("2001:db8:0:1::1/128"), 8),
        (net("2001:db8:0:2::/63"), 16),
        (net("ffff:ffff:ffff:ffff:ffff::/80"), 32),
    ]);
    for (at, expected) in [
        ("64:ff9b::198.51.99.255", 0),
        ("64:ff9b::198.51.100.7", 1),
        ("64:ff9b::198.51.101.0", 0),
        ("2001:db8::7", 2),
        ("2001:db8::8:0:1", 6),
        ("2001:db8::9:0:0", 2),
        ("2001:db8:0:1::", 0),
        ("2001:db8:0:1::1", 8),
        ("2001:db8:0:1::2", 0),
        ("2001:db8:0:3::2", 16),
        ("2001:db8:0:4::", 0),
        ("ffff:ffff:ffff:ffff:fffe::", 0),
        ("ffff:ffff:ffff:ffff:ffff::", 32),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 32),
    ] {
        assert_eq!(members(&compiled, address(at)), expected, "{at}");
    }
}

#[test]
fn everything_and_nothing_are_sets_as_well() {
    let all = compile([(net("0.0.0.0/0"), 1), (net("::/0"), 2)]);
    let none = compile([]);
    for at in ["0.0.0.0", "255.255.255.255", "192.0.2.1"] {
        assert_eq!(
            (members(&all, address(at)), members(&none, address(at))),
            (1, 0)
        );
    }
    for at in [
        "::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "::ffff:192.0.2.1",
    ] {
        assert_eq!(
            (members(&all, address(at)), members(&none, address(at))),
            (2, 0)
        );
    }
    assert!(none.1.words().is_empty());
}

/// `count` prefixes that look random, below a base of `bits` bits.
fn random(count: u64, v6: bool, bits: u8) -> Vec<(IpNet, u32)> {
    let prefix = |n: u64| {
        let wide = u128::from(mix(2 * n)) << 64 | u128::from(mix(2 * n + 1));
        let members = 1 << (mix(n ^ 0x55) % 32);
        let spread = u8::try_from(mix(n ^ 0xaa) % 29).expect("below 29");
        let prefix: IpNet = if v6 {
            let base = u128::from_be_bytes(
                *b"\x20\x01\x0d\xb8\x77\x55\x33\x11\x99\xaa\xbb\xcc\xdd\xee\xff\x10",
            );
            let kept = !0_u128 << (128 - bits);
            let at = Ipv6Addr::from_bits(base & kept | wide & !kept);
            Ipv6Net::new(at, (bits + spread + 20).min(128))
                .expect("short enough")
                .trunc()
                .into()
        } else {
            let at = Ipv4Addr::from_bits((wide >> 96) as u32);
            Ipv4Net::new(at, (bits + spread).min(32))
                .expect("short enough")
                .trunc()
                .into()
        };
        (prefix, members)
    };
    (0..count).map(prefix).collect()
}

/// Addresses at and beside the edges of prefixes, and some that are anywhere.
fn probes(prefixes: &[(IpNet, u32)], count: u64) -> impl Iterator<Item = IpAddr> {
    let beside = |at: IpAddr, step: i8| match at {
        IpAddr::V4(at) => Ipv4Addr::from_bits(at.to_bits().wrapping_add_signed(step.into())).into(),
        IpAddr::V6(at) => Ipv6Addr::from_bits(at.to_bits().wrapping_add_signed(step.into())).into(),
    };
    (0..count).map(move |n| {
        let (net, _) = prefixes[usize::try_from(mix(n)).expect("64 bits") % prefixes.len()];
        match n % 5 {
            0 => beside(net.network(), -1),
            1 => net.network(),
            2 => net.broadcast(),
            3 => beside(net.broadcast(), 1),
            _ if net.network().is_ipv6() => {
                Ipv6Addr::from_bits(u128::from(mix(n)) << 64 | u128::from(n)).into()
            }
            _ => Ipv4Addr::from_bits((mix(n) >> 32) as u32).into(),
        }
    })
}

/// The members of an address by the longest prefixes of each length: fast enough for 100 000.
struct Lengths {
    lengths: BTreeSet<u8>,
    members: HashMap<(u8, IpAddr), u32>,
}

impl Lengths {
    fn new(prefixes: &[(IpNet, u32)]) -> Self {
        let mut all = HashMap::new();
        for (net, members) in prefixes {
            *all.entry((net.prefix_len(), net.network())).or_insert(0) |= members;
        }
        Self {
            lengths: all.keys().map(|&(length, _)| length).collect(),
            members: all,
        }
    }

    fn members(&self, address: IpAddr) -> u32 {
        let lengths = self.lengths.iter().filter_map(|&length| {
            let net = IpNet::new(address, length).expect("short enough").trunc();
            self.members.get(&(length, net.network()))
        });
        lengths.fold(0, |all, members| all | members)
    }
}

#[test]
fn a_hundred_thousand_prefixes_are_found_as_by_a_naive_search() {
    for (v6, bits) in [(false, 14), (true, 3), (true, 32), (true, 64), (true, 100)] {
        let prefixes = random(100_000, v6, bits);
        let compiled = compile(prefixes.iter().copied());
        let model = Lengths::new(&prefixes);
        let mut hits = 0;
        for at in probes(&prefixes, 100_000) {
            let expected = model.members(at);
            assert_eq!(members(&compiled, at), expected, "{at}, below /{bits}");
            hits += u32::from(expected != 0);
        }
        assert!(
            (20_000..100_000).contains(&hits),
            "{hits} addresses were in some prefix"
        );
        let words = compiled.1.words().len();
        assert!(words < 900_000, "{words} words below /{bits}");
    }
}

fn any_net() -> impl Strategy<Value = IpNet> {
    // Few bits that differ, so that prefixes meet and nest.
    let v4 = (any::<u32>(), 0..=32_u8).prop_map(|(bits, length)| {
        let at = Ipv4Addr::from_bits(bits & 0xc000_0303);
        Ipv4Net::new(at, length)
            .expect("short enough")
            .trunc()
            .into()
    });
    let v6 = (any::<u128>(), 0..=128_u8).prop_map(|(bits, length)| {
        let at = Ipv6Addr::from_bits(bits & 0xc000_0000_0000_0003_8000_0000_0000_0003);
        Ipv6Net::new(at, length)
            .expect("short enough")
            .trunc()
            .into()
    });
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn a_block_answers_as_a_look_at_every_prefix(
        prefixes in prop::collection::vec((any_net(), any::<u32>()), 1..60),
        others in prop::collection::vec(any_net(), 20),
    ) {
        let compiled = compile(prefixes.iter().copied());
        let others = others.iter().map(IpNet::network);
        for at in probes(&prefixes, 200).chain(others) {
            prop_assert_eq!(members(&compiled, at), naive(&prefixes, at), "{}", at);
        }
    }
}
