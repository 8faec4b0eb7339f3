//! Datagrams that are larger than the way takes at once travel in pieces, both ways.

use std::net::SocketAddr;

use anyhow::Result;
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    topology::Lab,
};

use crate::{
    bulk::{self, Bulk},
    report::reason,
    stage::{VIPS, user},
    tunnel::decapsulate,
};

in_both_modes!(
    a_datagram_in_pieces_and_its_answer_arrive_whole,
    datagrams_in_pieces_go_through_tunnels,
);

/// Users who send one of each length.
const USERS: u32 = 20;

fn a_datagram_in_pieces_and_its_answer_arrive_whole(attach: Attach) -> Result<()> {
    let lab = Lab::routed(4)?;
    let _servers = Bulk::serve(&lab)?;
    let shop = Service::shop(&lab, "nat", bulk::PORT);
    let daemon = Daemon::run(&lab, attach, vec![shop])?;
    exchange(&lab, 80)?;
    assert_unharmed(&lab, &daemon)
}

fn datagrams_in_pieces_go_through_tunnels(attach: Attach) -> Result<()> {
    for forward in ["ipip", "gue"] {
        let lab = Lab::flat(4)?;
        // Pieces have to leave room for the outer headers: nobody is told that a piece is too big.
        lab.clients
            .ip("route change default via 10.70.0.1 mtu 1400\n\
                 route change default via fd70::1 mtu 1400")?;
        let _decaps = decapsulate(&lab, attach)?;
        let _servers = Bulk::serve(&lab)?;
        let mut shop = Service::shop(&lab, forward, bulk::PORT);
        shop.listen = VIPS
            .map(|vip| format!("udp://{}", SocketAddr::new(vip.ip(), bulk::PORT)))
            .to_vec();
        let daemon = Daemon::run(&lab, attach, vec![shop])?;
        exchange(&lab, bulk::PORT)?;
        assert_unharmed(&lab, &daemon)?;
    }
    Ok(())
}

/// Datagrams of several lengths from each user, and each one's answer.
fn exchange(lab: &Lab, port: u16) -> Result<()> {
    for vip in VIPS {
        let vip = SocketAddr::new(vip.ip(), port);
        for number in 0..USERS {
            for length in [1473, 4000, 20_000] {
                let sent = bulk::pattern(length);
                let source = SocketAddr::new(user(number, vip), 0);
                let back = bulk::exchange(&lab.clients, source, vip, &sent)?;
                assert!(back == sent, "{length} bytes to {vip}");
            }
        }
    }
    Ok(())
}

fn assert_unharmed(lab: &Lab, daemon: &Daemon) -> Result<()> {
    for name in [
        "fragment",
        "fragment_unknown",
        "fragment_overlap",
        "no_port",
    ] {
        assert_eq!(reason(daemon, name)?, 0, "{name}");
    }
    for namespace in lab.backends.iter().map(|backend| &backend.namespace) {
        assert_eq!(namespace.checksum_errors()?, 0);
    }
    assert_eq!(lab.clients.checksum_errors()?, 0);
    Ok(())
}
