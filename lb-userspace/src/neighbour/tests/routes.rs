//! Which interface and which gateway a packet goes to.

use super::{
    super::Reach,
    SECOND, SOON,
    follower::{Follower, peer_mac},
    pair,
};

#[test]
fn backend_behind_a_gateway_has_the_gateways_mac() {
    let Some((edge, _peer)) = pair() else { return };
    edge.ip("route add 192.0.2.0/25 via 10.99.1.2\n\
             route add 192.0.2.128/25 via inet6 fd99:1::2\n\
             route add 2001:db8::/32 via fd99:1::2");

    let targets = ["192.0.2.1", "192.0.2.129", "2001:db8::1"];
    let follower = Follower::start(&edge, &targets);

    for target in targets {
        follower.until_via(target, peer_mac(1), SECOND);
    }
}

#[test]
fn gateway_of_a_next_hop_object_is_followed() {
    let Some((edge, peer)) = pair() else { return };
    edge.connect("e1", &peer, "p1", 2);
    edge.ip("nexthop add id 7 via 10.99.1.2 dev e0\nroute add 192.0.2.0/24 nhid 7");
    let follower = Follower::start(&edge, &["192.0.2.1", "10.99.2.2"]);
    follower.until_via("192.0.2.1", peer_mac(1), SECOND);
    follower.until_via("10.99.2.2", peer_mac(2), SECOND);

    edge.ip("nexthop replace id 7 via 10.99.2.2 dev e1");

    follower.until_via("192.0.2.1", peer_mac(2), SOON);
}

#[test]
fn route_that_moves_to_another_interface_is_followed() {
    let Some((edge, peer)) = pair() else { return };
    edge.connect("e1", &peer, "p1", 2);
    edge.ip("route add 192.0.2.0/24 via 10.99.1.2\nroute add 2001:db8::/32 via fd99:1::2");
    // The second gateway is known already, so that only the route is measured.
    let targets = ["192.0.2.1", "2001:db8::1", "10.99.2.2", "fd99:2::2"];
    let follower = Follower::start(&edge, &targets);
    follower.until_via("192.0.2.1", peer_mac(1), SECOND);
    follower.until_via("2001:db8::1", peer_mac(1), SECOND);
    follower.until_via("10.99.2.2", peer_mac(2), SECOND);
    follower.until_via("fd99:2::2", peer_mac(2), SECOND);

    edge.ip("route replace 192.0.2.0/24 via 10.99.2.2");
    follower.until_via("192.0.2.1", peer_mac(2), SOON);

    edge.ip("route replace 2001:db8::/32 via fd99:2::2");
    follower.until_via("2001:db8::1", peer_mac(2), SOON);
}

#[test]
fn mtu_is_the_routes_where_it_is_the_smaller_one() {
    let Some((edge, _peer)) = pair() else { return };
    edge.ip("route add 192.0.2.0/25 via 10.99.1.2 mtu 1400\n\
             route add 192.0.2.128/25 via 10.99.1.2 mtu 9000\n\
             route add 2001:db8::/32 via fd99:1::2 mtu lock 1300");
    let expected = [
        ("192.0.2.1", 1400),
        ("192.0.2.129", 1500),
        ("2001:db8::1", 1300),
        ("fd99:1::2", 1500),
    ];
    let follower = Follower::start(&edge, &expected.map(|(target, _)| target));
    let until = |expected: [(&str, u32); 4], limit| {
        follower.until("the MTUs", limit, |view| {
            expected.iter().all(|(target, expected)| {
                let target = target.parse().expect("an address");
                let reach = view.reach.get(&target);
                matches!(reach, Some(Reach::Via(hop)) if hop.mtu == *expected)
            })
        });
    };
    until(expected, SECOND);

    edge.ip("link set e0 mtu 1350");

    let smaller = expected.map(|(target, mtu)| (target, mtu.min(1350)));
    until(smaller, SECOND);
}

#[test]
fn policy_rule_is_followed() {
    let Some((edge, peer)) = pair() else { return };
    edge.connect("e1", &peer, "p1", 2);
    edge.ip("route add 192.0.2.0/24 via 10.99.1.2\n\
             route add 192.0.2.0/24 via 10.99.2.2 table 77");
    let follower = Follower::start(&edge, &["192.0.2.1", "10.99.2.2"]);
    follower.until_via("192.0.2.1", peer_mac(1), SECOND);

    edge.ip("rule add to 192.0.2.0/24 table 77");

    follower.until_via("192.0.2.1", peer_mac(2), SECOND);
}

#[test]
fn own_missing_and_tunnelled_addresses_are_told_apart() {
    let Some((edge, _peer)) = pair() else { return };
    edge.ip("tuntap add dev t0 mode tun\nlink set t0 up\n\
             route add 198.51.100.0/25 dev t0\n\
             route add blackhole 198.51.100.128/25\n\
             route add unreachable 2001:db8:1::/48");

    let (local, routeless) = (
        ["10.99.1.1", "fd99:1::1", "127.0.0.1", "::1"],
        [
            "203.0.113.1",
            "2001:db8:2::1",
            "198.51.100.1",
            "198.51.100.129",
            "2001:db8:1::1",
        ],
    );
    let follower = Follower::start(&edge, &[local.as_slice(), &routeless].concat());

    for address in local {
        follower.until_reach(address, &Reach::Local, SECOND);
    }
    for address in routeless {
        follower.until_reach(address, &Reach::NoRoute, SECOND);
    }
}
