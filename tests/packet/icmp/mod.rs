//! ICMP and `ICMPv6` errors about connections of a VIP, whole outputs compared.

mod inside;
mod outside;
mod refused;

use std::net::SocketAddr;

use crate::{
    frame::{Frame, Transport, flag},
    world::{Family, Protocol, client, vip},
};

/// The errors that are about one packet: type and code, and what follows the checksum.
const ERRORS_V4: [([u8; 2], [u8; 4]); 6] = [
    ([3, 1], [0; 4]),
    ([3, 3], [0; 4]),
    // Fragmentation needed, with the next hop's MTU.
    ([3, 4], [0, 0, 0x05, 0x14]),
    ([11, 0], [0; 4]),
    ([11, 1], [0; 4]),
    ([12, 0], [20, 0, 0, 0]),
];
const ERRORS_V6: [([u8; 2], [u8; 4]); 6] = [
    ([1, 0], [0; 4]),
    ([1, 4], [0; 4]),
    // Packet too big, with the next hop's MTU.
    ([2, 0], [0, 0, 0x05, 0x14]),
    ([3, 0], [0; 4]),
    ([3, 1], [0; 4]),
    ([4, 0], [0, 0, 0, 40]),
];

fn errors(family: Family) -> [([u8; 2], [u8; 4]); 6] {
    match family {
        Family::V4 => ERRORS_V4,
        Family::V6 => ERRORS_V6,
    }
}

/// The packet too big, or the frame that has to be cut: what path MTU discovery lives from.
fn too_big(family: Family) -> ([u8; 2], [u8; 4]) {
    errors(family)[2]
}

/// A router between the clients and the VIP.
fn router(family: Family) -> SocketAddr {
    let literal = match family {
        Family::V4 => "198.18.0.9:0",
        Family::V6 => "[2001:db8:9::9]:0",
    };
    literal.parse().expect("a literal address")
}

/// What a server of the VIP has sent to a client, as a router further on sees it.
fn sent(family: Family, protocol: Protocol, to: SocketAddr) -> Frame {
    let frame = match protocol {
        Protocol::Tcp => Frame::tcp(vip(family), to, flag::ACK | flag::PSH),
        Protocol::Udp => Frame::udp(vip(family), to),
    };
    Frame { hops: 3, ..frame }
}

/// An error about this packet, to whom it came from.
fn about(packet: &Frame, from: SocketAddr, (head, rest): ([u8; 2], [u8; 4])) -> Frame {
    Frame {
        payload: packet.packet(),
        ..Frame::icmp(from, packet.source, head, rest)
    }
}

/// A packet too big of the usual client's connection.
fn usual(family: Family, protocol: Protocol) -> (Frame, Frame) {
    let packet = sent(family, protocol, client(family, 7));
    let error = about(&packet, router(family), too_big(family));
    (packet, error)
}

/// Errors that packets of the usual client's connections were too big.
pub fn some(family: Family) -> Vec<Vec<u8>> {
    let errors = [Protocol::Tcp, Protocol::Udp].map(|protocol| usual(family, protocol).1);
    errors.map(|error| error.bytes()).to_vec()
}

/// Bytes from the start of the quoted packet to the end of its ports.
fn ports_end(packet: &Frame) -> usize {
    packet.transport_offset() - packet.network_offset() + 4
}

/// What stands in a quote of `length` bytes, of a packet that has become `after`. Of a checksum, half says nothing, and stays.
fn quoted(packet: &Frame, after: &Frame, length: usize) -> Vec<u8> {
    let checksum = match packet.transport {
        Transport::Tcp(..) => 16,
        Transport::Udp { .. } | Transport::Icmp(..) => 6,
    };
    let half = packet.transport_offset() - packet.network_offset() + checksum;
    let mut quote = after.packet();
    if length == half + 1 {
        quote[half] = packet.packet()[half];
    }
    quote.truncate(length);
    quote
}
