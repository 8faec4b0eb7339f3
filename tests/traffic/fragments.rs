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
};

in_both_modes!(a_datagram_in_pieces_and_its_answer_arrive_whole);

/// Users who send one of each length.
const USERS: u32 = 20;

fn a_datagram_in_pieces_and_its_answer_arrive_whole(attach: Attach) -> Result<()> {
    let lab = Lab::routed(4)?;
    let _servers = Bulk::serve(&lab)?;
    let shop = Service::shop(&lab, "nat", bulk::PORT);
    let daemon = Daemon::run(&lab, attach, vec![shop])?;
    for vip in VIPS {
        for number in 0..USERS {
            for length in [1473, 4000, 20_000] {
                let sent = bulk::pattern(length);
                let source = SocketAddr::new(user(number, vip), 0);
                let back = bulk::exchange(&lab.clients, source, vip, &sent)?;
                assert!(back == sent, "{length} bytes to {vip}");
            }
        }
    }
    for name in [
        "fragment",
        "fragment_unknown",
        "fragment_overlap",
        "no_port",
    ] {
        assert_eq!(reason(&daemon, name)?, 0, "{name}");
    }
    for namespace in lab.backends.iter().map(|backend| &backend.namespace) {
        assert_eq!(namespace.checksum_errors()?, 0);
    }
    assert_eq!(lab.clients.checksum_errors()?, 0);
    Ok(())
}
