//! Packets that are not for a VIP pass as if Serin were not there.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener},
    thread,
};

use anyhow::{Context, Result};
use serin_tests::{
    client, config::Attach, failure::Failure, netns::Namespace, ping::ping, server::Server,
};

use crate::{
    report::reason,
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(
    the_edge_itself_and_hosts_behind_it_are_reached_as_before,
    the_edges_own_connections_to_a_backends_port_work,
);

const EDGE: [&str; 2] = ["10.70.0.1", "fd70::1"];

fn the_edge_itself_and_hosts_behind_it_are_reached_as_before(attach: Attach) -> Result<()> {
    let stage = Stage::set(Way::Nat, attach)?;
    let clients = &stage.lab.clients;
    let backend = &stage.lab.backends[0];
    let _other = Server::start(backend, "v1", "other", 9090)?;

    for (vip, edge) in VIPS.into_iter().zip(EDGE) {
        let (from, edge): (_, IpAddr) = (user(1, vip), edge.parse()?);
        let behind = if vip.is_ipv4() {
            backend.v4
        } else {
            backend.v6
        };
        let elsewhere = SocketAddr::new(behind, 9090);

        assert_eq!(ping(clients, from, edge), Ok(()), "ping to the edge");
        assert_eq!(ping(clients, from, behind), Ok(()), "ping through the edge");
        assert_eq!(log_in(&stage.lab.edge, clients, from, edge)?, "welcome\n");
        let tcp = client::get(clients, from, elsewhere);
        let udp = client::ask_udp(clients, SocketAddr::new(from, 0), elsewhere);
        for answer in [tcp, udp] {
            assert_eq!(answer.map(|answer| answer.client), Ok(from), "past the VIP");
        }
        let unknown_port = client::get(clients, from, SocketAddr::new(vip.ip(), 22));
        assert_eq!(
            unknown_port,
            Err(Failure::Unreachable),
            "the kernel's own answer"
        );
    }
    for name in ["redirected", "reply_redirected"] {
        assert_eq!(reason(&stage.daemon, name)?, 0, "{name}");
    }
    Ok(())
}

/// A connection to the edge's own address, as by ssh.
fn log_in(edge: &Namespace, clients: &Namespace, from: IpAddr, to: IpAddr) -> Result<String> {
    let listener = {
        let _inside = edge.enter()?;
        TcpListener::bind((to, 22))?
    };
    let server = thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        Ok(stream.write_all(b"welcome\n")?)
    });
    let mut stream = client::connect(clients, SocketAddr::new(from, 0), SocketAddr::new(to, 22))
        .map_err(|failure| anyhow::anyhow!("{from} to {to}: {failure}"))?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    server.join().ok().context("the server panicked")??;
    Ok(said)
}

fn the_edges_own_connections_to_a_backends_port_work(attach: Attach) -> Result<()> {
    let stage = Stage::set(Way::Nat, attach)?;
    let backend = &stage.lab.backends[0];

    for (to, edge) in [(backend.v4, "10.72.0.1"), (backend.v6, "fd72::1")] {
        let (from, to): (IpAddr, _) = (edge.parse()?, SocketAddr::new(to, Way::Nat.port()));
        let tcp = client::get(&stage.lab.edge, from, to);
        let udp = client::ask_udp(&stage.lab.edge, SocketAddr::new(from, 0), to);

        for answer in [tcp, udp] {
            let answer = answer.map(|answer| (answer.backend, answer.client));
            assert_eq!(answer, Ok(("b1".to_owned(), from)));
        }
    }
    assert!(reason(&stage.daemon, "reply_local")? > 0);
    assert_eq!(
        client::get(&stage.lab.clients, user(1, VIPS[0]), VIPS[0]).map(|_| ()),
        Ok(())
    );
    Ok(())
}
