//! The data plane that most tests start from: one service, two pools of one backend each.

use std::net::SocketAddr;

use lb_common::{
    address::Address,
    backend::{Backend, index},
    hash,
    listener::{Endpoint, Listener, Reply},
    pool::{SLOTS, Slot},
    protocol::{TCP, UDP},
    release::Record,
};
use lb_userspace::dataplane::{Image, Table};

use crate::{
    frame::{Frame, flag},
    lab::node,
};

/// The backend of the pool that serves at rest.
pub const OLD: u16 = 1;
/// The backend of the other pool.
pub const NEW: u16 = 2;
/// The first table of the pool that serves at rest.
pub const OLD_TABLE: u32 = 0;
/// The first table of the other pool.
pub const NEW_TABLE: u32 = 2;
/// The service.
pub const SERVICE: u32 = 0;
/// Port of the VIP.
pub const PORT: u16 = 80;
/// Port of the backends.
pub const BACKEND_PORT: u16 = 8080;
/// Frames of `BPF_PROG_TEST_RUN` come in by `lo`.
pub const INGRESS: u32 = 1;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// All kinds of traffic that are ours.
pub const KINDS: [(Family, Protocol); 4] = [
    (Family::V4, Protocol::Tcp),
    (Family::V4, Protocol::Udp),
    (Family::V6, Protocol::Tcp),
    (Family::V6, Protocol::Udp),
];

/// Both IP versions.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Where the service listens.
pub fn vip(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from(([192, 0, 2, 80], PORT)),
        Family::V6 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80], PORT)),
    }
}

/// One of 65 536 clients, each with an IPv4 address and an IPv6 /64 of its own.
pub fn client(family: Family, number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => SocketAddr::from(([10, 77, high, low], 40_000)),
        Family::V6 => SocketAddr::from(([0xfd77, 0, 0, number, 0, 0, 0, 7], 40_000)),
    }
}

/// Where a backend listens.
pub fn server(family: Family, id: u16) -> SocketAddr {
    let [high, low] = id.to_be_bytes();
    match family {
        Family::V4 => SocketAddr::from(([10, 88, high, low], BACKEND_PORT)),
        Family::V6 => SocketAddr::from(([0xfd88, 0, 0, 0, 0, 0, 0, id], BACKEND_PORT)),
    }
}

/// The Ethernet addresses towards a backend: its own, and ours.
pub fn macs(id: u16) -> ([u8; 6], [u8; 6]) {
    let [high, low] = id.to_be_bytes();
    ([2, 0, 0, 1, high, low], [2, 0, 0, 2, high, low])
}

/// A client's packet: a segment amid its connection, or a datagram.
pub fn request(family: Family, protocol: Protocol) -> Frame {
    let (from, to) = (client(family, 7), vip(family));
    match protocol {
        Protocol::Tcp => Frame::tcp(from, to, flag::ACK | flag::PSH),
        Protocol::Udp => Frame::udp(from, to),
    }
}

/// The frame as its backend gets it, translated.
pub fn translated(frame: Frame, family: Family, id: u16) -> Frame {
    let (destination, source) = macs(id);
    frame.to(server(family, id)).forwarded(destination, source)
}

/// The backend's entry, its next hop resolved.
pub fn backend(family: Family, id: u16) -> Backend {
    let (destination, source) = macs(id);
    let at = server(family, id);
    Backend::new(at.ip().into(), at.port(), 1).via(INGRESS, source, destination)
}

/// The key of the maps of listeners and replies.
pub fn endpoint(at: SocketAddr, protocol: u8) -> Endpoint {
    Endpoint::new(Address::from(at.ip()), at.port().to_be_bytes(), protocol)
}

/// The service at rest: everything goes to [`OLD`], in `nat`.
pub fn at_rest() -> Image {
    let mut image = Image::default();
    for (id, (family, protocol)) in (1..).zip([
        (Family::V4, TCP),
        (Family::V4, UDP),
        (Family::V6, TCP),
        (Family::V6, UDP),
    ]) {
        let listener = Listener::new(SERVICE, id, PORT);
        image
            .listeners
            .insert(endpoint(vip(family), protocol), listener);
    }
    for id in [OLD, NEW] {
        add_backend(&mut image, id);
    }
    image
        .tables
        .insert(OLD_TABLE, Table::new(|_| Slot::settled(OLD)));
    image.records.insert(SERVICE, resting());
    image
}

/// Adds a backend with both addresses, and its replies.
pub fn add_backend(image: &mut Image, id: u16) {
    for family in FAMILIES {
        let v6 = family == Family::V6;
        image.backends.insert(index(id, v6), backend(family, id));
        for protocol in [TCP, UDP] {
            let at = vip(family);
            let reply = Reply::new(at.ip().into(), at.port(), id);
            let reply = match image.listeners.get(&endpoint(at, protocol)) {
                Some(listener) => reply.of(listener),
                None => reply,
            };
            image
                .replies
                .insert(endpoint(server(family, id), protocol), reply);
        }
    }
}

/// Everything has just been sent to the new pool.
pub fn cut_over() -> Record {
    Record {
        active: NEW_TABLE,
        touched_ppm: 1_000_000,
        flags: Record::MOVING,
        ..resting()
    }
}

/// The record of a service at rest on the old pool.
pub fn resting() -> Record {
    Record {
        epoch: 1,
        salt: 0x5a17,
        origin_salt: 0x5a17,
        ..Record::default()
    }
}

/// The backend that a forwarded frame is addressed to, told by its Ethernet address.
pub fn chosen(frame: &[u8]) -> u16 {
    assert_eq!(
        frame[..4],
        [2, 0, 0, 1],
        "not on its way to a backend: {frame:02x?}"
    );
    u16::from_be_bytes([frame[4], frame[5]])
}

/// The service at rest, with the other pool ready.
pub fn two_pools() -> Image {
    let mut image = at_rest();
    image
        .tables
        .insert(NEW_TABLE, Table::new(|_| Slot::settled(NEW)));
    image
}

/// A share of the clients has just been sent to the new pool.
pub fn ramping(share_ppm: u32) -> Record {
    Record {
        candidate: NEW_TABLE,
        origin_candidate: NEW_TABLE,
        share_ppm,
        touched_ppm: share_ppm,
        flags: Record::MOVING,
        ..resting()
    }
}

/// The service with this record, and both pools.
pub fn with_record(record: Record) -> Image {
    let mut image = two_pools();
    image.records.insert(SERVICE, record);
    image
}

/// New weights have just given the new backend every slot that [`changes`], within the old pool.
pub fn reweigh(image: &mut Image, flags: u32) {
    let table = Table::new(|slot| {
        if changes(slot) {
            Slot::new(NEW, OLD).touch()
        } else {
            Slot::settled(OLD)
        }
    });
    image.tables.insert(OLD_TABLE + 1, table);
    let record = Record {
        active: OLD_TABLE + 1,
        origin_active: OLD_TABLE + 1,
        flags,
        ..resting()
    };
    image.records.insert(SERVICE, record);
}

/// Whether [`reweigh`] gives a slot to the new backend: a third of them.
pub const fn changes(slot: usize) -> bool {
    slot.is_multiple_of(3)
}

/// The bucket of a client under a salt, by the arithmetic that both sides share.
pub fn bucket_of(client: SocketAddr, salt: u64) -> u32 {
    let address = Address::from(client.ip());
    hash::bucket(node().client_hash(&address, client.is_ipv6()), salt)
}

/// The first client whose bucket is below `share_ppm`, or is not.
pub fn client_in(family: Family, share_ppm: u32, below: bool) -> SocketAddr {
    (0..=u16::MAX)
        .map(|number| client(family, number))
        .find(|&client| (bucket_of(client, resting().salt) < share_ppm) == below)
        .expect("65 536 clients have every bucket")
}

/// The slot of a connection, by the arithmetic that both sides share.
pub fn slot_of(from: SocketAddr, to: SocketAddr, protocol: u8) -> usize {
    let ports = (from.port().to_be_bytes(), to.port().to_be_bytes());
    let (source, destination) = (Address::from(from.ip()), Address::from(to.ip()));
    let node = node();
    let flow = node.key().flow(&source, &destination, ports, protocol);
    hash::slot(flow, SLOTS) as usize
}
