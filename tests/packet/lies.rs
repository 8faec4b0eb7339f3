//! Headers whose lengths contradict each other or the frame.

use lb_common::reason::Reason;

use crate::{
    case::Case,
    frame::{ETHERNET, Frame, extension},
    lab::Lab,
    passed::edited,
    world::{FAMILIES, Family, KINDS, OLD, Protocol, at_rest, request, translated},
};

/// Offset of an IPv4 header's total length.
const V4_TOTAL: usize = ETHERNET + 2;
/// Offset of an IPv6 header's payload length.
const V6_PAYLOAD: usize = ETHERNET + 4;
/// Offset of the data offset in a TCP header.
const TCP_OFFSET: usize = 12;
/// Offset of the length in a UDP header.
const UDP_LENGTH: usize = 4;

#[test]
fn a_lying_ip_header_passes() {
    let mut lab = Lab::new(&at_rest());
    for (family, protocol) in KINDS {
        let plain = request(family, protocol);
        let network = plain.bytes().len() - ETHERNET;
        let edits: Vec<(&str, usize, Vec<u8>)> = match family {
            Family::V4 => vec![
                ("version 6", ETHERNET, vec![0x65]),
                ("a header of 16 bytes", ETHERNET, vec![0x44]),
                ("no header", ETHERNET, vec![0x40]),
                ("a header beyond the total length", ETHERNET, vec![0x4f]),
                ("a total length of 0", V4_TOTAL, length(0)),
                ("a total length within the header", V4_TOTAL, length(19)),
                ("a total length without transport", V4_TOTAL, length(20)),
                (
                    "a total length within the transport header",
                    V4_TOTAL,
                    length(27),
                ),
                ("a total length of one more", V4_TOTAL, length(network + 1)),
                ("the longest total length", V4_TOTAL, length(65_535)),
            ],
            Family::V6 => vec![
                ("version 4", ETHERNET, vec![0x45]),
                (
                    "a payload of nothing, or a jumbogram",
                    V6_PAYLOAD,
                    length(0),
                ),
                (
                    "a payload within the transport header",
                    V6_PAYLOAD,
                    length(7),
                ),
                (
                    "a payload of one more",
                    V6_PAYLOAD,
                    length(network - 40 + 1),
                ),
                ("the longest payload", V6_PAYLOAD, length(65_535)),
            ],
        };
        for (description, at, bytes) in edits {
            let input = edited(&plain, at, &bytes);
            let description = format!("{family:?} {protocol:?}: {description}");
            Case::passed(description, input, Reason::BadLength).check(&mut lab);
        }
    }
}

#[test]
fn a_lying_transport_header_passes() {
    let mut lab = Lab::new(&at_rest());
    for family in FAMILIES {
        let (tcp, udp) = (
            request(family, Protocol::Tcp),
            request(family, Protocol::Udp),
        );
        let segment = tcp.bytes().len() - tcp.transport_offset();
        let datagram = udp.bytes().len() - udp.transport_offset();
        let beyond = u8::try_from(segment / 4 + 1).expect("a short segment") << 4;
        let edits = [
            ("a TCP header of nothing", &tcp, TCP_OFFSET, vec![0]),
            ("a TCP header of 16 bytes", &tcp, TCP_OFFSET, vec![0x40]),
            (
                "a TCP header beyond the packet",
                &tcp,
                TCP_OFFSET,
                vec![beyond],
            ),
            ("the longest TCP header", &tcp, TCP_OFFSET, vec![0xf0]),
            ("a datagram of nothing", &udp, UDP_LENGTH, length(0)),
            ("a datagram within its header", &udp, UDP_LENGTH, length(7)),
            (
                "a datagram of one more",
                &udp,
                UDP_LENGTH,
                length(datagram + 1),
            ),
            ("the longest datagram", &udp, UDP_LENGTH, length(65_535)),
        ];
        for (description, frame, at, bytes) in edits {
            let input = edited(frame, frame.transport_offset() + at, &bytes);
            let description = format!("{family:?}: {description}");
            Case::passed(description, input, Reason::BadLength).check(&mut lab);
        }
    }
}

#[test]
fn padding_does_not_make_up_for_a_packet_that_is_too_short() {
    let mut lab = Lab::new(&at_rest());
    for (family, protocol) in KINDS {
        let plain = request(family, protocol);
        let whole = plain.bytes().len() - plain.payload.len() - ETHERNET;
        let (at, told) = match family {
            Family::V4 => (V4_TOTAL, whole - 1),
            Family::V6 => (V6_PAYLOAD, whole - 40 - 1),
        };
        let padded = Frame {
            padding: vec![0; 46],
            ..plain
        };
        let input = edited(&padded, at, &length(told));
        let description = format!("{family:?} {protocol:?}");
        Case::passed(description, input, Reason::BadLength).check(&mut lab);
    }
}

#[test]
fn an_extension_header_that_reaches_beyond_the_packet_passes() {
    let mut lab = Lab::new(&at_rest());
    let extensions = vec![(extension::DESTINATION_OPTIONS, vec![1; 6])];
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let frame = Frame {
            extensions: extensions.clone(),
            ..request(Family::V6, protocol)
        };
        for units in [4, 100, 255] {
            let input = edited(&frame, ETHERNET + 41, &[units]);
            Case::passed(format!("{units} units"), input, Reason::BadLength).check(&mut lab);
        }
    }
}

#[test]
fn a_datagram_shorter_than_its_packet_is_forwarded_whole() {
    let mut lab = Lab::new(&at_rest());
    for family in FAMILIES {
        let input = request(family, Protocol::Udp);
        let output = translated(input.clone(), family, OLD);
        // The checksum field does not follow, so both frames are wrong in the same way.
        let at = |frame: &Frame| frame.transport_offset() + UDP_LENGTH;
        let sent = edited(&input, at(&input), &length(8));
        let outcome = lab.send(&sent);
        assert_eq!(outcome.reason, Reason::Transmitted);
        assert_eq!(outcome.frame, edited(&output, at(&output), &length(8)));
    }
}

fn length(bytes: usize) -> Vec<u8> {
    let bytes = u16::try_from(bytes).expect("a length field has 16 bits");
    bytes.to_be_bytes().to_vec()
}
