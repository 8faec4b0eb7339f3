//! The labs: clients, an edge host and backends, joined by veth pairs.
//!
//! ```text
//! routed                                            flat
//!
//! clients ── front edge back0 ── backend 0          clients ──┬── front edge
//!                       back1 ── backend 1                    │ (a bridge in `switch`)
//!                                                  backend 0 ─┴─ backend 1
//! ```
//!
//! Any number of client addresses exist without being added one by one: the clients' namespace
//! holds whole prefixes as local. They are routed to it, so the edge knows one neighbour on that
//! side and not a thousand, as an edge host on the Internet does; the kernel's neighbour table
//! holds 1 024 for all namespaces together.

mod addresses;
mod flat;
mod routed;

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
};

use anyhow::Result;

pub use self::addresses::{MOST_USERS, VIP_V4, VIP_V6, client_v4, client_v6};
use crate::{
    mac::Mac,
    netns::Namespace,
    serial::{self, Turn},
    veth::End,
    xdp_pass::PassLink,
};

/// The name of the one interface that clients and backends have.
pub const UPLINK: &str = "uplink";
/// The edge's interface towards the clients.
pub const FRONT: &str = "front";
/// The Ethernet address of [`FRONT`].
pub const FRONT_MAC: Mac = Mac::local(0, 1);
/// The Ethernet address of the clients' interface.
pub const CLIENTS_MAC: Mac = Mac::local(0, 2);

/// A network in namespaces, freed on drop. It waits for its turn (see [`serial`]).
#[derive(Debug)]
pub struct Lab {
    /// Where clients live.
    pub clients: Namespace,
    /// Where Serin lives.
    pub edge: Namespace,
    /// The servers.
    pub backends: Vec<Backend>,
    /// The edge's interfaces, [`FRONT`] first.
    pub edge_interfaces: Vec<String>,
    _switch: Option<Namespace>,
    // Held for their `Drop`. A link needs its interface no longer than the namespace lives; the kernel sorts the order out.
    passes: Vec<PassLink>,
    // Last, so that whoever waits begins when this lab is gone.
    _turn: Turn,
}

/// A server's namespace.
#[derive(Debug)]
pub struct Backend {
    /// Where its server lives.
    pub namespace: Namespace,
    /// Its own IPv4 address.
    pub v4: IpAddr,
    /// Its own IPv6 address.
    pub v6: IpAddr,
    /// The Ethernet address of its [`UPLINK`].
    pub mac: Mac,
    /// The addresses that its servers answer on: its own, and the VIPs in a flat lab.
    pub served: Vec<IpAddr>,
}

impl Lab {
    /// Clients and backends in networks of their own, the edge being the router between them: for
    /// `forward = "nat"`. Backend `n` is behind the edge's interface `back<n>`.
    pub fn routed(backends: u8) -> Result<Self> {
        let turn = serial::turn()?;
        routed::build(backends, turn)?.ready()
    }

    /// All on one Ethernet, VIPs on the backends' loopback, replies straight from backend to
    /// client: for `forward = "l2"`.
    pub fn flat(backends: u8) -> Result<Self> {
        let turn = serial::turn()?;
        flat::build(backends, turn)?.ready()
    }

    /// Joins a backend of a routed lab to the edge again, once its interface there has been deleted:
    /// by new interfaces with the old names and addresses.
    ///
    /// # Panics
    /// If the lab has no such backend.
    pub fn join_again(&mut self, number: u8) -> Result<()> {
        let backend = &self.backends[usize::from(number)];
        let pass = routed::join(&self.edge, backend, number)?;
        self.passes.push(pass);
        backend.namespace.wait_for_ipv6(1)?;
        self.edge.wait_for_ipv6(self.edge_interfaces.len())
    }

    /// Puts a program on the backends' interfaces of a routed lab, in the place of the one that
    /// passes everything.
    pub fn replace_passes(&self, program: &OwnedFd) -> Result<()> {
        // The first is the clients'.
        let backends = self.passes.iter().skip(1);
        backends
            .take(self.backends.len())
            .try_for_each(|pass| pass.replace(program))
    }

    /// Routes clients and edge of a routed lab to each other again, once a test has put other
    /// interfaces with the same addresses in the place of those between them.
    pub fn route_clients(&self) -> Result<()> {
        self.clients.ip(CLIENTS_ROUTES)?;
        self.edge.ip(&routed::routes_to_clients())
    }

    /// Makes room for other programs at the backends' ends, which then have to take the frames.
    pub fn clear_backends(&mut self) {
        // The clients' is the first.
        self.passes.truncate(1);
    }

    /// Waits until nothing is on its way to coming up.
    fn ready(self) -> Result<Self> {
        self.clients.wait_for_ipv6(1)?;
        self.edge.wait_for_ipv6(self.edge_interfaces.len())?;
        for backend in &self.backends {
            backend.namespace.wait_for_ipv6(1)?;
        }
        Ok(self)
    }
}

impl Backend {
    /// `10.72.0.2` and `fd72::2`, for a backend that keeps the listener's port.
    pub fn addresses(&self) -> Vec<String> {
        [self.v4, self.v6]
            .map(|address| address.to_string())
            .to_vec()
    }

    /// `10.72.0.2:8080` and `[fd72::2]:8080`, as a config's `address` wants them.
    pub fn endpoints(&self, port: u16) -> Vec<String> {
        [self.v4, self.v6]
            .map(|address| SocketAddr::new(address, port).to_string())
            .to_vec()
    }
}

/// A namespace for an end host: no router advertisements to wait for, a wide range of ports, and
/// room for the closed connections of a minute of load.
fn host(role: &str) -> Result<Namespace> {
    let namespace = Namespace::create(role)?;
    for (path, value) in [
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/ip_local_port_range", "1024 65535"),
        ("net/ipv4/tcp_max_tw_buckets", "1000000"),
    ] {
        namespace.sysctl(path, value)?;
    }
    Ok(namespace)
}

/// The clients' namespace, in which every address of the client prefixes is local.
fn clients() -> Result<Namespace> {
    let namespace = host("clients")?;
    namespace.sysctl("net/ipv6/ip_nonlocal_bind", "1")?;
    namespace.ip(&format!(
        "route add local {} dev lo\nroute add local {} dev lo",
        addresses::CLIENTS_V4,
        addresses::CLIENTS_V6,
    ))?;
    Ok(namespace)
}

/// The edge's namespace: a router of both families that redirects nobody.
fn edge() -> Result<Namespace> {
    let namespace = host("edge")?;
    for (path, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/conf/default/forwarding", "1"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        // Every client is told at once where the edge knows no way, not one a second.
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv6/icmp/ratelimit", "0"),
    ] {
        namespace.sysctl(path, value)?;
    }
    Ok(namespace)
}

/// The clients' end, the same in both labs.
fn clients_end(clients: &Namespace) -> End<'_> {
    End {
        namespace: clients,
        interface: UPLINK,
        mac: CLIENTS_MAC,
        addresses: &["10.70.0.2/24", "fd70::2/64"],
    }
}

const CLIENTS_ROUTES: &str = "route add default via 10.70.0.1\nroute add default via fd70::1";
