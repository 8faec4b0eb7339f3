//! Pieces that no honest sender makes, or that nobody can place: by name, and nothing changed.

use lb_common::{listener::Listener, reason::Reason};

use super::*;
use crate::{
    case::Case,
    lab::Lab,
    outcome::Verdict,
    world::{FAMILIES, KINDS, endpoint, server},
};

fn dropped(description: &str, input: Vec<u8>, reason: Reason) -> Case {
    Case::sent(description, input.clone(), input).by(Verdict::Drop, reason)
}

/// A piece with `length` bytes of data of its own.
fn made(frame: &Frame, length: usize, place: (usize, bool)) -> Vec<u8> {
    let whole = frame.bytes();
    let at = network(&whole);
    let header = whole[frame.transport_offset()..].iter().copied();
    let data: Vec<u8> = header.chain([0xa5; 2000]).take(length).collect();
    piece_of(&whole[..at], &whole[at..], &data, 1, place)
}

#[test]
fn a_piece_that_overlaps_the_first_one_refuses_all_that_follow() {
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        let frame = large(family, protocol, client(family, 7));
        assert_eq!(
            lab.send(&piece(&frame, 1, CUTS[0])).reason,
            Reason::Transmitted
        );
        for cut in [(56, 160), CUTS[1], CUTS[2]] {
            let input = piece(&frame, 1, cut);
            dropped("later", input, Reason::FragmentOverlap).check(&mut lab);
        }
        // Another packet is none of that.
        for cut in CUTS {
            assert_eq!(lab.send(&piece(&frame, 2, cut)).reason, Reason::Transmitted);
        }
    }
}

#[test]
fn a_first_piece_that_overlaps_an_earlier_later_one_is_refused() {
    let mut lab = Lab::new(&two_backends());
    for (id, (family, protocol)) in (1..).zip(KINDS) {
        let frame = large(family, protocol, client(family, 7));
        assert_eq!(
            lab.send(&piece(&frame, id, CUTS[1])).reason,
            Reason::Transmitted
        );
        for cut in [(0, 72), CUTS[2]] {
            let input = piece(&frame, id, cut);
            dropped("after", input, Reason::FragmentOverlap).check(&mut lab);
        }
    }
}

#[test]
fn a_first_piece_without_its_whole_transport_header_is_too_small() {
    let mut lab = Lab::new(&two_backends());
    for family in FAMILIES {
        let frame = large(family, Protocol::Tcp, client(family, 7));
        for length in [8, 16] {
            let input = made(&frame, length, (0, true));
            dropped("first", input, Reason::FragmentTiny).check(&mut lab);
        }
        // Options are of the header.
        let optioned = Frame {
            transport: crate::frame::Transport::Tcp(crate::frame::flag::ACK, vec![1; 12]),
            ..frame
        };
        let input = made(&optioned, 24, (0, true));
        dropped("options", input, Reason::FragmentTiny).check(&mut lab);
        let input = made(&optioned, 32, (0, true));
        assert_eq!(lab.send(&input).reason, Reason::Transmitted);
        let datagram = large(family, Protocol::Udp, client(family, 7));
        let input = made(&datagram, 8, (0, true));
        assert_eq!(lab.send(&input).reason, Reason::Transmitted);
    }
}

#[test]
fn a_later_piece_within_the_transport_header_is_too_small() {
    let mut lab = Lab::new(&two_backends());
    for family in FAMILIES {
        let frame = large(family, Protocol::Tcp, client(family, 7));
        for start in [8, 16] {
            for more in [true, false] {
                let input = made(&frame, 64, (start, more));
                dropped("later", input, Reason::FragmentTiny).check(&mut lab);
            }
        }
        let input = made(&frame, 64, (24, false));
        assert_eq!(lab.send(&input).reason, Reason::Transmitted);
    }
}

#[test]
fn an_empty_piece_or_one_of_odd_length_is_refused() {
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        let frame = large(family, protocol, client(family, 7));
        for (length, place) in [
            (0, (0, true)),
            (0, (64, true)),
            (0, (64, false)),
            (65, (0, true)),
            (63, (64, true)),
        ] {
            let input = made(&frame, length, place);
            dropped(
                &format!("{length} at {place:?}"),
                input,
                Reason::FragmentLength,
            )
            .check(&mut lab);
        }
    }
}

#[test]
fn a_piece_that_reaches_beyond_the_largest_packet_is_refused() {
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        let frame = large(family, protocol, client(family, 7));
        // IPv4's own header counts; in IPv6 only what is behind the header does.
        let room = match family {
            Family::V4 => 65_515,
            Family::V6 => 65_535,
        };
        let start = 65_504;
        let fits = made(&frame, room - start, (start, false));
        assert_eq!(lab.send(&fits).reason, Reason::Transmitted);
        let input = made(&frame, room - start + 1, (start, false));
        dropped("one more", input, Reason::FragmentTooLong).check(&mut lab);
        let input = made(&frame, 64, (65_528, false));
        dropped("the last offset", input, Reason::FragmentTooLong).check(&mut lab);
    }
}

#[test]
fn a_piece_shorter_than_it_says_passes() {
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        let frame = large(family, protocol, client(family, 7));
        for cut in CUTS {
            let mut input = piece(&frame, 1, cut);
            input.pop();
            Case::passed("short", input, Reason::BadLength).check(&mut lab);
        }
    }
}

#[test]
fn sources_that_no_client_has_are_dropped() {
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        let (loopback, own) = match family {
            Family::V4 => ("127.0.0.1:9", "192.0.2.80:9"),
            Family::V6 => ("[::1]:9", "[2001:db8::80]:9"),
        };
        for (source, reason) in [(loopback, Reason::MartianSource), (own, Reason::Land)] {
            let frame = large(family, protocol, source.parse().expect("a literal address"));
            for cut in CUTS {
                dropped(source, piece(&frame, 1, cut), reason).check(&mut lab);
            }
        }
    }
}

#[test]
fn pieces_of_what_is_no_listeners_pass() {
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        let from = client(family, 7);
        let mut port = vip(family);
        port.set_port(81);
        let other_port = large(family, protocol, from).to(port);
        for cut in CUTS {
            let input = piece(&other_port, 1, cut);
            Case::passed("port 81", input, Reason::NotListening).check(&mut lab);
        }
        let neighbour = large(family, protocol, from).to(server(family, 9));
        for cut in CUTS {
            let input = piece(&neighbour, 1, cut);
            Case::passed("elsewhere", input, Reason::Fragment).check(&mut lab);
        }
    }
}

#[test]
fn pieces_of_other_protocols_pass_in_any_order() {
    let mut lab = Lab::new(&two_backends());
    for family in FAMILIES {
        let kind = if family == Family::V4 { 8 } else { 128 };
        let ping = Frame {
            payload: vec![0x5a; 213],
            ..Frame::icmp(client(family, 7), vip(family), [kind, 0], [0, 1, 0, 1])
        };
        for (id, order) in [(1, [0, 1, 2]), (2, [2, 1, 0])] {
            for number in order {
                let input = piece(&ping, id, CUTS[number]);
                Case::passed("a large ping", input, Reason::Fragment).check(&mut lab);
            }
        }
    }
}

#[test]
fn a_piece_alone_to_a_vip_of_several_services_is_nobodys() {
    let mut image = two_backends();
    for (family, protocol) in KINDS {
        let mut at = vip(family);
        at.set_port(81);
        let key = endpoint(at, number(protocol));
        image.listeners.insert(key, Listener::new(1, 9, 81));
    }
    image.listeners.retain(|key, _| !key.is_portless());
    let mut lab = Lab::new(&keyed(image));
    for (family, protocol) in KINDS {
        let frame = large(family, protocol, client(family, 7));
        dropped("alone", piece(&frame, 1, CUTS[1]), Reason::FragmentUnknown).check(&mut lab);
        for cut in CUTS {
            assert_eq!(lab.send(&piece(&frame, 2, cut)).reason, Reason::Transmitted);
        }
    }
}

#[test]
fn a_fragment_header_that_makes_no_piece_is_walked_like_others() {
    let mut lab = Lab::new(&two_backends());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let from = client_of(Family::V6, protocol, NEW, OLD);
        let frame = large(Family::V6, protocol, from);
        // RFC 6946: whole, whatever else comes with the same identification.
        let whole = (0, 221);
        let output = arrived(&frame, Family::V6, NEW, 1, whole);
        Case::sent("atomic", piece(&frame, 1, whole), output).check(&mut lab);
    }
}
