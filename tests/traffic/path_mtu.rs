//! A client behind a narrow link: the router before it tells the VIP what fits, and the server that
//! owns the connection must hear of it.

use std::net::SocketAddr;

use anyhow::Result;
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    mac::Mac,
    netns::Namespace,
    topology::Lab,
    veth::{self, End},
};

use crate::{
    bulk::{self, Bulk},
    report::reason,
    stage::VIPS,
};

in_both_modes!(a_download_over_a_narrow_link_completes);

/// Large enough to fill windows many times.
const LENGTH: usize = 4 << 20;

/// The client behind the router.
const FAR: [&str; 2] = ["10.73.0.2:0", "[fd73::2]:0"];

fn a_download_over_a_narrow_link_completes(attach: Attach) -> Result<()> {
    let lab = Lab::routed(4)?;
    let far = behind_a_narrow_link(&lab)?;
    let _servers = Bulk::serve(&lab)?;
    let shop = Service::shop(&lab, "nat", bulk::PORT);
    let daemon = Daemon::run(&lab, attach, vec![shop])?;
    let sent = bulk::pattern(LENGTH);
    for (vip, source) in VIPS.into_iter().zip(FAR) {
        let relayed = relayed(&daemon)?;
        let source: SocketAddr = source.parse()?;
        let back = bulk::transfer(&far, source, vip, &sent)?;
        assert!(back == sent, "{} bytes from {vip}", back.len());
        assert!(
            relayed < self::relayed(&daemon)?,
            "no error from {vip}'s side"
        );
    }
    for name in ["icmp_unrelated", "icmp_contradiction", "icmp_truncated"] {
        assert_eq!(reason(&daemon, name)?, 0, "{name}");
    }
    for namespace in lab.backends.iter().map(|backend| &backend.namespace) {
        assert_eq!(namespace.checksum_errors()?, 0);
    }
    Ok(())
}

fn relayed(daemon: &Daemon) -> Result<u64> {
    Ok(reason(daemon, "error_redirected")? + reason(daemon, "error_transmitted")?)
}

/// A host behind the clients' namespace, which becomes a router with a narrow way to it. The host
/// takes its own link for a usual one, and so asks for segments that do not fit.
fn behind_a_narrow_link(lab: &Lab) -> Result<Namespace> {
    let far = Namespace::create("far")?;
    let router = &lab.clients;
    for (path, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ] {
        router.sysctl(path, value)?;
    }
    let narrow = End {
        namespace: router,
        interface: "narrow",
        mac: Mac::local(5, 1),
        addresses: &["10.73.0.1/24", "fd73::1/64"],
    };
    let host = End {
        namespace: &far,
        interface: "uplink",
        mac: Mac::local(5, 2),
        addresses: &["10.73.0.2/24", "fd73::2/64"],
    };
    veth::connect(&narrow, &host)?;
    // Larger frames may come in, as over a real asymmetric way.
    router.ip("route add 10.73.0.2/32 dev narrow mtu lock 1300\n\
         route add fd73::2/128 dev narrow mtu lock 1300")?;
    far.ip("route add default via 10.73.0.1\nroute add default via fd73::1")?;
    lab.edge
        .ip("route add 10.73.0.0/24 via 10.70.0.2\nroute add fd73::/64 via fd70::2")?;
    router.wait_for_ipv6(2)?;
    far.wait_for_ipv6(1)?;
    Ok(far)
}
