//! `forward = "ipip"` and `"gue"`: the packet inside another one, whole outputs compared.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    address::Address,
    backend::index,
    encap::Encap,
    hash,
    protocol::{TCP, UDP},
    release::Record,
};
use lb_userspace::dataplane::Image;

use crate::{
    case::Case,
    frame::{Frame, extension, tag},
    lab::{Lab, node},
    tunnel::{Outer, marked, wrapped},
    world::{
        FAMILIES, Family, KINDS, OLD, Protocol, SERVICE, at_rest, backend, client, macs, request,
        resting, server, vip,
    },
};

/// How packets are put into others.
const FORWARDS: [u32; 2] = [Record::FORWARD_IPIP, Record::FORWARD_GUE];

/// The service at rest with this forward, its backends at addresses of `outer`.
pub fn tunnelled(forward: u32, outer: Family) -> Image {
    let mut image = at_rest();
    image.replies.clear();
    for family in FAMILIES {
        let entry = index(OLD, family == Family::V6);
        image.backends.insert(entry, backend(outer, OLD));
    }
    let record = Record {
        flags: forward,
        ..resting()
    };
    image.records.insert(SERVICE, record);
    image
}

/// The outer ends of a packet of this flow, by the arithmetic that both sides share.
pub fn outer(forward: u32, family: Family, frame: &Frame, protocol: Protocol) -> Outer {
    outer_by(node().encap(), forward, family, frame, protocol)
}

fn outer_by(
    encap: &Encap,
    forward: u32,
    family: Family,
    frame: &Frame,
    protocol: Protocol,
) -> Outer {
    let entropy = entropy(frame.source, frame.destination, protocol);
    outer_of(encap, forward, family, entropy)
}

/// The outer ends of a packet whose flow has these bits.
pub fn outer_of(encap: &Encap, forward: u32, family: Family, entropy: u64) -> Outer {
    let source = match family {
        Family::V4 => IpAddr::from(encap.source_v4(entropy).to_ne_bytes()),
        Family::V6 => {
            let [first, second] = encap.source_v6(entropy).map(u64::to_ne_bytes);
            let bytes: [u8; 16] = [first, second].concat().try_into().expect("two halves");
            IpAddr::from(bytes)
        }
    };
    let (destination_mac, source_mac) = macs(OLD);
    let low = u16::try_from(entropy & 0xffff).expect("16 bits");
    let label = entropy.to_ne_bytes();
    let label = [label[5], label[6], label[7]];
    Outer {
        destination_mac,
        source_mac,
        source,
        destination: server(family, OLD).ip(),
        flow_label: u32::from_be_bytes([0, label[0] & 0xf, label[1], label[2]]),
        ports: (forward == Record::FORWARD_GUE).then(|| {
            let port = u16::from_be_bytes(encap.gue_port());
            (0xc000 | low, port)
        }),
    }
}

fn entropy(from: SocketAddr, to: SocketAddr, protocol: Protocol) -> u64 {
    let ports = (from.port().to_be_bytes(), to.port().to_be_bytes());
    let number = match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    let (from, to) = (Address::from(from.ip()), Address::from(to.ip()));
    hash::scatter(node().key().flow(&from, &to, ports, number))
}

/// Every forward, outer family, inner family and protocol.
fn all(mut each: impl FnMut(&mut Lab, u32, Family, Family, Protocol)) {
    for forward in FORWARDS {
        for outer_family in FAMILIES {
            let mut lab = Lab::new(&tunnelled(forward, outer_family));
            for (family, protocol) in KINDS {
                each(&mut lab, forward, outer_family, family, protocol);
            }
        }
    }
}

fn check(lab: &mut Lab, description: &str, input: Vec<u8>, outer: &Outer) {
    let output = wrapped(&input, outer);
    Case::sent(description, input, output).check(lab);
}

#[test]
fn a_packet_of_either_family_goes_inside_of_either_one_hop_further_on() {
    all(|lab, forward, outer_family, family, protocol| {
        let plain = request(family, protocol);
        let outer = outer(forward, outer_family, &plain, protocol);
        for (description, input) in shapes(family, &plain) {
            let description = format!(
                "{forward:#x} {family:?} {protocol:?} inside {outer_family:?}: {description}"
            );
            check(lab, &description, input.bytes(), &outer);
        }
    });
}

fn shapes(family: Family, plain: &Frame) -> Vec<(&'static str, Frame)> {
    let with = |change: &dyn Fn(&mut Frame)| {
        let mut frame = plain.clone();
        change(&mut frame);
        frame
    };
    vec![
        ("an odd payload", plain.clone()),
        ("no payload", with(&|frame| frame.payload.clear())),
        (
            "1400 bytes",
            with(&|frame| frame.payload = vec![0xa5; 1400]),
        ),
        ("the last TTL that can go on", with(&|frame| frame.hops = 2)),
        ("the highest TTL", with(&|frame| frame.hops = 255)),
        ("padding", with(&|frame| frame.padding = vec![0xee; 9])),
        (
            "a tag",
            with(&|frame| frame.tags = vec![(tag::VLAN, 0xf007)]),
        ),
        (
            "two tags",
            with(&|frame| frame.tags = vec![(tag::QINQ, 100), (tag::VLAN, 7)]),
        ),
        (
            "options or extensions",
            with(&|frame| match family {
                Family::V4 => frame.options = vec![1; 12],
                Family::V6 => frame.extensions = vec![(extension::HOP_BY_HOP, vec![1; 14])],
            }),
        ),
    ]
}

#[test]
fn traffic_class_and_congestion_marks_show_outside() {
    all(|lab, forward, outer_family, family, protocol| {
        let plain = request(family, protocol);
        let outer = outer(forward, outer_family, &plain, protocol);
        // Each mark (RFC 6040, section 4.1), without and with a DSCP; and all bits.
        for class in [0, 1, 2, 3, 0xb8, 0xb9, 0xba, 0xbb, 0xff] {
            let input = marked(&plain.bytes(), class, true);
            check(lab, &format!("class {class:#x}"), input, &outer);
        }
    });
}

#[test]
fn what_may_be_cut_inside_may_be_cut_outside() {
    all(|lab, forward, outer_family, family, protocol| {
        if family == Family::V4 {
            let plain = request(family, protocol);
            let outer = outer(forward, outer_family, &plain, protocol);
            for keep_whole in [false, true] {
                let input = marked(&plain.bytes(), 0, keep_whole);
                check(lab, &format!("DF {keep_whole}"), input, &outer);
            }
        }
    });
}

#[test]
fn outer_sources_and_port_are_the_nodes() {
    let prefixes = (
        ([10, 200, 0, 0].into(), 14),
        ([0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0].into(), 48),
    );
    let encap = Encap::new(prefixes.0, prefixes.1).with_gue_port(6081);
    for forward in FORWARDS {
        for family in FAMILIES {
            let image = tunnelled(forward, family);
            let mut lab = Lab::of_node(&image, node().with_encap(encap));
            let input = request(family, Protocol::Tcp);
            let outer = outer_by(&encap, forward, family, &input, Protocol::Tcp);
            check(&mut lab, "", input.bytes(), &outer);
        }
    }
}

#[test]
fn flows_to_one_backend_differ_in_their_outer_sources() {
    for forward in FORWARDS {
        for family in FAMILIES {
            let mut lab = Lab::new(&tunnelled(forward, family));
            let mut sources = std::collections::BTreeSet::new();
            for number in 0..100 {
                let input = Frame::ack(client(family, number), vip(family));
                let frame = lab.send_frame(&input).frame;
                sources.insert(match family {
                    Family::V4 => frame[26..30].to_vec(),
                    Family::V6 => frame[22..38].to_vec(),
                });
            }
            assert!(sources.len() > 95, "{} sources", sources.len());
        }
    }
}

#[test]
fn a_packet_without_a_hop_left_is_the_kernels() {
    all(|lab, _, _, family, protocol| {
        for hops in [0, 1] {
            let input = Frame {
                hops,
                ..request(family, protocol)
            };
            let reason = lb_common::reason::Reason::TtlExceeded;
            Case::passed(format!("TTL {hops}"), input.bytes(), reason).check(lab);
        }
    });
}
