//! Questions to the kernel over netlink, one after the other.
//!
//! They have a socket of their own: where events share it, a storm of them would push the answers
//! out of its buffer.

use std::{collections::BTreeMap, net::IpAddr, pin::pin, time::Duration};

use futures_util::{Stream, StreamExt as _};
use rtnetlink::{
    Error, Handle,
    packet_route::{
        AddressFamily,
        link::LinkExtentMask,
        neighbour::{NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourState},
        route::{RouteAttribute, RouteMessage},
    },
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    NeighbourError,
    decode::{self, Interface, Key, Neighbour, OURS, Route},
};

/// A kernel that takes longer is stuck, or its answer could not be read.
const ANSWER: Duration = Duration::from_secs(2);

/// What the kernel says to `ip route get` where it has no way: none, or a route of type
/// unreachable, black hole or prohibit.
const NO_WAY: [i32; 5] = [
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::EINVAL,
    libc::EACCES,
    libc::ESRCH,
];

/// The socket for questions.
pub(super) struct Kernel {
    handle: Handle,
    /// Its input and output; ends with it.
    _connection: JoinSet<()>,
}

impl Kernel {
    pub(super) fn open() -> Result<Self, NeighbourError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(NeighbourError::Socket)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Ok(Self {
            handle,
            _connection: tasks,
        })
    }

    /// All interfaces by index.
    pub(super) async fn interfaces(&self) -> Result<BTreeMap<u32, Interface>, NeighbourError> {
        let request = self.handle.link().get();
        let messages = request
            .set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats])
            .execute();
        let all = collect("interfaces", messages).await?;
        let interfaces = all.iter().filter_map(decode::interface);
        Ok(interfaces
            .map(|interface| (interface.link.ifindex, interface))
            .collect())
    }

    /// All neighbours of both families.
    pub(super) async fn neighbours(&self) -> Result<BTreeMap<Key, Neighbour>, NeighbourError> {
        let mut neighbours = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let request = self.handle.neighbours().get().set_address_family(family);
            let all = collect("neighbours", request.execute()).await?;
            neighbours.extend(all.iter().filter_map(decode::neighbour));
        }
        Ok(neighbours)
    }

    /// The way to one address, as `ip route get` tells it.
    pub(super) async fn route(&self, target: IpAddr) -> Result<Route, NeighbourError> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(target);
        question.header.destination_prefix_length = if target.is_ipv4() { 32 } else { 128 };
        question
            .attributes
            .push(RouteAttribute::Destination(target.into()));
        // With a destination, this asks for one route; without, it would dump them all.
        let mut answers = pin!(self.handle.route().get(question).execute());
        match timeout(ANSWER, answers.next()).await {
            Ok(Some(Ok(message))) => Ok(decode::route(target, &message)),
            Ok(Some(Err(error))) if is_no_way(&error) => Ok(Route::Missing),
            Ok(Some(Err(source))) => Err(NeighbourError::Refused {
                what: "routes",
                source,
            }),
            Ok(None) | Err(_) => Err(NeighbourError::Silent("routes")),
        }
    }

    /// Asks the kernel to resolve a neighbour and to keep it resolved.
    ///
    /// It is also kept out of the reach of garbage collection (`NTF_EXT_LEARNED`).
    pub(super) async fn keep(&self, neighbour: Key) -> Result<(), Error> {
        let flags = NeighbourFlags::Use | NeighbourFlags::ExtLearned;
        let kept = self
            .touch(neighbour, flags, NeighbourExtFlags::Managed)
            .await;
        if kept.is_err() {
            return self.release(neighbour).await;
        }
        kept
    }

    /// Takes back what [`Self::keep`] asked for; the entry then ages as any other.
    pub(super) async fn release(&self, neighbour: Key) -> Result<(), Error> {
        self.touch(neighbour, NeighbourFlags::Use, NeighbourExtFlags::empty())
            .await
    }

    async fn touch(
        &self,
        (ifindex, address): Key,
        flags: NeighbourFlags,
        ext_flags: NeighbourExtFlags,
    ) -> Result<(), Error> {
        let request = self.handle.neighbours().add(ifindex, address);
        let mut request = request.state(NeighbourState::None).flags(flags).replace();
        let attributes = &mut request.message_mut().attributes;
        attributes.push(NeighbourAttribute::Protocol(OURS));
        attributes.push(NeighbourAttribute::ExtFlags(ext_flags));
        timeout(ANSWER, request.execute())
            .await
            .unwrap_or(Err(Error::RequestFailed))
    }
}

async fn collect<T>(
    what: &'static str,
    messages: impl Stream<Item = Result<T, Error>>,
) -> Result<Vec<T>, NeighbourError> {
    let all = timeout(ANSWER, messages.collect::<Vec<_>>()).await;
    let all = all.map_err(|_| NeighbourError::Silent(what))?;
    let all: Result<Vec<T>, Error> = all.into_iter().collect();
    all.map_err(|source| NeighbourError::Refused { what, source })
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn is_no_way(error: &Error) -> bool {
    let Error::NetlinkError(message) = error else {
        return false;
    };
    NO_WAY.contains(&-message.raw_code())
}
