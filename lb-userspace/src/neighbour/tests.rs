//! Real namespaces, veth pairs and routes; a watcher in one of them.

mod harness;
mod scale;

use std::{thread, time::Duration};

use self::harness::{Follower, Namespace, addresses, may_run, next_hop_mac, parse, peer_mac};
use super::{Hop, Link, Reach, survey};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(100);
const SECONDS: Duration = Duration::from_secs(15);

/// An edge host `e0` and a peer `p0` on 10.99.1.0/24 and `fd99:1::/64`.
fn pair() -> Option<(Namespace, Namespace)> {
    if !may_run() {
        return None;
    }
    let (edge, peer) = (Namespace::create("edge"), Namespace::create("peer"));
    edge.connect("e0", &peer, "p0", 1);
    Some((edge, peer))
}

#[test]
fn direct_neighbour_resolves_and_is_kept_by_the_kernel() {
    let Some((edge, _peer)) = pair() else { return };
    let follower = Follower::start(&edge, &["10.99.1.2", "fd99:1::2"]);
    let hop = Hop {
        ifindex: follower.ifindex("e0"),
        source_mac: [2, 0, 0, 0, 1, 1],
        next_hop_mac: peer_mac(1),
    };

    for address in ["10.99.1.2", "fd99:1::2"] {
        follower.until_reach(address, &Reach::Via(hop), SECOND);

        let entry = edge.ip(&format!("neigh show {address} dev e0"));
        assert!(entry.contains("managed"), "{entry}");
    }
}

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
fn announced_mac_change_is_followed_at_once() {
    let Some((edge, peer)) = pair() else { return };
    peer.sysctl("ipv4/conf/p0/arp_notify", "1");
    peer.sysctl("ipv6/conf/p0/ndisc_notify", "1");
    let follower = Follower::start(&edge, &["10.99.1.2", "fd99:1::2"]);
    follower.until_via("10.99.1.2", peer_mac(1), SECOND);
    follower.until_via("fd99:1::2", peer_mac(1), SECOND);

    peer.ip("link set p0 address 02:00:00:00:01:99");

    follower.until_via("10.99.1.2", [2, 0, 0, 0, 1, 0x99], SOON);
    follower.until_via("fd99:1::2", [2, 0, 0, 0, 1, 0x99], SOON);
}

#[test]
fn silent_mac_change_is_followed_once_the_entry_has_aged() {
    let Some((edge, peer)) = pair() else { return };
    for family in ["ipv4", "ipv6"] {
        // The kernel's defaults make it 30 to 60 seconds.
        edge.sysctl(&format!("{family}/neigh/e0/base_reachable_time_ms"), "1000");
        edge.sysctl(&format!("{family}/neigh/e0/interval_probe_time_ms"), "500");
        edge.sysctl(&format!("{family}/neigh/e0/delay_first_probe_time"), "1");
        edge.sysctl(&format!("{family}/neigh/e0/retrans_time_ms"), "200");
    }
    let follower = Follower::start(&edge, &["10.99.1.2", "fd99:1::2"]);
    follower.until_via("10.99.1.2", peer_mac(1), SECOND);
    follower.until_via("fd99:1::2", peer_mac(1), SECOND);

    peer.ip("link set p0 address 02:00:00:00:01:99");

    follower.until_via("10.99.1.2", [2, 0, 0, 0, 1, 0x99], SECONDS);
    follower.until_via("fd99:1::2", [2, 0, 0, 0, 1, 0x99], SECONDS);
}

#[test]
fn own_mac_change_is_followed() {
    let Some((edge, _peer)) = pair() else { return };
    let follower = Follower::start(&edge, &["10.99.1.2"]);
    follower.until_via("10.99.1.2", peer_mac(1), SECOND);
    let (ifindex, target) = (follower.ifindex("e0"), parse("10.99.1.2"));

    edge.ip("link set e0 address 02:00:00:00:01:77");

    let source_mac = [2, 0, 0, 0, 1, 0x77];
    let hop = Hop {
        ifindex,
        source_mac,
        next_hop_mac: peer_mac(1),
    };
    follower.until("the new source", SECOND, |view| {
        view.reach[&target] == Reach::Via(hop)
    });
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
fn interface_that_goes_and_comes_back_is_followed() {
    let Some((edge, peer)) = pair() else { return };
    let follower = Follower::start(&edge, &["10.99.1.2", "fd99:1::2"]);
    follower.until_via("10.99.1.2", peer_mac(1), SECOND);
    let first = follower.ifindex("e0");

    edge.ip("link del e0");
    follower.until("no e0", SOON, |view| !view.links.contains_key("e0"));
    follower.until_reach("10.99.1.2", &Reach::NoRoute, SOON);
    follower.until_reach("fd99:1::2", &Reach::NoRoute, SOON);

    edge.connect("e0", &peer, "p0", 1);
    // The first question may come before the peer has its address; the next is a second later.
    follower.until_via("10.99.1.2", peer_mac(1), 3 * SECOND);
    follower.until_via("fd99:1::2", peer_mac(1), 3 * SECOND);
    assert_ne!(follower.ifindex("e0"), first);
}

#[test]
fn absent_host_is_resolving_until_it_appears() {
    let Some((edge, peer)) = pair() else { return };
    let follower = Follower::start(&edge, &["10.99.1.3", "fd99:1::3"]);
    let resolving = Reach::Resolving {
        ifindex: follower.ifindex("e0"),
    };
    follower.until_reach("10.99.1.3", &resolving, SECOND);
    follower.until_reach("fd99:1::3", &resolving, SECOND);

    peer.ip("address add 10.99.1.3/24 dev p0\naddress add fd99:1::3/64 dev p0 nodad");

    // Nothing announces them: the kernel tries again every five seconds.
    follower.until_via("10.99.1.3", peer_mac(1), SECONDS);
    follower.until_via("fd99:1::3", peer_mac(1), SECONDS);
}

#[test]
fn unresolved_neighbour_is_asked_for_when_its_link_comes_up() {
    let Some((edge, peer)) = pair() else { return };
    peer.ip("link set p0 down");
    let follower = Follower::start(&edge, &["10.99.1.2"]);
    let has_failed = || edge.ip("neigh show 10.99.1.2 dev e0").contains("FAILED");
    follower.until("the kernel to give up", SECONDS, |_| has_failed());

    peer.ip("link set p0 up");

    follower.until_via("10.99.1.2", peer_mac(1), 3 * SECOND);
}

#[test]
fn deleted_neighbour_is_asked_for_again() {
    let Some((edge, _peer)) = pair() else { return };
    let follower = Follower::start(&edge, &["10.99.1.2"]);
    follower.until_via("10.99.1.2", peer_mac(1), SECOND);

    edge.ip("neigh del 10.99.1.2 dev e0");

    let limit = SECOND;
    let is_kept = || edge.ip("neigh show 10.99.1.2 dev e0").contains("managed");
    follower.until("the entry is back", limit, |_| is_kept());
    follower.until_via("10.99.1.2", peer_mac(1), limit);
}

#[test]
fn permanent_neighbour_is_used_and_left_alone() {
    let Some((edge, _peer)) = pair() else { return };
    edge.ip("neigh add 10.99.1.9 lladdr 02:00:00:00:00:09 dev e0 nud permanent");

    let follower = Follower::start(&edge, &["10.99.1.9"]);

    follower.until_via("10.99.1.9", [2, 0, 0, 0, 0, 9], SECOND);
    let entry = edge.ip("neigh show 10.99.1.9 dev e0");
    assert!(
        entry.contains("PERMANENT") && !entry.contains("managed"),
        "{entry}"
    );
}

#[test]
fn neighbour_that_no_target_needs_is_let_go() {
    let Some((edge, _peer)) = pair() else { return };
    let is_kept = || edge.ip("neigh show dev e0 10.99.1.2").contains("managed");
    let follower = Follower::start(&edge, &["10.99.1.2", "fd99:1::2"]);
    follower.until("the entry is kept", SECOND, |_| is_kept());

    follower.targets.send_replace(addresses(&["fd99:1::2"]));

    follower.until("the entry is let go", SECOND, |_| !is_kept());
    assert!(
        !follower
            .views
            .borrow()
            .reach
            .contains_key(&parse("10.99.1.2"))
    );
}

#[test]
fn neighbour_kept_before_a_restart_is_let_go_after_it() {
    let Some((edge, _peer)) = pair() else { return };
    let is_kept = || edge.ip("neigh show dev e0 10.99.1.2").contains("managed");
    let first = Follower::start(&edge, &["10.99.1.2"]);
    first.until("the entry is kept", SECOND, |_| is_kept());
    drop(first);
    assert!(
        is_kept(),
        "a daemon that dies leaves its next hops resolved"
    );

    let second = Follower::start(&edge, &["fd99:1::2"]);

    second.until("the entry is let go", SECOND, |_| !is_kept());
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

#[test]
fn link_state_is_followed() {
    let Some((edge, peer)) = pair() else { return };
    let follower = Follower::start(&edge, &[]);
    let link = Link {
        ifindex: follower.ifindex("e0"),
        up: true,
        mac: [2, 0, 0, 0, 1, 1],
        mtu: 1500,
    };
    follower.until("e0 up", SECOND, |view| view.links["e0"] == link);

    peer.ip("link set p0 down");
    follower.until("no carrier", SECOND, |view| {
        view.links["e0"] == Link { up: false, ..link }
    });

    peer.ip("link set p0 up");
    edge.ip("link set e0 mtu 1400");
    follower.until("a new MTU", SECOND, |view| {
        view.links["e0"] == Link { mtu: 1400, ..link }
    });

    edge.ip("link set e0 down\nlink set e0 name e9");
    follower.until("a new name", SECOND, |view| {
        !view.links.contains_key("e0") && view.links.get("e9").is_some_and(|link| !link.up)
    });
}

#[test]
fn lost_announcements_are_made_up_for() {
    let Some((edge, peer)) = pair() else { return };
    edge.connect("e1", &peer, "p1", 2);
    edge.ip("route add 192.0.2.0/24 via 10.99.1.2");
    let follower = Follower::start(&edge, &["192.0.2.1", "10.99.2.2"]);
    follower.until_via("192.0.2.1", peer_mac(1), SECOND);
    follower.until_via("10.99.2.2", peer_mac(2), SECOND);

    let gate = follower.stall();
    let storm = (0..4000).map(|n| format!("route add 172.16.{}.{}/32 dev e0", n / 256, n % 256));
    edge.ip(&storm.collect::<Vec<_>>().join("\n"));
    edge.ip("route replace 192.0.2.0/24 via 10.99.2.2");
    drop(gate);

    follower.until_via("192.0.2.1", peer_mac(2), 3 * SOON);
}

#[test]
fn survey_waits_for_neighbours_but_not_for_ever() {
    let Some((edge, _peer)) = pair() else { return };
    let targets = addresses(&["10.99.1.2", "fd99:1::2", "10.99.1.3"]);

    let (view, took) = edge.block_on(|| async {
        let begun = tokio::time::Instant::now();
        (survey(&targets, SECOND).await, begun.elapsed())
    });

    let view = view.expect("the kernel answers");
    assert_eq!(next_hop_mac(&view, parse("10.99.1.2")), Some(peer_mac(1)));
    assert_eq!(next_hop_mac(&view, parse("fd99:1::2")), Some(peer_mac(1)));
    assert!(matches!(
        view.reach[&parse("10.99.1.3")],
        Reach::Resolving { .. }
    ));
    assert!((SECOND..2 * SECOND).contains(&took), "{took:?}");
}

#[test]
fn survey_ends_as_soon_as_all_is_known() {
    let Some((edge, _peer)) = pair() else { return };
    let targets = addresses(&["10.99.1.2", "fd99:1::2", "10.99.1.1", "203.0.113.1"]);

    let view = edge.block_on(|| async {
        let survey = survey(&targets, 30 * SECOND);
        tokio::time::timeout(SECOND, survey)
            .await
            .expect("neighbours answer in a second")
    });

    let view = view.expect("the kernel answers");
    assert_eq!(next_hop_mac(&view, parse("fd99:1::2")), Some(peer_mac(1)));
    assert!(view.links["e0"].up);
}

#[test]
fn view_without_news_is_not_sent_again() {
    let Some((edge, _peer)) = pair() else { return };
    let follower = Follower::start(&edge, &["10.99.1.2"]);
    follower.until_via("10.99.1.2", peer_mac(1), SECOND);
    let mut views = follower.views.clone();
    views.mark_unchanged();

    edge.ip("address add 10.99.7.1/24 dev lo\nroute add 10.99.8.0/24 via 10.99.1.2");
    thread::sleep(3 * SOON);

    assert!(!views.has_changed().expect("the watcher runs"));
}
