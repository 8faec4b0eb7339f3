//! Frames that take more than one of a driver's buffers (`xdp.frags`).

use std::net::SocketAddr;

use anyhow::Result;
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    topology::{FRONT, Lab, UPLINK},
};

use crate::{
    bulk::{self, Bulk},
    report,
    stage::{VIPS, user},
};

in_both_modes!(a_transfer_in_jumbo_frames_completes);

const MTU: usize = 9000;
/// What goes each way.
const LENGTH: usize = 16 << 20;

fn a_transfer_in_jumbo_frames_completes(attach: Attach) -> Result<()> {
    let lab = Lab::routed(2)?;
    widen(&lab)?;
    let _servers = Bulk::serve(&lab)?;
    let shop = Service::shop(&lab, "nat", bulk::PORT);
    let daemon = Daemon::run(&lab, attach, vec![shop])?;
    let sent = bulk::pattern(LENGTH);
    for vip in VIPS {
        let source = SocketAddr::new(user(1, vip), 0);
        let back = bulk::transfer(&lab.clients, source, vip, &sent)?;
        assert!(back == sent, "{} bytes from {vip}", back.len());
        let datagram = bulk::pattern(8900);
        let back = bulk::exchange(&lab.clients, source, vip, &datagram)?;
        assert!(back == datagram, "a datagram of {}", back.len());
    }
    let status = daemon.serin(&["status", "shop"])?;
    let of = |key| report::of_backend(&status, "b1", key);
    // Of both directions alike; acknowledgements, which are small, are most of the rest.
    assert!(of("bytes") + of("reply_bytes") > 4 * LENGTH as u64);
    for (bytes, packets) in [("bytes", "packets"), ("reply_bytes", "reply_packets")] {
        let mean = of(bytes) / of(packets);
        assert!(mean > 3500, "{mean} bytes a packet: {status}");
    }
    for name in ["too_big", "too_big_untold", "reply_too_big", "bad_length"] {
        assert_eq!(report::reason(&daemon, name)?, 0, "{name}");
    }
    for namespace in lab.backends.iter().map(|backend| &backend.namespace) {
        assert_eq!(namespace.checksum_errors()?, 0);
    }
    assert_eq!(lab.clients.checksum_errors()?, 0);
    Ok(())
}

fn widen(lab: &Lab) -> Result<()> {
    let set = |interface: &str| format!("link set {interface} mtu {MTU}");
    lab.edge.ip(&set(FRONT))?;
    lab.clients.ip(&set(UPLINK))?;
    for (number, backend) in lab.backends.iter().enumerate() {
        lab.edge.ip(&set(&format!("back{number}")))?;
        backend.namespace.ip(&set(UPLINK))?;
    }
    Ok(())
}
