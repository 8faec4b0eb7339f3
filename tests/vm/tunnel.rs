//! Encapsulated packets, taken out by what every Linux has: `ipip`, `sit` and `ip6tnl` devices, and
//! a port of `fou`. The answers go straight to the clients, from the VIP on the backends' loopback.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow};
use lb_common::encap::GUE_PORT;
use serde_json::Value;
use serin_tests::{
    client,
    command::run,
    config::{Attach, Service},
    daemon::Daemon,
    server::Server,
    topology::{Backend, Lab, VIP_V4, VIP_V6, client_v4, client_v6},
};

/// Who asks, in each family.
const ASKING: u32 = 10;

/// How a service forwards, and whether to the backends' IPv6 addresses; each has a port of its own,
/// since a start takes long here.
const SERVICES: [(&str, bool, u16); 4] = [
    ("ipip", false, 81),
    ("ipip", true, 82),
    ("gue", false, 83),
    ("gue", true, 84),
];

#[test]
fn linux_takes_out_what_is_put_into_ipip_and_gue_of_either_family() -> Result<()> {
    let lab = Lab::flat(2)?;
    for backend in &lab.backends {
        make_devices(backend)?;
        open_ports(backend)?;
    }
    let backend = &lab.backends[0];
    let servers = SERVICES.map(|(.., port)| Server::start(backend, "v1", "b1", port));
    let _servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
    let services = SERVICES.map(|service| configured(&lab, service));
    let _daemon = Daemon::run(&lab, Attach::Native, services.into())?;
    // A reply that came to the edge would end there.
    let routes = "route del 10.71.0.0/16\nroute del fd71::/48";
    lab.edge.ip(routes)?;

    for (forward, outer_v6, port) in SERVICES {
        for (vip, device) in [VIP_V4, VIP_V6].into_iter().zip(devices(outer_v6)) {
            let before = received(backend, device)?;
            ask(&lab, SocketAddr::new(vip, port))
                .with_context(|| format!("{forward} by {device}"))?;
            let packets = received(backend, device)? - before;
            // Of each connection: SYN, ACK, request and FIN; and a datagram.
            let least = u64::from(ASKING) * 5;
            assert!(packets >= least, "{forward}: {packets} by {device}");
        }
    }
    let backends = lab.backends.iter().map(|backend| &backend.namespace);
    for namespace in backends.chain([&lab.clients]) {
        assert_eq!(namespace.checksum_errors()?, 0);
    }
    Ok(())
}

fn configured(lab: &Lab, (forward, outer_v6, port): (&str, bool, u16)) -> Service {
    let mut service = Service::shop(lab, forward, port);
    service.name = format!("shop{port}");
    let to_port = |listener: &mut String| listener.truncate(listener.len() - "80".len());
    service.listen.iter_mut().for_each(to_port);
    let with_port = service.listen.iter().map(|start| format!("{start}{port}"));
    service.listen = with_port.collect();
    let backends = service.pool.iter_mut().flat_map(|pool| &mut pool.backends);
    for backend in backends {
        backend
            .address
            .retain(|address| address.contains(':') == outer_v6);
    }
    service
}

/// What IPv4 and what IPv6 come out of, by the family of the outer addresses.
const fn devices(outer_v6: bool) -> [&'static str; 2] {
    if outer_v6 {
        ["anyin6", "anyin6"]
    } else {
        ["v4in4", "v6in4"]
    }
}

/// Tunnels to any other end. What has come out of one is an ordinary packet to the VIP.
fn make_devices(backend: &Backend) -> Result<()> {
    let Backend { v4, v6, .. } = backend;
    let ([v4_in_4, v6_in_4], [any_in_6, _]) = (devices(false), devices(true));
    backend.namespace.ip(&format!(
        "link add {v4_in_4} type ipip local {v4} mode ipip\n\
         link add {v6_in_4} type sit local {v4} mode ip6ip\n\
         link add {any_in_6} type ip6tnl local {v6} remote :: mode any\n\
         link set {v4_in_4} up\n\
         link set {v6_in_4} up\n\
         link set {any_in_6} up"
    ))
}

/// Variant 1 needs no device of its own: the port hands on what it takes out as if it had come by
/// the outer IP header.
fn open_ports(backend: &Backend) -> Result<()> {
    let port = GUE_PORT.to_string();
    for family in ["-4", "-6"] {
        let mut command = backend.namespace.command("ip");
        run(command.args([family, "fou", "add", "port", &port, "gue"]))?;
    }
    Ok(())
}

/// Each by TCP and by UDP.
fn ask(lab: &Lab, vip: SocketAddr) -> Result<()> {
    for number in 0..ASKING {
        let source = if vip.is_ipv6() {
            client_v6(number)
        } else {
            client_v4(number)
        };
        // Connected sockets: an answer that is not from the VIP is no answer.
        let tcp = client::get(&lab.clients, source, vip);
        let udp = client::ask_udp(&lab.clients, SocketAddr::new(source, 0), vip);
        for answer in [tcp, udp] {
            let answer = answer.map_err(|failure| anyhow!("{source}: {failure}"))?;
            assert_eq!((answer.version.as_str(), answer.client), ("v1", source));
        }
    }
    Ok(())
}

/// Packets that have come out of a tunnel.
fn received(backend: &Backend, device: &str) -> Result<u64> {
    let mut command = backend.namespace.command("ip");
    command.args(["-json", "-statistics", "link", "show", "dev", device]);
    let text = run(&mut command)?;
    let links: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let packets = links[0]["stats64"]["rx"]["packets"].as_u64();
    packets.with_context(|| format!("{device} has no statistics: {text}"))
}
