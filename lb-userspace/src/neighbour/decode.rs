//! The kernel's messages, made into our words.

use std::net::IpAddr;

use rtnetlink::packet_route::{
    AddressFamily,
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
    },
    route::{
        RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteType, RouteVia,
    },
};

use super::Link;

/// Marks the neighbours that we made managed (`NDA_PROTOCOL`), so that a restart knows its own.
/// Any number that `linux/rtnetlink.h` gives to nobody would do; this one is an `S`.
pub(super) const OURS: RouteProtocol = RouteProtocol::Other(b'S');

/// An interface as we need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) link: Link,
    /// Frames on it begin with an Ethernet header.
    pub(super) ethernet: bool,
}

/// What a neighbour is found by: its interface and its address.
pub(super) type Key = (u32, IpAddr);

/// A neighbour as we need to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Its MAC address, if the entry's state lets one use it.
    pub(super) mac: Option<[u8; 6]>,
    /// The kernel never forgets it: permanent, or on an interface without address resolution.
    pub(super) fixed: bool,
    /// The kernel keeps it resolved.
    pub(super) managed: bool,
    /// It carries our mark.
    pub(super) ours: bool,
}

/// The answer of `ip route get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Out of this interface to this neighbour.
    Via {
        /// Interface and neighbour.
        key: Key,
        /// The route's own MTU, or what the kernel has learnt of the path's.
        mtu: Option<u32>,
    },
    /// An address of this host.
    Local,
    /// None, or one that leads to no single host.
    Missing,
    /// Into a light-weight tunnel (`encap`), which XDP's frames would not enter.
    Encapsulated,
}

pub(super) fn interface(message: &LinkMessage) -> Option<Interface> {
    // A bridge announces its ports as links of its own family; those tell nothing of the interface.
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let (mut name, mut mac, mut mtu) = (None, None, 0);
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(value) = attribute {
            name = Some(value.clone());
        } else if let LinkAttribute::Address(value) = attribute {
            mac = value.as_slice().try_into().ok();
        } else if let LinkAttribute::Mtu(value) = attribute {
            mtu = *value;
        }
    }
    let link = Link {
        ifindex: message.header.index,
        up: message
            .header
            .flags
            .contains(LinkFlags::Up | LinkFlags::Running),
        mac: mac.unwrap_or_default(),
        mtu,
    };
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether && mac.is_some();
    Some(Interface {
        name: name?,
        link,
        ethernet,
    })
}

pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(Key, Neighbour)> {
    let (mut address, mut mac) = (None, None);
    let (mut managed, mut ours) = (false, false);
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(value) = attribute {
            address = neighbour_address(value);
        } else if let NeighbourAttribute::LinkLayerAddress(value) = attribute {
            mac = value.as_slice().try_into().ok();
        } else if let NeighbourAttribute::ExtFlags(flags) = attribute {
            managed = flags.contains(NeighbourExtFlags::Managed);
        } else if let NeighbourAttribute::Protocol(protocol) = attribute {
            ours = *protocol == OURS;
        }
    }
    let state = message.header.state;
    let neighbour = Neighbour {
        mac: mac.filter(|_| is_usable(state)),
        fixed: matches!(state, NeighbourState::Permanent | NeighbourState::Noarp),
        managed,
        ours,
    };
    Some(((message.header.ifindex, address?), neighbour))
}

/// The kernel's own `NUD_VALID`: it would send to such an entry without asking first.
fn is_usable(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    )
}

fn neighbour_address(address: &NeighbourAddress) -> Option<IpAddr> {
    if let NeighbourAddress::Inet(address) = address {
        Some(IpAddr::V4(*address))
    } else if let NeighbourAddress::Inet6(address) = address {
        Some(IpAddr::V6(*address))
    } else {
        None
    }
}

pub(super) fn route(target: IpAddr, message: &RouteMessage) -> Route {
    if message.header.kind == RouteType::Local {
        return Route::Local;
    }
    if message.header.kind != RouteType::Unicast {
        return Route::Missing;
    }
    // A route without a gateway is on the link: the target is its own next hop.
    let (mut interface, mut next_hop, mut mtu) = (None, target, None);
    for attribute in &message.attributes {
        if let RouteAttribute::Oif(ifindex) = attribute {
            interface = Some(*ifindex);
        } else if let RouteAttribute::Gateway(address) = attribute {
            next_hop = route_address(address).unwrap_or(target);
        } else if let RouteAttribute::Via(RouteVia::Inet6(address)) = attribute {
            next_hop = IpAddr::V6(*address);
        } else if let RouteAttribute::Metrics(metrics) = attribute {
            mtu = metrics.iter().find_map(route_mtu);
        } else if let RouteAttribute::EncapType(_) = attribute {
            return Route::Encapsulated;
        }
    }
    interface.map_or(Route::Missing, |ifindex| Route::Via {
        key: (ifindex, next_hop),
        mtu,
    })
}

/// 0 is the kernel's "none".
fn route_mtu(metric: &RouteMetric) -> Option<u32> {
    let RouteMetric::Mtu(mtu) = metric else {
        return None;
    };
    Some(*mtu).filter(|mtu| *mtu > 0)
}

/// The prefix that a route event is about.
pub(super) fn prefix(message: &RouteMessage) -> Option<(IpAddr, u8)> {
    let length = message.header.destination_prefix_length;
    let destination = |attribute: &RouteAttribute| {
        let RouteAttribute::Destination(address) = attribute else {
            return None;
        };
        route_address(address)
    };
    match message.attributes.iter().find_map(destination) {
        Some(address) => Some((address, length)),
        // The default route names no destination.
        None if message.header.address_family == AddressFamily::Inet => {
            Some(([0; 4].into(), length))
        }
        None if message.header.address_family == AddressFamily::Inet6 => {
            Some(([0; 16].into(), length))
        }
        None => None,
    }
}

fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some(IpAddr::V4(*address))
    } else if let RouteAddress::Inet6(address) = address {
        Some(IpAddr::V6(*address))
    } else {
        None
    }
}
