//! The lab for `nat`: the edge is the gateway of both sides.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Backend, CLIENTS_ROUTES, FRONT, FRONT_MAC, Lab, UPLINK, addresses};
use crate::{
    mac::Mac,
    netns::Namespace,
    serial::Turn,
    veth::{self, End},
    xdp_pass::PassLink,
};

pub(super) fn build(backends: u8, turn: Turn) -> Result<Lab> {
    let clients = super::clients()?;
    let edge = super::edge()?;
    let mut passes = vec![join_clients(&clients, &edge)?];
    let mut edge_interfaces = vec![FRONT.to_owned()];
    let mut built = Vec::new();
    for number in 0..backends {
        let backend = backend(number)?;
        passes.push(join(&edge, &backend, number)?);
        built.push(backend);
        edge_interfaces.push(interface(number));
    }
    Ok(Lab {
        clients,
        edge,
        backends: built,
        edge_interfaces,
        _switch: None,
        passes,
        _turn: turn,
    })
}

fn join_clients(clients: &Namespace, edge: &Namespace) -> Result<PassLink> {
    let far = super::clients_end(clients);
    let front = End {
        namespace: edge,
        interface: FRONT,
        mac: FRONT_MAC,
        addresses: &["10.70.0.1/24", "fd70::1/64"],
    };
    veth::connect(&front, &far)?;
    clients.ip(CLIENTS_ROUTES)?;
    edge.ip(&routes_to_clients())?;
    far.pass()
}

/// The edge's.
pub(super) fn routes_to_clients() -> String {
    format!(
        "route add {} via 10.70.0.2\nroute add {} via fd70::2",
        addresses::CLIENTS_V4,
        addresses::CLIENTS_V6,
    )
}

fn backend(number: u8) -> Result<Backend> {
    let v4 = Ipv4Addr::new(10, 72, number, 2).into();
    let v6 = Ipv6Addr::new(0xfd72, 0, 0, number.into(), 0, 0, 0, 2).into();
    Ok(Backend {
        namespace: super::host(&format!("backend{number}"))?,
        v4,
        v6,
        mac: Mac::local(1, number),
        served: vec![v4, v6],
    })
}

/// The edge's interface to a backend.
fn interface(number: u8) -> String {
    format!("back{number}")
}

/// Joins a backend to the edge, and makes the edge its gateway.
pub(super) fn join(edge: &Namespace, backend: &Backend, number: u8) -> Result<PassLink> {
    let uplink = End {
        namespace: &backend.namespace,
        interface: UPLINK,
        mac: backend.mac,
        addresses: &[&format!("{}/24", backend.v4), &format!("{}/64", backend.v6)],
    };
    let back = End {
        namespace: edge,
        interface: &interface(number),
        mac: Mac::local(2, number),
        addresses: &[
            &format!("10.72.{number}.1/24"),
            &format!("fd72:0:0:{number:x}::1/64"),
        ],
    };
    veth::connect(&back, &uplink)?;
    backend.namespace.ip(&format!(
        "route add default via 10.72.{number}.1\nroute add default via fd72:0:0:{number:x}::1"
    ))?;
    uplink.pass()
}
