//! What is not ours passes untouched, for a reason with a name.

use std::net::SocketAddr;

use lb_common::{node::Node, protocol::TCP, reason::Reason};

use crate::{
    case::{Case, check},
    frame::{ETHERNET, Frame, extension},
    lab::{Lab, node},
    world::{FAMILIES, Family, KINDS, Protocol, at_rest, client, request, server, vip},
};

/// Offsets in an IPv4 header: flags and fragment offset, protocol.
const V4_FRAGMENT: usize = ETHERNET + 6;
const V4_PROTOCOL: usize = ETHERNET + 9;
/// Offset of the next header's number in an IPv6 header.
const V6_NEXT: usize = ETHERNET + 6;

#[test]
fn other_protocols_of_ethernet_pass() {
    let ip = request(Family::V4, Protocol::Tcp).bytes();
    let with_type =
        |ether_type: [u8; 2]| [&ip[..ETHERNET - 2], &ether_type, &ip[ETHERNET..]].concat();
    check(
        &mut Lab::new(&at_rest()),
        [
            Case::passed("ARP", with_type([0x08, 0x06]), Reason::NotIp),
            Case::passed("LLDP", with_type([0x88, 0xcc]), Reason::NotIp),
            Case::passed("MPLS", with_type([0x88, 0x47]), Reason::NotIp),
            Case::passed("802.3 length", with_type([0x00, 0x2b]), Reason::NotIp),
        ],
    );
}

/// Every host of the link has them, and none forwards them; nor may an answer go to a group.
#[test]
fn frames_to_a_group_of_the_link_pass() {
    let mut lab = Lab::of_node(&at_rest(), node().with(Node::ANSWER_ECHO));
    let echo = Frame::icmp(client(Family::V4, 7), vip(Family::V4), [8, 0], [0; 4]);
    let frames = KINDS.map(|(family, protocol)| request(family, protocol));
    for frame in frames.into_iter().chain([echo]) {
        for destination_mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 80], [0x33, 0x33, 0, 0, 0, 80]] {
            let input = Frame {
                destination_mac,
                ..frame.clone()
            };
            Case::passed(format!("{input:?}"), input.bytes(), Reason::NotUnicast).check(&mut lab);
        }
    }
}

#[test]
fn other_protocols_of_ip_pass() {
    let mut lab = Lab::new(&at_rest());
    for (family, protocol) in KINDS {
        let at = match family {
            Family::V4 => V4_PROTOCOL,
            Family::V6 => V6_NEXT,
        };
        // ICMP, IGMP, 4in4, 6in4, GRE, ESP, AH, ICMPv6, no next header, SCTP, UDP-Lite.
        for number in [1, 2, 4, 41, 47, 50, 51, 58, 59, 132, 136] {
            let input = edited(&request(family, protocol), at, &[number]);
            let description = format!("{family:?} {protocol:?} as protocol {number}");
            Case::passed(description, input, Reason::OtherProtocol).check(&mut lab);
        }
    }
}

#[test]
fn other_addresses_ports_and_protocols_pass() {
    let mut lab = Lab::new(&at_rest());
    for family in FAMILIES {
        let (from, at) = (client(family, 7), vip(family));
        let neighbour = SocketAddr::new(server(family, 9).ip(), at.port());
        let other_port = SocketAddr::new(at.ip(), 81);
        for to in [neighbour, other_port] {
            for input in [
                Frame::syn(from, to),
                Frame::ack(from, to),
                Frame::udp(from, to),
            ] {
                let description = format!("{input:?}");
                Case::passed(description, input.bytes(), Reason::NotListening).check(&mut lab);
            }
        }
    }
    lab.change(|image| {
        image.listeners.retain(|vip, _| vip.protocol() == TCP);
    });
    for family in FAMILIES {
        let input = request(family, Protocol::Udp).bytes();
        Case::passed("UDP, where only TCP listens", input, Reason::NotListening).check(&mut lab);
    }
}

#[test]
fn every_piece_of_a_fragmented_packet_passes() {
    let mut lab = Lab::new(&at_rest());
    for (family, protocol) in KINDS {
        let plain = request(family, protocol);
        // The first piece, one in the middle, the last one; a whole one that says so.
        for word in [[0x20, 0x00], [0x20, 0x10], [0x00, 0x10]] {
            let input = match family {
                Family::V4 => edited(&plain, V4_FRAGMENT, &word),
                // The offset stands 3 bits higher there, and the mark is the lowest bit.
                Family::V6 => fragment_v6(&plain, [word[1] >> 1, word[0] >> 5]),
            };
            let description = format!("{family:?} {protocol:?} {word:02x?}");
            Case::passed(description, input, Reason::Fragment).check(&mut lab);
        }
    }
}

#[test]
fn extension_headers_beyond_the_bound_and_unfinished_source_routes_pass() {
    let mut lab = Lab::new(&at_rest());
    let one = (extension::DESTINATION_OPTIONS, vec![1; 6]);
    let unfinished = (extension::ROUTING, vec![4, 1, 0, 0, 0, 0]);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let plain = request(Family::V6, protocol);
        for chain in [
            vec![one.clone(); 5],
            vec![unfinished.clone()],
            vec![one.clone(), unfinished.clone()],
        ] {
            let input = Frame {
                extensions: chain,
                ..plain.clone()
            };
            let description = format!("{input:?}");
            Case::passed(description, input.bytes(), Reason::ExtensionHeaders).check(&mut lab);
        }
    }
}

#[test]
fn extension_headers_that_reach_beyond_the_verifiers_bound_pass() {
    let mut lab = Lab::new(&at_rest());
    let long = (extension::DESTINATION_OPTIONS, vec![0; 510]);
    let input = Frame {
        extensions: vec![long; 2],
        ..request(Family::V6, Protocol::Tcp)
    };
    let outcome = lab.send_frame(&input);
    assert_eq!(outcome.reason, Reason::TruncatedTransport);
    assert_eq!(outcome.frame, input.bytes());
}

#[test]
fn a_packet_without_a_hop_left_is_the_kernels_to_answer() {
    let mut lab = Lab::new(&at_rest());
    for (family, protocol) in KINDS {
        for hops in [0, 1] {
            let input = Frame {
                hops,
                ..request(family, protocol)
            }
            .bytes();
            let description = format!("{family:?} {protocol:?} TTL {hops}");
            Case::passed(description, input, Reason::TtlExceeded).check(&mut lab);
        }
    }
}

/// The frame with other bytes at `at`.
pub fn edited(frame: &Frame, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut edited = frame.bytes();
    edited[at..at + bytes.len()].copy_from_slice(bytes);
    edited
}

/// The frame behind a fragment header.
fn fragment_v6(frame: &Frame, word: [u8; 2]) -> Vec<u8> {
    const FRAGMENT: u8 = 44;
    let content = vec![word[0], word[1], 0, 0, 0, 1];
    let extensions = vec![(FRAGMENT, content)];
    Frame {
        extensions,
        ..frame.clone()
    }
    .bytes()
}
