//! The lab for `l2`: one Ethernet, on which replies bypass the edge.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{Backend, CLIENTS_ROUTES, FRONT, FRONT_MAC, Lab, UPLINK, VIP_V4, VIP_V6, addresses};
use crate::{
    mac::Mac,
    netns::Namespace,
    serial::Turn,
    veth::{self, End},
    xdp_pass::PassLink,
};

const BRIDGE: &str = "bridge";
const FIRST_BACKEND: u8 = 10;

pub(super) fn build(backends: u8, turn: Turn) -> Result<Lab> {
    let clients = super::clients()?;
    let edge = super::edge()?;
    let switch = switch()?;
    plug(&switch, 0, &super::clients_end(&clients))?;
    clients.ip(CLIENTS_ROUTES)?;
    let pass = plug_edge(&switch, &edge)?;
    let built = (0..backends).map(|number| plug_backend(&switch, number));
    Ok(Lab {
        backends: built.collect::<Result<_>>()?,
        clients,
        edge,
        edge_interfaces: vec![FRONT.to_owned()],
        _switch: Some(switch),
        passes: vec![pass],
        _turn: turn,
    })
}

fn switch() -> Result<Namespace> {
    let switch = super::host("switch")?;
    // Without snooping, neighbour solicitations reach every port from the first moment.
    switch.ip(&format!(
        "link add name {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set {BRIDGE} up"
    ))?;
    Ok(switch)
}

/// Joins an end to the switch. Only the edge's port needs a program: XDP sends to no other.
fn plug<'a>(switch: &'a Namespace, number: u8, end: &End) -> Result<PortOf<'a>> {
    let name = format!("port{number}");
    let port = End {
        namespace: switch,
        interface: &name,
        mac: Mac::local(3, number),
        addresses: &[],
    };
    veth::connect(&port, end)?;
    switch.ip(&format!("link set {name} master {BRIDGE}"))?;
    Ok(PortOf { switch, name })
}

struct PortOf<'a> {
    switch: &'a Namespace,
    name: String,
}

fn plug_edge(switch: &Namespace, edge: &Namespace) -> Result<PassLink> {
    let front = End {
        namespace: edge,
        interface: FRONT,
        mac: FRONT_MAC,
        addresses: &["10.70.0.1/24", "fd70::1/64", "10.72.0.1/24", "fd72::1/64"],
    };
    let port = plug(switch, 1, &front)?;
    edge.ip(&format!(
        "route add {} via 10.70.0.2\nroute add {} via fd70::2",
        addresses::CLIENTS_V4,
        addresses::CLIENTS_V6,
    ))?;
    crate::xdp_pass::attach(port.switch, &port.name)
}

fn plug_backend(switch: &Namespace, number: u8) -> Result<Backend> {
    let host = FIRST_BACKEND + number;
    let v4 = Ipv4Addr::new(10, 72, 0, host).into();
    let v6 = Ipv6Addr::new(0xfd72, 0, 0, 0, 0, 0, 0, host.into()).into();
    let backend = Backend {
        namespace: super::host(&format!("backend{number}"))?,
        v4,
        v6,
        mac: Mac::local(1, number),
        served: vec![v4, v6, VIP_V4, VIP_V6],
    };
    hold_vips_quietly(&backend.namespace)?;
    let uplink = End {
        namespace: &backend.namespace,
        interface: UPLINK,
        mac: backend.mac,
        addresses: &[&format!("{}/24", backend.v4), &format!("{}/64", backend.v6)],
    };
    plug(switch, host, &uplink)?;
    backend.namespace.ip(&routes_to_clients())?;
    Ok(backend)
}

/// A backend holds the VIPs, but must neither answer ARP for them nor ask with them: the edge's
/// address is the only one that the clients may learn. IPv6 answers only for the asked interface's
/// own addresses anyway.
fn hold_vips_quietly(namespace: &Namespace) -> Result<()> {
    namespace.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
    namespace.sysctl("net/ipv4/conf/all/arp_announce", "2")?;
    namespace.ip(&format!(
        "address add {VIP_V4}/32 dev lo\naddress add {VIP_V6}/128 dev lo nodad"
    ))
}

fn routes_to_clients() -> String {
    format!(
        "route add 10.70.0.0/24 dev {UPLINK}\n\
         route add {} via 10.70.0.2\n\
         route add fd70::/64 dev {UPLINK}\n\
         route add {} via fd70::2",
        addresses::CLIENTS_V4,
        addresses::CLIENTS_V6,
    )
}
