//! What is about no connection of ours, or can't be: by name, and nothing changed.

use lb_common::{reason::Reason, release::Record};

use super::*;
use crate::{
    case::Case,
    frame::ETHERNET,
    lab::Lab,
    passed::edited,
    portless::with_keys,
    world::{FAMILIES, KINDS, NEW_TABLE, resting, server, with_record},
};

/// Of an IPv6 extension header that makes a packet a piece.
const FRAGMENT: u8 = 44;

fn check_passed(lab: &mut Lab, description: &str, input: Vec<u8>, reason: Reason) {
    Case::passed(description, input, reason).check(lab);
}

#[test]
fn a_quote_cut_before_its_ports_end_tells_nothing() {
    let mut lab = Lab::new(&with_keys());
    for (family, protocol) in KINDS {
        let (packet, error) = usual(family, protocol);
        for length in 0..ports_end(&packet) {
            let payload = error.payload[..length].to_vec();
            let cut = Frame {
                payload,
                ..error.clone()
            };
            // What lies behind the packet is no quote.
            let padded = Frame {
                padding: error.payload[length..].to_vec(),
                ..cut.clone()
            };
            for input in [cut, padded] {
                let description = format!("{family:?} {protocol:?}, {length} bytes quoted");
                check_passed(&mut lab, &description, input.bytes(), Reason::IcmpTruncated);
            }
        }
    }
}

#[test]
fn a_message_shorter_than_its_own_header_tells_nothing() {
    let mut lab = Lab::new(&with_keys());
    for family in FAMILIES {
        let plain = Frame {
            payload: Vec::new(),
            ..usual(family, Protocol::Tcp).1
        };
        // The word of the length, which says that the frame's last bytes are padding.
        let (at, before) = match family {
            Family::V4 => (ETHERNET + 2, 20),
            Family::V6 => (ETHERNET + 4, 0),
        };
        for length in 0..8_u16 {
            let input = edited(&plain, at, &(before + length).to_be_bytes());
            check_passed(&mut lab, "short", input, Reason::TruncatedTransport);
        }
    }
}

#[test]
fn an_error_about_another_protocol_is_not_ours() {
    let mut lab = Lab::new(&with_keys());
    for (family, protocol) in KINDS {
        let (packet, error) = usual(family, protocol);
        let at = match family {
            Family::V4 => 9,
            Family::V6 => 6,
        };
        for number in [1, 4, 47, 50, 58, 132] {
            let mut payload = packet.packet();
            payload[at] = number;
            let input = Frame {
                payload,
                ..error.clone()
            };
            let description = format!("{family:?} quoted protocol {number}");
            check_passed(&mut lab, &description, input.bytes(), Reason::IcmpUnrelated);
        }
    }
}

#[test]
fn an_error_about_what_no_listener_has_sent_is_not_ours() {
    let mut lab = Lab::new(&with_keys());
    for (family, protocol) in KINDS {
        let packet = sent(family, protocol, client(family, 7));
        let mut port = vip(family);
        port.set_port(81);
        let neighbour = server(family, 9);
        for from in [port, neighbour] {
            let input = about(&packet.clone().from(from), router(family), too_big(family));
            check_passed(
                &mut lab,
                &format!("about {from}"),
                input.bytes(),
                Reason::IcmpUnrelated,
            );
        }
    }
}

#[test]
fn an_error_that_went_to_another_than_it_quotes_is_a_lie() {
    let mut lab = Lab::new(&with_keys());
    for (family, protocol) in KINDS {
        let (_, error) = usual(family, protocol);
        let input = error.to(server(family, 9));
        Case::dropped("elsewhere", &input, Reason::IcmpContradiction).check(&mut lab);
    }
}

#[test]
fn an_error_about_a_later_piece_tells_no_ports_and_one_about_the_first_does() {
    let mut lab = Lab::new(&with_keys());
    for (family, protocol) in KINDS {
        let (packet, error) = usual(family, protocol);
        for (word, reason) in [
            (1_u16, Reason::IcmpUnrelated),
            (0x1fff, Reason::IcmpUnrelated),
            (0, Reason::ErrorTransmitted),
        ] {
            let quoted = piece(&packet, family, word);
            let input = Frame {
                payload: quoted,
                ..error.clone()
            };
            if reason == Reason::ErrorTransmitted {
                assert_eq!(lab.send_frame(&input).reason, reason);
            } else {
                let description = format!("{family:?} {protocol:?} at {word}");
                check_passed(&mut lab, &description, input.bytes(), reason);
            }
        }
    }
}

/// The packet as a piece with others behind it, at this offset in units of 8 bytes.
fn piece(packet: &Frame, family: Family, offset: u16) -> Vec<u8> {
    match family {
        Family::V4 => {
            let mut bytes = packet.packet();
            bytes[6..8].copy_from_slice(&(0x2000 | offset).to_be_bytes());
            bytes
        }
        Family::V6 => {
            let [high, low] = (offset << 3 | 1).to_be_bytes();
            let extensions = vec![(FRAGMENT, vec![high, low, 0, 0, 0, 9])];
            Frame {
                extensions,
                ..packet.clone()
            }
            .packet()
        }
    }
}

#[test]
fn a_quote_that_is_no_packet_of_the_errors_family_is_not_ours() {
    let mut lab = Lab::new(&with_keys());
    for (family, protocol) in KINDS {
        let (_, error) = usual(family, protocol);
        let mut payload = error.payload.clone();
        payload[0] = match family {
            Family::V4 => 0x65,
            Family::V6 => 0x40,
        };
        let input = Frame { payload, ..error };
        let outcome = lab.send_frame(&input);
        let refused = [Reason::IcmpUnrelated, Reason::IcmpTruncated];
        assert!(refused.contains(&outcome.reason), "{:?}", outcome.reason);
        assert_eq!(outcome.frame, input.bytes());
    }
}

#[test]
fn messages_that_are_no_errors_about_a_packet_pass() {
    let mut lab = Lab::new(&with_keys());
    for (family, kinds) in [
        // Echo reply, quench, redirect, advertisement, timestamp, mask.
        (Family::V4, [0, 4, 5, 9, 13, 17]),
        // Unknown errors, echo reply, solicitation, advertisement, redirect.
        (Family::V6, [0, 5, 127, 129, 135, 137]),
    ] {
        let packet = sent(family, Protocol::Tcp, client(family, 7));
        for kind in kinds {
            let input = about(&packet, router(family), ([kind, 0], [0; 4]));
            check_passed(
                &mut lab,
                &format!("{family:?} type {kind}"),
                input.bytes(),
                Reason::OtherProtocol,
            );
        }
    }
}

#[test]
fn an_error_about_a_connection_that_is_cut_has_nobody_to_go_to() {
    let record = Record {
        active: NEW_TABLE,
        touched_ppm: 1_000_000,
        flags: Record::MOVING | Record::CUT,
        ..resting()
    };
    let mut lab = Lab::new(&with_record(record));
    for family in FAMILIES {
        let (_, input) = usual(family, Protocol::Tcp);
        check_passed(&mut lab, "cut", input.bytes(), Reason::IcmpUnrelated);
    }
}

#[test]
fn an_error_from_an_address_that_no_host_has_is_dropped() {
    let mut lab = Lab::new(&with_keys());
    for (family, source, reason) in [
        (Family::V4, "127.0.0.1:0", Reason::MartianSource),
        (Family::V4, "255.255.255.255:0", Reason::MartianSource),
        (Family::V4, "192.0.2.80:0", Reason::Land),
        (Family::V6, "[::1]:0", Reason::MartianSource),
        (Family::V6, "[ff02::1]:0", Reason::MartianSource),
        (Family::V6, "[2001:db8::80]:0", Reason::Land),
    ] {
        let packet = sent(family, Protocol::Tcp, client(family, 7));
        let from = source.parse().expect("a literal address");
        let input = about(&packet, from, too_big(family));
        Case::dropped(source, &input, reason).check(&mut lab);
    }
}
