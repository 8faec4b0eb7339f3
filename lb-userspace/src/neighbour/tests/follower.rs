//! A watcher that lives in a namespace.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::mpsc as gate,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::{
    super::{Reach, View, watch as follow},
    namespace::{Namespace, enter, runtime},
};

/// A watcher on a thread of its own.
pub(super) struct Follower {
    pub(super) targets: watch::Sender<BTreeSet<IpAddr>>,
    pub(super) views: watch::Receiver<View>,
    gates: Option<mpsc::UnboundedSender<gate::Receiver<()>>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(super) fn start(namespace: &Namespace, targets: &[&str]) -> Self {
        let (targets, followed) = watch::channel(addresses(targets));
        let (gates, mut stalls) = mpsc::unbounded_channel::<gate::Receiver<()>>();
        let (sender, views) = gate::channel();
        let file = namespace
            .file
            .try_clone()
            .expect("a file descriptor is left");
        let thread = thread::spawn(move || {
            enter(&file);
            runtime().block_on(async {
                sender
                    .send(follow(followed).expect("netlink is there"))
                    .expect("the test waits");
                while let Some(gate) = stalls.recv().await {
                    // On purpose, this blocks the whole runtime.
                    gate.recv().expect_err("a gate opens by being dropped");
                }
            });
        });
        let views = views.recv().expect("the thread sends its view");
        Self {
            targets,
            views,
            gates: Some(gates),
            thread: Some(thread),
        }
    }

    /// Keeps the watcher from running until the returned gate is dropped.
    pub(super) fn stall(&self) -> gate::Sender<()> {
        let (open, closed) = gate::channel();
        let gates = self.gates.as_ref().expect("the thread runs");
        gates.send(closed).expect("the thread runs");
        open
    }

    /// Waits for a view that satisfies, and returns how long that took.
    pub(super) fn until(
        &self,
        what: &str,
        limit: Duration,
        satisfies: impl Fn(&View) -> bool,
    ) -> Duration {
        let begun = Instant::now();
        while !satisfies(&self.views.borrow()) {
            let view = self.views.borrow().clone();
            assert!(
                begun.elapsed() < limit,
                "waited {limit:?} in vain for {what}: {view:#?}"
            );
            thread::sleep(Duration::from_millis(1));
        }
        let took = begun.elapsed();
        println!("{what}: {took:?}");
        took
    }

    /// Waits until an address is reached through a next hop with this MAC address.
    pub(super) fn until_via(&self, address: &str, mac: [u8; 6], limit: Duration) -> Duration {
        let target = parse(address);
        let what = format!("{address} via {mac:02x?}");
        self.until(&what, limit, |view| next_hop_mac(view, target) == Some(mac))
    }

    /// Waits until an address is reached like this.
    pub(super) fn until_reach(&self, address: &str, reach: &Reach, limit: Duration) -> Duration {
        let target = parse(address);
        let what = format!("{address} is {reach:?}");
        self.until(&what, limit, |view| view.reach.get(&target) == Some(reach))
    }

    pub(super) fn ifindex(&self, interface: &str) -> u32 {
        let limit = Duration::from_secs(1);
        self.until(interface, limit, |view| view.links.contains_key(interface));
        self.views.borrow().links[interface].ifindex
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.gates.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if ended.is_some_and(|ended| ended.is_err()) {
            eprintln!("the watcher's thread panicked");
        }
    }
}

/// The peer's MAC address on a pair made by [`Namespace::connect`].
pub(super) const fn peer_mac(subnet: u8) -> [u8; 6] {
    [2, 0, 0, 0, subnet, 2]
}

pub(super) fn next_hop_mac(view: &View, target: IpAddr) -> Option<[u8; 6]> {
    match view.reach.get(&target)? {
        Reach::Via(hop) => Some(hop.next_hop_mac),
        Reach::Resolving { .. } | Reach::NoRoute | Reach::Unlisted { .. } | Reach::Local => None,
    }
}

pub(super) fn parse(address: &str) -> IpAddr {
    address.parse().expect("the test names an address")
}

pub(super) fn addresses(targets: &[&str]) -> BTreeSet<IpAddr> {
    targets.iter().map(|target| parse(target)).collect()
}
