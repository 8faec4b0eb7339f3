//! `connections = "cut"`: who is not where new connections go is told so by a reset, at once.

use std::net::SocketAddr;

use etherparse::{PacketBuilder, TcpHeader};
use lb_common::{
    reason::{FlowEvent, Reason},
    release::Record,
};

use crate::{
    frame::{Frame, Transport, extension, flag, tag},
    lab::Lab,
    outcome::Verdict,
    world::{
        FAMILIES, Family, NEW, NEW_TABLE, OLD, OLD_TABLE, changes, chosen, client, resting,
        reweigh, slot_of, vip, with_record,
    },
};

/// The sequence number of every segment that a frame describes.
const SEQUENCE: u32 = 0x0102_0304;
/// An acknowledgement that a sum which is folded too soon gets wrong.
const ACKNOWLEDGED: u32 = 0xfffe_ffff;

#[test]
fn a_segment_of_a_connection_that_is_cut_is_answered_by_the_reset_that_rfc_9293_asks_for() {
    let mut lab = Lab::new(&with_record(cutting()));
    for family in FAMILIES {
        for (flags, options, payload, tags) in segments() {
            let frame = Frame {
                transport: Transport::Tcp(flags, options),
                payload: vec![7; payload],
                tags,
                ..Frame::ack(client(family, 7), vip(family))
            };
            let mut input = frame.bytes();
            let at = frame.transport_offset() + 8;
            input[at..at + 4].copy_from_slice(&ACKNOWLEDGED.to_be_bytes());

            let outcome = lab.send(&input);

            let told = (outcome.verdict, outcome.reason);
            assert_eq!(told, (Verdict::Transmit, Reason::Reset), "{frame:?}");
            assert_eq!(outcome.frame, reset_of(&frame, ACKNOWLEDGED), "{frame:?}");
        }
    }
}

#[test]
fn the_reset_leaves_options_and_extension_headers_behind() {
    let mut lab = Lab::new(&with_record(cutting()));
    let v4 = Frame {
        options: vec![1; 8],
        ..Frame::ack(client(Family::V4, 7), vip(Family::V4))
    };
    let v6 = Frame {
        extensions: vec![(extension::DESTINATION_OPTIONS, vec![0; 14])],
        ..Frame::ack(client(Family::V6, 7), vip(Family::V6))
    };
    for frame in [v4, v6] {
        let mut input = frame.bytes();
        let at = frame.transport_offset() + 8;
        input[at..at + 4].copy_from_slice(&ACKNOWLEDGED.to_be_bytes());
        let outcome = lab.send(&input);
        assert_eq!(outcome.reason, Reason::Reset);
        assert_eq!(outcome.frame, reset_of(&frame, ACKNOWLEDGED));
    }
}

#[test]
fn a_reset_is_never_answered_by_one_but_reaches_the_server_that_it_is_for() {
    let mut lab = Lab::new(&with_record(cutting()));
    for family in FAMILIES {
        for flags in [flag::RST, flag::RST | flag::ACK] {
            let frame = Frame::tcp(client(family, 7), vip(family), flags);
            let outcome = lab.send_frame(&frame);
            assert_eq!(outcome.reason, Reason::Transmitted);
            assert_eq!(chosen(&outcome.frame), OLD);
        }
    }
    assert!(lab.pins().is_empty());
}

#[test]
fn new_connections_live_while_old_ones_are_cut() {
    let mut lab = Lab::new(&with_record(cutting()));
    for family in FAMILIES {
        let from = client(family, 7);
        assert_eq!(
            reason(&mut lab, &Frame::ack(from, vip(family))),
            Reason::Reset
        );
        for frame in [Frame::syn, Frame::ack, Frame::ack] {
            let outcome = lab.send_frame(&frame(from, vip(family)));
            assert_eq!(outcome.reason, Reason::Transmitted);
            assert_eq!(chosen(&outcome.frame), NEW);
        }
    }
}

#[test]
fn a_connection_that_began_in_between_is_cut_by_the_next_change() {
    let mut lab = Lab::new(&with_record(cutting()));
    let back = Record {
        active: OLD_TABLE,
        ..cutting()
    };
    for family in FAMILIES {
        lab.set_record(cutting());
        let (from, to) = (client(family, 7), vip(family));
        for frame in [Frame::syn, Frame::ack] {
            assert_eq!(reason(&mut lab, &frame(from, to)), Reason::Transmitted);
        }
        lab.set_record(back);
        let outcome = lab.send_frame(&Frame::ack(from, to));
        assert_eq!(outcome.reason, Reason::Reset);
        assert_eq!(outcome.events, [FlowEvent::Lookup, FlowEvent::Unpinned]);
        // One of before the first change is where new ones go again.
        let outcome = lab.send_frame(&Frame::ack(client(family, 8), to));
        assert_eq!(chosen(&outcome.frame), OLD);
    }
}

#[test]
fn a_change_of_weights_cuts_the_slots_that_move_and_no_others() {
    let mut lab = Lab::new(&with_record(resting()));
    lab.change(|image| reweigh(image, Record::CUT));
    for family in FAMILIES {
        for number in 0..100 {
            let from = client(family, number);
            let moves = changes(slot_of(from, vip(family), 6));
            let reason = reason(&mut lab, &Frame::ack(from, vip(family)));
            assert_eq!(reason == Reason::Reset, moves, "{from}");
        }
    }
}

#[test]
fn once_its_deadline_is_over_a_pinned_connection_that_is_not_where_new_ones_go_is_cut() {
    let changing = Record {
        flags: Record::MOVING,
        ..cutting()
    };
    let settled = Record {
        origin_active: NEW_TABLE,
        flags: 0,
        ..changing
    };
    let overdue = Record {
        flags: Record::OVERDUE,
        ..settled
    };
    for family in FAMILIES {
        let mut lab = Lab::new(&with_record(changing));
        let (old, new, to) = (client(family, 1), client(family, 2), vip(family));
        lab.send_frame(&Frame::ack(old, to));
        lab.send_frame(&Frame::syn(new, to));
        lab.send_frame(&Frame::ack(new, to));
        lab.set_record(settled);
        assert_eq!(chosen(&lab.send_frame(&Frame::ack(old, to)).frame), OLD);

        lab.set_record(overdue);

        assert_eq!(reason(&mut lab, &Frame::ack(old, to)), Reason::Reset);
        assert_eq!(chosen(&lab.send_frame(&Frame::ack(new, to)).frame), NEW);
        assert_eq!(lab.pins().len(), 1, "the pin has gone with its connection");
    }
}

fn reason(lab: &mut Lab, frame: &Frame) -> Reason {
    lab.send_frame(frame).reason
}

/// Flags, options, bytes of payload, VLAN tags.
type Segment = (u8, Vec<u8>, usize, Vec<(u16, u16)>);

/// With an acknowledgement and without, with and without what makes a segment long.
fn segments() -> Vec<Segment> {
    vec![
        (flag::ACK, vec![], 0, vec![]),
        (flag::ACK | flag::PSH, vec![1; 12], 5, vec![]),
        (flag::ACK, vec![], 1400, vec![(tag::VLAN, 7)]),
        (flag::ACK | flag::FIN, vec![], 1, vec![]),
        (flag::SYN | flag::ACK, vec![1; 40], 0, vec![]),
        (flag::FIN, vec![], 3, vec![(tag::QINQ, 7), (tag::VLAN, 9)]),
        (flag::FIN | flag::PSH, vec![1; 4], 1001, vec![]),
        (flag::FIN, vec![], 0, vec![]),
    ]
}

/// The reset of a segment that acknowledges so much, if anything: RFC 9293, section 3.10.7.1, written by
/// `etherparse`.
pub fn reset_of(frame: &Frame, acknowledged: u32) -> Vec<u8> {
    let Transport::Tcp(flags, _) = frame.transport else {
        panic!("no segment: {frame:?}");
    };
    let (from, to): (SocketAddr, SocketAddr) = (frame.destination, frame.source);
    let builder = PacketBuilder::ethernet2(frame.destination_mac, frame.source_mac);
    let builder = builder.ip(match (from.ip(), to.ip()) {
        (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => {
            let header = etherparse::Ipv4Header::new(
                0,
                64,
                etherparse::IpNumber::TCP,
                from.octets(),
                to.octets(),
            );
            let header = header.expect("an empty payload");
            etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
        }
        (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) => {
            let header = etherparse::Ipv6Header {
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
                ..etherparse::Ipv6Header::default()
            };
            etherparse::IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
        }
        _ => panic!("two families"),
    });
    let mut tcp = TcpHeader::new(from.port(), to.port(), 0, 0);
    tcp.rst = true;
    if flags & flag::ACK == 0 {
        let controls = u32::from(flags & flag::FIN != 0);
        tcp.ack = true;
        tcp.acknowledgment_number = SEQUENCE
            + controls
            + u32::try_from(frame.payload.len()).expect("test frames are small");
    } else {
        tcp.sequence_number = acknowledged;
    }
    let builder = builder.tcp_header(tcp);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[]).expect("into memory");
    // The tags stay between the addresses and the packet's own type.
    let tags = &frame.bytes()[12..frame.network_offset() - 2];
    bytes.splice(12..12, tags.iter().copied());
    bytes
}

/// A cutover has just been made.
pub fn cutting() -> Record {
    Record {
        active: NEW_TABLE,
        touched_ppm: 1_000_000,
        flags: Record::MOVING | Record::CUT,
        ..resting()
    }
}
