//! What the kernel said at one moment, and what follows from it. Nothing here does I/O but
//! [`Snapshot::take`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tracing::warn;

use super::{
    Hop, NeighbourError, Reach, View,
    decode::{Interface, Key, Neighbour, Route},
    event::Event,
    kernel::Kernel,
};

/// The kernel's answers to one round of questions.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) interfaces: BTreeMap<u32, Interface>,
    pub(super) neighbours: BTreeMap<Key, Neighbour>,
    /// The way to each target.
    pub(super) routes: BTreeMap<IpAddr, Route>,
}

impl Snapshot {
    /// Asks the kernel. Where it does not answer for one target (or the netlink library can't
    /// read the answer), that one stays what it was, and does not keep the others waiting.
    pub(super) async fn take(
        kernel: &Kernel,
        targets: &BTreeSet<IpAddr>,
        before: &Self,
    ) -> Result<Self, NeighbourError> {
        let interfaces = kernel.interfaces().await?;
        let mut routes = BTreeMap::new();
        for target in targets {
            let route = match kernel.route(*target).await {
                Err(error @ NeighbourError::Silent(_)) => {
                    warn!("the route to backend {target} is taken to be the same: {error}");
                    before.routes.get(target).copied().unwrap_or(Route::Missing)
                }
                answer => answer?,
            };
            routes.insert(*target, route);
        }
        let neighbours = kernel.neighbours().await?;
        Ok(Self {
            interfaces,
            neighbours,
            routes,
        })
    }

    pub(super) fn view(&self) -> View {
        let reach = |(&target, &route)| (target, self.reach(route));
        let link = |interface: &Interface| (interface.name.clone(), interface.link);
        View {
            reach: self.routes.iter().map(reach).collect(),
            links: self.interfaces.values().map(link).collect(),
        }
    }

    fn reach(&self, route: Route) -> Reach {
        let (key, mtu) = match route {
            Route::Via { key, mtu } => (key, mtu),
            Route::Local => return Reach::Local,
            Route::Missing | Route::Encapsulated => return Reach::NoRoute,
        };
        let ifindex = key.0;
        let Some(interface) = self.ethernet(ifindex) else {
            return Reach::NoRoute;
        };
        match self.mac(key) {
            Some(next_hop_mac) => {
                let source_mac = interface.link.mac;
                Reach::Via(Hop {
                    ifindex,
                    source_mac,
                    next_hop_mac,
                    mtu: mtu.map_or(interface.link.mtu, |mtu| mtu.min(interface.link.mtu)),
                })
            }
            None => Reach::Resolving { ifindex },
        }
    }

    /// The neighbours that the targets' packets go to.
    pub(super) fn next_hops(&self) -> BTreeSet<Key> {
        let next_hop = |route: &Route| match *route {
            Route::Via { key, .. } if self.ethernet(key.0).is_some() => Some(key),
            Route::Via { .. } | Route::Local | Route::Missing | Route::Encapsulated => None,
        };
        self.routes.values().filter_map(next_hop).collect()
    }

    /// The targets whose route no Ethernet frame can take.
    pub(super) fn stranded(&self) -> BTreeSet<IpAddr> {
        let is_stranded = |route: &Route| match *route {
            Route::Via {
                key: (ifindex, _), ..
            } => self
                .interfaces
                .get(&ifindex)
                .is_some_and(|interface| !interface.ethernet),
            Route::Encapsulated => true,
            Route::Local | Route::Missing => false,
        };
        let stranded = self.routes.iter().filter(|(_, route)| is_stranded(route));
        stranded.map(|(&target, _)| target).collect()
    }

    /// Whether an announcement may change the view, or the neighbours we keep.
    ///
    /// An older announcement than this snapshot does no harm: it seems to be news if it differs,
    /// which costs a look, and whatever came after it differs again or is in here.
    pub(super) fn is_news(&self, event: &Event) -> bool {
        match event {
            Event::Interface(interface) => {
                self.interfaces.get(&interface.link.ifindex) != Some(interface)
            }
            Event::InterfaceGone(ifindex) => self.interfaces.contains_key(ifindex),
            Event::Neighbour(key, neighbour) => {
                self.mac(*key) != neighbour.mac && self.is_next_hop(*key)
            }
            Event::NeighbourGone(key) => self.is_next_hop(*key),
            Event::Route(prefix) => self.routes.keys().any(|target| covers(*prefix, *target)),
            Event::Anything => true,
        }
    }

    pub(super) fn is_up(&self, ifindex: u32) -> bool {
        self.interfaces
            .get(&ifindex)
            .is_some_and(|interface| interface.link.up)
    }

    fn is_next_hop(&self, key: Key) -> bool {
        let leads_to_it =
            |route: &Route| matches!(*route, Route::Via { key: hop, .. } if hop == key);
        self.routes.values().any(leads_to_it)
    }

    fn ethernet(&self, ifindex: u32) -> Option<&Interface> {
        self.interfaces
            .get(&ifindex)
            .filter(|interface| interface.ethernet)
    }

    fn mac(&self, key: Key) -> Option<[u8; 6]> {
        self.neighbours
            .get(&key)
            .and_then(|neighbour| neighbour.mac)
    }
}

fn covers((network, length): (IpAddr, u8), target: IpAddr) -> bool {
    let same = match (network, target) {
        (IpAddr::V4(network), IpAddr::V4(target)) => {
            (network.to_bits() ^ target.to_bits()).leading_zeros()
        }
        (IpAddr::V6(network), IpAddr::V6(target)) => {
            (network.to_bits() ^ target.to_bits()).leading_zeros()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    same >= u32::from(length)
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn prefix_covers_the_addresses_that_share_its_bits() {
        for (network, length, target, expected) in [
            ("0.0.0.0", 0, "203.0.113.1", true),
            ("10.0.0.0", 8, "10.255.255.255", true),
            ("10.0.0.0", 8, "11.0.0.0", false),
            ("10.0.0.1", 32, "10.0.0.1", true),
            ("10.0.0.1", 32, "10.0.0.0", false),
            ("::", 0, "2001:db8::1", true),
            ("2001:db8::", 33, "2001:db8:8000::", false),
            ("::", 0, "10.0.0.1", false),
        ] {
            let (network, target) = (network.parse(), target.parse());
            let (network, target) = (network.expect("an address"), target.expect("an address"));
            assert_eq!(
                covers((network, length), target),
                expected,
                "{network}/{length} {target}"
            );
        }
    }
}
