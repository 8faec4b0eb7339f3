//! Next hops' MAC addresses, and the kernel's keeping of them.

use std::thread;

use super::{
    super::{Hop, Reach},
    LONG, SECOND, SOON,
    follower::{Follower, addresses, parse, peer_mac},
    pair,
};

#[test]
fn direct_neighbour_resolves_and_is_kept_by_the_kernel() {
    let Some((edge, _peer)) = pair() else { return };
    let follower = Follower::start(&edge, &["10.99.1.2", "fd99:1::2"]);
    let hop = Hop {
        ifindex: follower.ifindex("e0"),
        source_mac: [2, 0, 0, 0, 1, 1],
        next_hop_mac: peer_mac(1),
        mtu: 1500,
    };

    for address in ["10.99.1.2", "fd99:1::2"] {
        follower.until_reach(address, &Reach::Via(hop), SECOND);

        let entry = edge.ip(&format!("neigh show {address} dev e0"));
        assert!(entry.contains("managed"), "{entry}");
    }
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
        edge.sysctl(&format!("{family}/neigh/e0/delay_first_probe_time"), "1");
        edge.sysctl(&format!("{family}/neigh/e0/retrans_time_ms"), "200");
    }
    let follower = Follower::start(&edge, &["10.99.1.2", "fd99:1::2"]);
    follower.until_via("10.99.1.2", peer_mac(1), SECOND);
    follower.until_via("fd99:1::2", peer_mac(1), SECOND);

    peer.ip("link set p0 address 02:00:00:00:01:99");

    follower.until_via("10.99.1.2", [2, 0, 0, 0, 1, 0x99], 2 * LONG);
    follower.until_via("fd99:1::2", [2, 0, 0, 0, 1, 0x99], 2 * LONG);
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
    follower.until_via("10.99.1.3", peer_mac(1), LONG);
    follower.until_via("fd99:1::3", peer_mac(1), LONG);
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
