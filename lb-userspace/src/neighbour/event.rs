//! What the kernel announces of its own accord.

use std::{future::ready, net::IpAddr};

use futures_util::{StreamExt as _, stream::BoxStream};
use rtnetlink::{
    MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{RouteNetlinkMessage, neighbour::NeighbourMessage},
};
use tokio::task::JoinSet;

use super::{
    NeighbourError,
    decode::{self, Interface, Key, Neighbour},
};

/// Whatever may change the way to a backend. Next-hop objects are not among them: the kernel
/// announces the routes that use one, too (`net.ipv4.nexthop_compat_mode`).
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
];

/// One announcement.
#[derive(Debug)]
pub(super) enum Event {
    /// An interface is new or has changed.
    Interface(Interface),
    /// The interface with this index is gone.
    InterfaceGone(u32),
    /// A neighbour is new or has changed.
    Neighbour(Key, Neighbour),
    /// A neighbour is gone.
    NeighbourGone(Key),
    /// A route to this prefix came, changed or went.
    Route((IpAddr, u8)),
    /// Anything may have changed: an address, a rule, or events were lost (ENOBUFS).
    Anything,
}

/// The socket for announcements.
pub(super) struct Events {
    stream: BoxStream<'static, Event>,
    /// Its input; ends with it.
    _connection: JoinSet<()>,
}

impl Events {
    pub(super) fn open() -> Result<Self, NeighbourError> {
        let (connection, _, messages) =
            rtnetlink::new_multicast_connection(&GROUPS).map_err(NeighbourError::Socket)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let stream = messages
            .filter_map(|(message, _)| ready(event(message.payload)))
            .boxed();
        Ok(Self {
            stream,
            _connection: tasks,
        })
    }

    /// The next announcement that may concern us.
    pub(super) async fn next(&mut self) -> Result<Event, NeighbourError> {
        self.stream.next().await.ok_or(NeighbourError::Ended)
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library knows dozens of messages, and we asked for these only"
)]
fn event(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Event> {
    let message = match payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Event::Anything),
        _ => return None,
    };
    match message {
        RouteNetlinkMessage::NewLink(link) => decode::interface(&link).map(Event::Interface),
        RouteNetlinkMessage::DelLink(link) => {
            decode::interface(&link).map(|interface| Event::InterfaceGone(interface.link.ifindex))
        }
        RouteNetlinkMessage::NewNeighbour(entry) => {
            decode::neighbour(&entry).map(|(key, neighbour)| Event::Neighbour(key, neighbour))
        }
        RouteNetlinkMessage::DelNeighbour(entry) => gone(&entry),
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            decode::prefix(&route).map(Event::Route)
        }
        RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::NewRule(_)
        | RouteNetlinkMessage::DelRule(_) => Some(Event::Anything),
        _ => None,
    }
}

fn gone(entry: &NeighbourMessage) -> Option<Event> {
    decode::neighbour(entry).map(|(key, _)| Event::NeighbourGone(key))
}
