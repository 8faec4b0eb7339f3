//! Many prefixes, by the loaded program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use lb_common::hash::mix;

use super::*;
use crate::world::{Family, vip};

const PREFIXES: u64 = 100_000;

fn prefix(number: u64, v6: bool) -> IpNet {
    let length = u8::try_from(mix(number ^ 0xaa) % 16).expect("below 16");
    if v6 {
        let at = Ipv6Addr::from_bits(0x20 << 120 | u128::from(mix(number)) << 56);
        // A few are longer than the half that is looked at first.
        let length = if number.is_multiple_of(50) {
            70 + length
        } else {
            24 + length
        };
        Ipv6Net::new(at, length)
            .expect("short enough")
            .trunc()
            .into()
    } else {
        let at = Ipv4Addr::from_bits((mix(number) >> 32) as u32);
        Ipv4Net::new(at, 16 + length)
            .expect("short enough")
            .trunc()
            .into()
    }
}

#[test]
fn of_a_hundred_thousand_prefixes_every_edge_is_where_it_should_be() {
    for (family, v6) in [(Family::V4, false), (Family::V6, true)] {
        let all: Vec<IpNet> = (0..PREFIXES).map(|number| prefix(number, v6)).collect();
        let mut lab = Lab::new(&image(&[(staff(1), all.clone())]));
        let mut sorted = all.clone();
        sorted.sort_by_key(IpNet::network);
        let mut hits = 0;
        for number in 0..20_000_u64 {
            let net = all[usize::try_from(number * 5).expect("64 bits")];
            let at = match number % 4 {
                0 => net.network(),
                1 => net.broadcast(),
                2 => above(net.broadcast()),
                _ => prefix(mix(number), v6).network(),
            };
            if is_martian(at) {
                continue;
            }
            let expected = covered(&all, &sorted, at);
            let frame = Frame::syn(SocketAddr::new(at, 4000), vip(family));
            let (_, out) = lab.pass_through(&frame.bytes());
            assert_eq!(chosen(&out) == NEW, expected, "{at}");
            hits += u32::from(expected);
        }
        assert!((10_000..19_900).contains(&hits), "{hits} were in a prefix");
    }
}

/// No client has such an address, so no packet gets as far as an audience.
fn is_martian(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first == 0 || v4.is_loopback() || v4.is_link_local() || first >= 224
        }
        IpAddr::V6(_) => false,
    }
}

fn above(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add(1)).into(),
    }
}

/// By the prefixes that begin at or below the address, nearest first, as far as any can reach.
fn covered(all: &[IpNet], sorted: &[IpNet], at: IpAddr) -> bool {
    debug_assert_eq!(all.len(), sorted.len());
    let end = sorted.partition_point(|net| net.network() <= at);
    let shortest = if at.is_ipv6() { 24 } else { 16 };
    let reach = IpNet::new(at, shortest).expect("short enough").trunc();
    let near = sorted[..end].iter().rev();
    let mut near = near.take_while(|net| net.network() >= reach.network());
    near.any(|net| net.contains(&at))
}
