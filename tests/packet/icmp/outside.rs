//! From the clients' side: to the backend that owns the connection.

use lb_common::{backend::index, reason::Reason, release::Record};
use lb_userspace::dataplane::Image;

use super::*;
use crate::{
    case::Case,
    encap::{outer, tunnelled},
    frame::{extension, tag},
    lab::Lab,
    outcome::Verdict,
    portless::with_keys,
    tunnel::wrapped,
    world::{
        FAMILIES, KINDS, NEW, OLD, SERVICE, backend, chosen, client_in, macs, ramping, request,
        resting, server, translated, with_record,
    },
};

/// One client in ten is sent to the new pool.
const SHARE: u32 = 100_000;

/// The error as the backend gets it, which knows nothing of the VIP.
fn relayed(packet: &Frame, error: &Frame, family: Family, id: u16, length: usize) -> Frame {
    let after = packet.clone().from(server(family, id));
    Frame {
        payload: quoted(packet, &after, length),
        ..translated(error.clone(), family, id)
    }
}

fn error_transmitted(description: String, input: &Frame, output: &Frame) -> Case {
    Case::transmitted(description, input, output).by(Verdict::Transmit, Reason::ErrorTransmitted)
}

#[test]
fn every_kind_of_error_reaches_the_backend_with_the_packet_as_it_had_sent_it() {
    let mut lab = Lab::new(&with_keys());
    for (family, protocol) in KINDS {
        let packet = sent(family, protocol, client(family, 7));
        for kind in errors(family) {
            let input = about(&packet, router(family), kind);
            let output = relayed(&packet, &input, family, OLD, input.payload.len());
            let description = format!("{family:?} {protocol:?} {kind:?}");
            error_transmitted(description, &input, &output).check(&mut lab);
        }
    }
}

#[test]
fn a_quote_may_end_anywhere_behind_its_ports() {
    let mut lab = Lab::new(&with_keys());
    for (family, protocol) in KINDS {
        let (packet, error) = usual(family, protocol);
        // Before, within and behind the checksum.
        for length in ports_end(&packet)..=error.payload.len() {
            let input = Frame {
                payload: error.payload[..length].to_vec(),
                ..error.clone()
            };
            let output = relayed(&packet, &input, family, OLD, length);
            let description = format!("{family:?} {protocol:?}, {length} bytes quoted");
            error_transmitted(description, &input, &output).check(&mut lab);
        }
    }
}

#[test]
fn tags_options_and_extension_headers_around_and_within_are_kept() {
    let mut lab = Lab::new(&with_keys());
    let rich = |frame: Frame, family| match family {
        Family::V4 => Frame {
            options: vec![1; 8],
            ..frame
        },
        Family::V6 => Frame {
            extensions: vec![(extension::DESTINATION_OPTIONS, vec![1; 6])],
            ..frame
        },
    };
    for (family, protocol) in KINDS {
        let (plain, _) = usual(family, protocol);
        let optional = rich(plain.clone(), family);
        for packet in [plain, optional] {
            let error = about(&packet, router(family), too_big(family));
            let tagged = Frame {
                tags: vec![(tag::QINQ, 7), (tag::VLAN, 8)],
                ..error.clone()
            };
            for input in [rich(error.clone(), family), tagged] {
                let output = relayed(&packet, &input, family, OLD, input.payload.len());
                error_transmitted(format!("{input:?}"), &input, &output).check(&mut lab);
            }
        }
    }
}

#[test]
fn the_quoted_datagram_without_a_checksum_stays_without_one() {
    let mut lab = Lab::new(&with_keys());
    for family in FAMILIES {
        let packet = Frame {
            transport: Transport::Udp { summed: false },
            ..sent(family, Protocol::Udp, client(family, 7))
        };
        let input = about(&packet, router(family), too_big(family));
        let output = relayed(&packet, &input, family, OLD, input.payload.len());
        error_transmitted(format!("{family:?}"), &input, &output).check(&mut lab);
    }
}

#[test]
fn with_direct_server_return_the_error_goes_as_it_is() {
    let mut lab = Lab::new(&forwarding(Record::FORWARD_L2));
    for (family, protocol) in KINDS {
        let (_, input) = usual(family, protocol);
        let (destination_mac, source_mac) = macs(OLD);
        let output = Frame {
            source_mac,
            destination_mac,
            ..input.clone()
        };
        error_transmitted(format!("{family:?} {protocol:?}"), &input, &output).check(&mut lab);
    }
}

#[test]
fn in_a_tunnel_the_error_travels_as_the_connections_packets_do() {
    for forward in [Record::FORWARD_IPIP, Record::FORWARD_GUE] {
        for outer_family in FAMILIES {
            let mut lab = Lab::new(&keyed(tunnelled(forward, outer_family)));
            for (family, protocol) in KINDS {
                let (_, input) = usual(family, protocol);
                let of = request(family, protocol);
                let input = input.bytes();
                let output = wrapped(&input, &outer(forward, outer_family, &of, protocol));
                Case::sent(
                    format!("{family:?} {protocol:?} in {outer_family:?}"),
                    input,
                    output,
                )
                .by(Verdict::Transmit, Reason::ErrorTransmitted)
                .check(&mut lab);
            }
        }
    }
}

#[test]
fn in_the_middle_of_a_change_the_error_goes_where_the_connection_is() {
    let mut lab = Lab::new(&keyed(with_record(ramping(SHARE))));
    for family in FAMILIES {
        let owner = client_in(family, SHARE, true);
        let input = |to| {
            about(
                &sent(family, Protocol::Tcp, to),
                router(family),
                too_big(family),
            )
        };
        let mut unknown = owner;
        unknown.set_port(40_001);

        // Of unknown past: with the origin, as its packets would go; nobody is pinned by an error.
        let at_origin = lab.send_frame(&input(owner));
        assert_eq!((chosen(&at_origin.frame), at_origin.events), (OLD, vec![]));

        for flags in [flag::SYN, flag::ACK] {
            let opened = lab.send_frame(&Frame::tcp(owner, vip(family), flags));
            assert_eq!(chosen(&opened.frame), NEW);
        }
        let pins = lab.pins().len();
        for record in [ramping(SHARE), taken_back()] {
            lab.set_record(record);
            let packet = sent(family, Protocol::Tcp, owner);
            let error = input(owner);
            let output = relayed(&packet, &error, family, NEW, error.payload.len());
            error_transmitted(format!("{family:?} pinned"), &error, &output).check(&mut lab);
            let other = lab.send_frame(&input(unknown));
            assert_eq!((chosen(&other.frame), other.events), (OLD, vec![]));
        }
        assert_eq!(lab.pins().len(), pins);
        lab.set_record(ramping(SHARE));
    }
}

#[test]
fn an_error_about_a_connection_counts_for_its_backend_but_not_as_a_connection() {
    let mut lab = Lab::new(&with_keys());
    let (_, input) = usual(Family::V4, Protocol::Tcp);
    lab.send_frame(&input);
    assert_eq!(lab.counters().backends[&OLD].connections, 0);
}

#[test]
fn an_error_without_a_hop_left_is_the_kernels() {
    let mut lab = Lab::new(&with_keys());
    for (family, protocol) in KINDS {
        let (_, error) = usual(family, protocol);
        let input = Frame { hops: 1, ..error };
        Case::passed("TTL 1", input.bytes(), Reason::TtlExceeded).check(&mut lab);
    }
}

#[test]
fn an_error_that_is_too_big_for_its_way_is_told_to_nobody() {
    let mut image = with_keys();
    for family in FAMILIES {
        let entry = backend(family, OLD).with_mtu(100);
        let at = index(OLD, family == Family::V6);
        image.backends.insert(at, entry);
    }
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        let packet = Frame {
            payload: vec![0xa5; 400],
            ..sent(family, Protocol::Tcp, client(family, 7))
        };
        let input = about(&packet, router(family), too_big(family));
        Case::dropped("400 bytes", &input, Reason::TooBigUntold).check(&mut lab);
    }
}

/// The share has been given up, and pins live on.
fn taken_back() -> Record {
    Record {
        touched_ppm: SHARE,
        ..ramping(0)
    }
}

fn forwarding(forward: u32) -> Image {
    let mut image = with_keys();
    let record = Record {
        flags: forward,
        ..resting()
    };
    image.records.insert(SERVICE, record);
    image
}

fn keyed(mut image: Image) -> Image {
    lb_userspace::state::portless::add(&mut image);
    image
}
