//! Single clients and the embedded servers.

use std::net::SocketAddr;

use anyhow::Result;

use super::PORT;
use crate::{
    client::{self, Connection},
    failure::Failure,
    server::Server,
    topology::{Lab, VIP_V4, VIP_V6, client_v4, client_v6},
};

#[test]
fn clients_reach_a_backend_through_the_edge_over_both_families_and_protocols() -> Result<()> {
    let lab = Lab::routed(2)?;
    let backend = &lab.backends[1];
    let server = Server::start(backend, "v1", "b1", PORT)?;

    for (source, target) in [(client_v4(7), backend.v4), (client_v6(7), backend.v6)] {
        let target = SocketAddr::new(target, PORT);
        let tcp = client::get(&lab.clients, source, target).expect("an answer over TCP");
        let udp = client::ask_udp(&lab.clients, SocketAddr::new(source, 0), target)
            .expect("an answer over UDP");

        assert_eq!(tcp, udp);
        assert_eq!((tcp.backend.as_str(), tcp.client), ("b1", source));
    }
    assert_eq!(
        (server.connections(), server.requests(), server.datagrams()),
        (2, 2, 2)
    );
    Ok(())
}

#[test]
fn a_kept_connection_is_one_connection_and_dies_with_its_server() -> Result<()> {
    let lab = Lab::routed(1)?;
    let backend = &lab.backends[0];
    let server = Server::start(backend, "v1", "b1", PORT)?;
    let target = SocketAddr::new(backend.v4, PORT);

    let mut connection =
        Connection::open(&lab.clients, SocketAddr::new(client_v4(0), 4242), target).expect("open");
    connection.ask().expect("a first answer");
    connection.ask().expect("a second answer");

    assert_eq!(connection.source(), Ok(SocketAddr::new(client_v4(0), 4242)));
    assert_eq!((server.connections(), server.requests()), (1, 2));
    drop(server);
    assert!(matches!(
        connection.ask(),
        Err(Failure::ShortRead | Failure::Reset)
    ));
    let refused = client::get(&lab.clients, client_v4(1), target);
    assert_eq!(refused, Err(Failure::Refused));
    Ok(())
}

#[test]
fn in_a_flat_lab_a_backend_answers_for_the_vip_past_the_edge() -> Result<()> {
    let lab = Lab::flat(2)?;
    let backend = &lab.backends[1];
    let server = Server::start(backend, "v2", "g1", 80)?;
    // What Serin would do, done by the edge's own routing: the frame goes to the backend unchanged.
    lab.edge.ip(&format!(
        "route add {VIP_V4} via {}\nroute add {VIP_V6} via {}",
        backend.v4, backend.v6
    ))?;
    // Replies that came through the edge would end there.
    lab.edge.ip("route del 10.71.0.0/16\nroute del fd71::/48")?;

    for (source, vip) in [(client_v4(3), VIP_V4), (client_v6(3), VIP_V6)] {
        let target = SocketAddr::new(vip, 80);
        let tcp = client::get(&lab.clients, source, target).expect("an answer over TCP");
        let udp = client::ask_udp(&lab.clients, SocketAddr::new(source, 0), target)
            .expect("an answer over UDP");

        assert_eq!(tcp, udp);
        assert_eq!((tcp.version.as_str(), tcp.client), ("v2", source));
    }
    assert_eq!((server.connections(), server.datagrams()), (2, 2));
    Ok(())
}
