//! Interfaces that come, go and change.

use super::{
    super::{Hop, Link, Reach},
    LONG, SECOND, SOON,
    follower::{Follower, parse, peer_mac},
    pair,
};

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
        mtu: 1500,
    };
    follower.until("the new source", SECOND, |view| {
        view.reach[&target] == Reach::Via(hop)
    });
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
fn unresolved_neighbour_is_asked_for_when_its_link_comes_up() {
    let Some((edge, peer)) = pair() else { return };
    peer.ip("link set p0 down");
    let follower = Follower::start(&edge, &["10.99.1.2"]);
    let has_failed = || edge.ip("neigh show 10.99.1.2 dev e0").contains("FAILED");
    follower.until("the kernel to give up", LONG, |_| has_failed());

    peer.ip("link set p0 up");

    follower.until_via("10.99.1.2", peer_mac(1), 3 * SECOND);
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
    follower.until("no carrier", 3 * SECOND, |view| {
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
