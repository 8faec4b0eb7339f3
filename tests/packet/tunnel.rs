//! Packets inside others, as `etherparse` writes them.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, UdpHeader};

/// What is outside.
#[derive(Clone, Debug)]
pub struct Outer {
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    pub source: IpAddr,
    pub destination: IpAddr,
    pub flow_label: u32,
    /// Source and destination port of a datagram.
    pub ports: Option<(u16, u16)>,
}

/// Bytes of both Ethernet addresses.
const MACS: usize = 12;

/// Where the IP header of a frame starts, behind its tags.
pub fn network(frame: &[u8]) -> usize {
    let mut at = MACS;
    while matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    at + 2
}

/// The frame with another traffic class, and, for IPv4, with or without leave to be cut.
pub fn marked(frame: &[u8], class: u8, keep_whole: bool) -> Vec<u8> {
    let at = network(frame);
    let mut frame = frame.to_vec();
    if frame[at] >> 4 == 6 {
        let (mut header, _) = Ipv6Header::from_slice(&frame[at..]).expect("an IPv6 frame");
        header.traffic_class = class;
        frame[at..at + Ipv6Header::LEN].copy_from_slice(&header.to_bytes());
    } else {
        let (mut header, _) = Ipv4Header::from_slice(&frame[at..]).expect("an IPv4 frame");
        (header.dscp, header.ecn) = (
            (class >> 2).try_into().expect("6 bits"),
            (class & 3).try_into().expect("2 bits"),
        );
        header.dont_fragment = keep_whole;
        header.header_checksum = header.calc_header_checksum();
        let bytes = header.to_bytes();
        frame[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    frame
}

/// The frame's packet one hop further on, its padding left aside, and what it shows outside.
struct Inner {
    bytes: Vec<u8>,
    class: u8,
    v6: bool,
    /// Identification, and whether it must not be cut.
    whole: (u16, bool),
    padding: Vec<u8>,
}

fn inner(frame: &[u8]) -> Inner {
    let packet = &frame[network(frame)..];
    if packet[0] >> 4 == 6 {
        let (mut header, rest) = Ipv6Header::from_slice(packet).expect("an IPv6 frame");
        header.hop_limit -= 1;
        let (payload, padding) = rest.split_at(header.payload_length.into());
        Inner {
            bytes: [&header.to_bytes(), payload].concat(),
            class: header.traffic_class,
            v6: true,
            whole: (0, true),
            padding: padding.to_vec(),
        }
    } else {
        let (mut header, rest) = Ipv4Header::from_slice(packet).expect("an IPv4 frame");
        header.time_to_live -= 1;
        header.header_checksum = header.calc_header_checksum();
        let payload = header.payload_len().expect("longer than its header");
        let (payload, padding) = rest.split_at(payload.into());
        Inner {
            class: header.dscp.value() << 2 | header.ecn.value(),
            whole: (
                header
                    .identification
                    .wrapping_add(header.fragment_offset.value()),
                header.dont_fragment,
            ),
            bytes: [&header.to_bytes(), payload].concat(),
            v6: false,
            padding: padding.to_vec(),
        }
    }
}

/// The frame as its backend gets it: one hop further on, inside `outer`, tags and padding kept.
pub fn wrapped(frame: &[u8], outer: &Outer) -> Vec<u8> {
    let inner = inner(frame);
    let tags = &frame[MACS..network(frame) - 2];
    let mut payload = inner.bytes.clone();
    let mut protocol = if inner.v6 { IpNumber(41) } else { IpNumber(4) };
    if let Some((from, to)) = outer.ports {
        let header = UdpHeader::without_ipv4_checksum(from, to, payload.len());
        let header = header.expect("test frames are small").to_bytes();
        payload = [&header[..], &payload].concat();
        protocol = IpNumber::UDP;
    }
    let (ethertype, header) = match (outer.source, outer.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = payload.len().try_into().expect("test frames are small");
            let header = Ipv4Header::new(length, 64, protocol, from.octets(), to.octets());
            let mut header = header.expect("test frames are small");
            (header.identification, header.dont_fragment) = inner.whole;
            (header.dscp, header.ecn) = (
                (inner.class >> 2).try_into().expect("6 bits"),
                (inner.class & 3).try_into().expect("2 bits"),
            );
            header.header_checksum = header.calc_header_checksum();
            ([0x08, 0x00], header.to_bytes().to_vec())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                traffic_class: inner.class,
                flow_label: Ipv6FlowLabel::try_new(outer.flow_label).expect("20 bits"),
                payload_length: payload.len().try_into().expect("test frames are small"),
                next_header: protocol,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
            };
            ([0x86, 0xdd], header.to_bytes().to_vec())
        }
        _ => panic!("ends of two families: {outer:?}"),
    };
    [
        &outer.destination_mac[..],
        &outer.source_mac,
        tags,
        &ethertype,
        &header,
        &payload,
        &inner.padding,
    ]
    .concat()
}
