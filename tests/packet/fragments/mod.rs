//! Packets in pieces: requests and replies, TCP and UDP, in every order; whole outputs compared.

mod change;
mod extension;
mod order;
mod refused;
mod replies;
mod tunnelled;

use std::net::SocketAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6FragmentHeader};
use lb_common::{
    address::Address,
    hash,
    pool::{SLOTS, Slot},
};
use lb_userspace::dataplane::{Image, Table};

use crate::{
    frame::Frame,
    lab::node,
    tunnel::network,
    world::{
        Family, KINDS, NEW, OLD, OLD_TABLE, Protocol, at_rest, client, request, slot_of,
        translated, vip,
    },
};
use lb_common::protocol::{TCP, UDP};

/// Bytes of an IPv6 header.
const V6: usize = 40;
/// The number of IPv6's fragment header.
const FRAGMENT: u8 = 44;

/// A piece by where it starts and ends in the data that is divided; the last one ends with it.
type Cut = (usize, usize);

/// The usual division of a packet with [`large`]'s payload.
const CUTS: [Cut; 3] = [(0, 64), (64, 160), (160, 221)];

/// A request whose transport header and payload are 221 bytes.
fn large(family: Family, protocol: Protocol, from: SocketAddr) -> Frame {
    let plain = request(family, protocol).from(from);
    let header = match protocol {
        Protocol::Tcp => 20,
        Protocol::Udp => 8,
    };
    let length = u8::try_from(221 - header).expect("below 256");
    Frame {
        payload: (0..length).collect(),
        ..plain
    }
}

/// A piece of the frame's packet, in a frame of its own; its sums are `etherparse`'s.
fn piece(frame: &Frame, id: u32, (start, end): Cut) -> Vec<u8> {
    let whole = frame.bytes();
    let at = network(&whole);
    let divided = &whole[frame.transport_offset()..whole.len() - frame.padding.len()];
    piece_of(
        &whole[..at],
        &whole[at..],
        &divided[start..end],
        id,
        (start, end < divided.len()),
    )
}

/// A piece with this data and place, whatever the packet has there.
fn piece_of(
    link: &[u8],
    packet: &[u8],
    data: &[u8],
    id: u32,
    (start, more): (usize, bool),
) -> Vec<u8> {
    let offset = u16::try_from(start / 8).expect("13 bits");
    let offset = offset.try_into().expect("13 bits");
    let header = if packet[0] >> 4 == 4 {
        let (mut header, _) = Ipv4Header::from_slice(packet).expect("an IPv4 packet");
        header.identification = u16::try_from(id & 0xffff).expect("16 bits");
        (header.fragment_offset, header.more_fragments) = (offset, more);
        header
            .set_payload_len(data.len())
            .expect("test frames are small");
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    } else {
        let fragment = Ipv6FragmentHeader::new(IpNumber(packet[6]), offset, more, id);
        let mut header = packet[..V6].to_vec();
        let length = u16::try_from(8 + data.len()).expect("test frames are small");
        header[4..6].copy_from_slice(&length.to_be_bytes());
        header[6] = FRAGMENT;
        [&header[..], &fragment.to_bytes()].concat()
    };
    [link, &header, data].concat()
}

/// Pieces of every kind of packet.
pub fn some() -> Vec<Vec<u8>> {
    let frames = KINDS.map(|(family, protocol)| large(family, protocol, client(family, 7)));
    let of = |frame: &Frame| CUTS.map(|cut| piece(frame, 7, cut));
    frames.iter().flat_map(of).collect()
}

/// Half of all slots to each backend, so that a wrong rule shows.
fn two_backends() -> Image {
    let mut image = at_rest();
    let table = Table::new(|slot| Slot::settled(owner(slot)));
    image.tables.insert(OLD_TABLE, table);
    keyed(image)
}

/// The backend of a slot in [`two_backends`].
fn owner(slot: usize) -> u16 {
    if slot.is_multiple_of(2) { OLD } else { NEW }
}

/// With the keys that the daemon adds.
fn keyed(mut image: Image) -> Image {
    lb_userspace::state::portless::add(&mut image);
    image
}

/// The backend of a connection in [`two_backends`].
fn by_flow(family: Family, protocol: Protocol, from: SocketAddr) -> u16 {
    owner(slot_of(from, vip(family), number(protocol)))
}

/// The backend of a client in [`two_backends`].
fn by_client(from: SocketAddr) -> u16 {
    let client = node().client_hash(&Address::from(from.ip()), from.is_ipv6());
    owner(hash::client_slot(client, SLOTS) as usize)
}

const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    }
}

/// A client whose connections from its usual port and the client itself have these backends.
fn client_of(family: Family, protocol: Protocol, flow: u16, alone: u16) -> SocketAddr {
    (0..=u16::MAX)
        .map(|number| client(family, number))
        .find(|&from| by_flow(family, protocol, from) == flow && by_client(from) == alone)
        .expect("of 65 536 clients a quarter is so")
}

/// The piece as it comes to a backend.
fn arrived(frame: &Frame, family: Family, backend: u16, id: u32, cut: Cut) -> Vec<u8> {
    piece(&translated(frame.clone(), family, backend), id, cut)
}
