//! Where a backend's packets go next: egress interface, and the MAC addresses of both ends.
//!
//! The kernel is asked and never guessed: the route is what `ip route get` says, the MAC address
//! is the neighbour table's. The next hops in use become *managed* neighbours, which the kernel
//! itself keeps resolved (Linux 5.16, commit 7482e3841d52), because XDP's traffic never touches
//! the neighbour table and would let it forget them.
//!
//! Data flows one way: `kernel` and `event` bring values in, `decode` makes them ours, `snapshot`
//! holds them and draws the [`View`] from them, `keep` asks for what is missing.

mod decode;
mod event;
mod keep;
mod kernel;
mod snapshot;
#[cfg(test)]
mod tests;
mod watcher;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    time::Duration,
};

use thiserror::Error;
use tokio::{sync::watch, time::Instant};

use self::watcher::Watcher;

/// The next hop of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Egress interface. It is the one the route names, so it may be a bridge, bond or VLAN.
    pub ifindex: u32,
    /// The egress interface's own MAC address.
    pub source_mac: [u8; 6],
    /// MAC address of the backend, or of the gateway before it.
    pub next_hop_mac: [u8; 6],
    /// Bytes of the largest IP packet: the route's MTU where it has one, else the interface's.
    pub mtu: u32,
}

/// How an address is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Through this hop.
    Via(Hop),
    /// The route is known, the next hop does not answer yet.
    Resolving {
        /// Egress interface.
        ifindex: u32,
    },
    /// No route, or one that no Ethernet frame can take (a tunnel, a black hole).
    NoRoute,
    /// By an interface where the program is not, and native XDP may lose what it sends.
    Unlisted {
        /// Egress interface.
        ifindex: u32,
    },
    /// The address is this host's own.
    Local,
}

impl Reach {
    /// The interface that packets would leave by.
    pub const fn egress(&self) -> Option<u32> {
        match self {
            Self::Via(Hop { ifindex, .. })
            | Self::Resolving { ifindex }
            | Self::Unlisted { ifindex } => Some(*ifindex),
            Self::NoRoute | Self::Local => None,
        }
    }
}

/// An interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub ifindex: u32,
    /// Set up by the administrator, and the link is operational (`IFF_UP` and `IFF_RUNNING`).
    pub up: bool,
    /// Its MAC address; zeroes where it has none.
    pub mac: [u8; 6],
    /// Its MTU, in bytes.
    pub mtu: u32,
}

/// What is known of the addresses asked for, and of all interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Each address asked for.
    pub reach: BTreeMap<IpAddr, Reach>,
    /// Every interface of the namespace by its name; one that is missing does not exist.
    pub links: BTreeMap<String, Link>,
}

impl View {
    fn is_resolved(&self) -> bool {
        let resolving = |reach: &Reach| matches!(reach, Reach::Resolving { .. });
        !self.reach.values().any(resolving)
    }
}

/// The kernel's routes and neighbours can't be read.
#[derive(Debug, Error)]
pub enum NeighbourError {
    /// No netlink socket.
    #[error(
        "a netlink socket can't be opened: {0}; if serin runs under systemd, \
         let RestrictAddressFamilies= name AF_NETLINK"
    )]
    Socket(#[source] io::Error),
    /// The kernel refused a question.
    #[error("the kernel refuses to tell its {what}: {source}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The kernel's word.
        source: rtnetlink::Error,
    },
    /// The kernel did not answer a question.
    #[error("the kernel did not tell its {0} in time; see its log for what holds it up")]
    Silent(&'static str),
    /// The event socket ended.
    #[error("the kernel's network events ended; restart serin to follow them again")]
    Ended,
}

/// Follows the addresses in `targets` until the last receiver of the view is dropped.
///
/// Opens its sockets in the calling thread's network namespace, and must be called inside a tokio
/// runtime. The view is empty until the first look at the kernel, and is sent only when it differs.
/// A dropped sender of `targets` leaves the last set in force. The view's channel closes only if
/// the kernel ends the event socket, which the log then tells.
pub fn watch(
    targets: watch::Receiver<BTreeSet<IpAddr>>,
) -> Result<watch::Receiver<View>, NeighbourError> {
    let watcher = Watcher::open()?;
    let (sender, receiver) = watch::channel(View::default());
    tokio::spawn(watcher::run(watcher, targets, sender));
    Ok(receiver)
}

/// Looks once, and waits up to `patience` for those next hops that don't answer yet.
///
/// The next hops stay managed, for the [`watch()`] that is to follow.
pub async fn survey(
    targets: &BTreeSet<IpAddr>,
    patience: Duration,
) -> Result<View, NeighbourError> {
    let mut watcher = Watcher::open()?;
    let deadline = Instant::now() + patience;
    loop {
        watcher.refresh(targets).await?;
        let view = watcher.view();
        if view.is_resolved() {
            return Ok(view);
        }
        match tokio::time::timeout_at(deadline, watcher.news()).await {
            Ok(news) => news?,
            Err(_elapsed) => return Ok(view),
        }
    }
}
