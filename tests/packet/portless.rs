//! Packets that tell no ports of their own: pieces, ICMP errors and echo requests; and hostile ones.

use lb_common::{
    protocol::{TCP, UDP},
    reason::Reason,
};

use crate::{
    case::Case,
    frame::{Frame, flag},
    lab::Lab,
    outcome::Verdict,
    passed::edited,
    world::{
        FAMILIES, Family, KINDS, OLD, Protocol, at_rest, client, endpoint, request, server,
        translated, vip,
    },
};

/// Flags and fragment offset in an IPv4 header.
const V4_FRAGMENT: usize = 20;

#[test]
fn later_pieces_follow_the_first_one() {
    let mut lab = Lab::new(&with_keys());
    let input = Frame {
        payload: vec![0xa5; 24],
        ..request(Family::V4, Protocol::Udp)
    };
    let first = lab.send(&piece(&input, 0x2000));
    assert_eq!(
        (first.verdict, first.reason),
        (Verdict::Transmit, Reason::Transmitted)
    );
    let output = translated(input.clone(), Family::V4, OLD);
    assert_eq!(first.frame, piece(&output, 0x2000));
    let later = lab.send(&piece(&input, 0x0004));
    assert_eq!(later.reason, Reason::Transmitted);
    assert_eq!(
        later.frame[30..34],
        piece(&output, 4)[30..34],
        "the backend's address"
    );
    assert_eq!(
        later.frame[34..],
        piece(&input, 4)[34..],
        "no port is written into a payload"
    );
    assert!(
        etherparse::Ipv4HeaderSlice::from_slice(&later.frame[14..]).is_ok_and(|header| {
            header.to_header().calc_header_checksum() == header.header_checksum()
        })
    );
}

#[test]
fn a_piece_that_overlaps_the_first_one_is_refused_with_all_that_follow() {
    let mut lab = Lab::new(&with_keys());
    let input = Frame {
        payload: vec![0xa5; 24],
        ..request(Family::V4, Protocol::Udp)
    };
    assert_eq!(lab.send(&piece(&input, 0x2000)).reason, Reason::Transmitted);
    for offset in [0x2002, 0x0004] {
        let outcome = lab.send(&piece(&input, offset));
        assert_eq!(
            (outcome.verdict, outcome.reason),
            (Verdict::Drop, Reason::FragmentOverlap)
        );
    }
}

#[test]
fn pieces_that_no_honest_sender_makes_are_dropped_by_name() {
    let mut lab = Lab::new(&with_keys());
    let odd = request(Family::V4, Protocol::Udp);
    let even = Frame {
        payload: vec![0; 24],
        ..odd.clone()
    };
    let tcp = Frame {
        payload: vec![0; 4],
        ..request(Family::V4, Protocol::Tcp)
    };
    for (input, word, reason) in [
        (&odd, 0x2000, Reason::FragmentLength),
        (&even, 0x1fff, Reason::FragmentTooLong),
        (&tcp, 0x0001, Reason::FragmentTiny),
        (&tcp, 0x2002, Reason::FragmentTiny),
    ] {
        let outcome = lab.send(&piece(input, word));
        assert_eq!(
            (outcome.verdict, outcome.reason),
            (Verdict::Drop, reason),
            "{word:#x}"
        );
    }
}

#[test]
fn sources_that_no_client_has_are_dropped_by_name() {
    let mut lab = Lab::new(&with_keys());
    for (family, source, reason) in [
        (Family::V4, "127.0.0.1", Reason::MartianSource),
        (Family::V4, "0.1.2.3", Reason::MartianSource),
        (Family::V4, "224.0.0.1", Reason::MartianSource),
        (Family::V4, "255.255.255.255", Reason::MartianSource),
        (Family::V4, "169.254.0.1", Reason::MartianSource),
        (Family::V4, "169.254.255.254", Reason::MartianSource),
        (Family::V4, "192.0.2.80", Reason::Land),
        (Family::V6, "fe80::1", Reason::MartianSource),
        (Family::V6, "febf:ffff::1", Reason::MartianSource),
        (Family::V6, "::1", Reason::MartianSource),
        (Family::V6, "::", Reason::MartianSource),
        (Family::V6, "ff02::1", Reason::MartianSource),
        (Family::V6, "::ffff:10.0.0.1", Reason::MartianSource),
        (Family::V6, "2001:db8::80", Reason::Land),
    ] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let mut input = request(family, protocol);
            input
                .source
                .set_ip(source.parse().expect("a literal address"));
            Case::dropped(source, &input, reason).check(&mut lab);
        }
    }
}

#[test]
fn sources_beside_those_are_clients() {
    let mut lab = Lab::new(&with_keys());
    for (family, source) in [
        (Family::V4, "169.253.255.255"),
        (Family::V4, "169.255.0.0"),
        (Family::V6, "fe7f:ffff::1"),
        (Family::V6, "fec0::1"),
    ] {
        let mut input = request(family, Protocol::Tcp);
        input
            .source
            .set_ip(source.parse().expect("a literal address"));
        let outcome = lab.send_frame(&input);
        assert_eq!(outcome.reason, Reason::Transmitted, "{source}");
    }
}

#[test]
fn flags_that_no_segment_has_are_dropped_by_name() {
    use flag::{ACK, FIN, PSH, RST, SYN};
    let mut lab = Lab::new(&with_keys());
    let (urgent, all) = (1 << 5, 0x3f);
    for family in FAMILIES {
        let reason = |lab: &mut Lab, flags| {
            let input = Frame::tcp(client(family, 7), vip(family), flags);
            lab.send_frame(&input).reason
        };
        for flags in [
            0,
            PSH,
            urgent | PSH,
            SYN | FIN,
            SYN | RST,
            SYN | FIN | ACK,
            SYN | RST | ACK,
            all,
        ] {
            assert_eq!(reason(&mut lab, flags), Reason::BadFlags, "{flags:#x}");
        }
        for flags in [
            SYN,
            ACK,
            SYN | ACK,
            ACK | PSH,
            FIN | ACK,
            FIN,
            RST,
            RST | ACK,
        ] {
            assert_eq!(reason(&mut lab, flags), Reason::Transmitted, "{flags:#x}");
        }
    }
}

/// Servers that answer every datagram would answer each other for ever.
#[test]
fn a_client_that_claims_to_be_another_listener_is_dropped() {
    let mut image = with_keys();
    let other = |family| client(family, 9);
    for (family, number) in [
        (Family::V4, TCP),
        (Family::V4, UDP),
        (Family::V6, TCP),
        (Family::V6, UDP),
    ] {
        let listener = image.listeners[&endpoint(vip(family), number)];
        image
            .listeners
            .insert(endpoint(other(family), number), listener);
    }
    let mut lab = Lab::new(&image);
    for (family, protocol) in KINDS {
        let input = request(family, protocol).from(other(family));
        Case::dropped("from a listener", &input, Reason::MartianSource).check(&mut lab);
        // The port is another, of the same five lowest bits.
        let mut near = other(family);
        near.set_port(near.port() + 32);
        let input = request(family, protocol).from(near);
        assert_eq!(lab.send_frame(&input).reason, Reason::Transmitted);
    }
    let input = Frame {
        payload: vec![0xa5; 24],
        ..request(Family::V4, Protocol::Udp).from(other(Family::V4))
    };
    let first = lab.send(&piece(&input, 0x2000));
    assert_eq!(first.reason, Reason::MartianSource, "the first piece");
}

#[test]
fn who_claims_to_be_a_vip_towards_others_is_counted_and_passed() {
    let mut lab = Lab::new(&with_keys());
    for family in [Family::V4, Family::V6] {
        let mut from = vip(family);
        from.set_port(9);
        let input = Frame::udp(from, server(family, 9));
        Case::passed("from a VIP", input.bytes(), Reason::FromVip).check(&mut lab);
    }
}

#[test]
fn ipv4_options_are_judged() {
    let mut lab = Lab::new(&with_keys());
    for (options, reason) in [
        (vec![7, 9, 4, 0, 0, 0, 0, 0], Reason::BadOptions),
        (vec![7, 1, 0, 0], Reason::BadOptions),
        (vec![131, 7, 4, 10, 0, 0, 1, 0], Reason::SourceRoute),
        (vec![137, 7, 4, 10, 0, 0, 1, 0], Reason::SourceRoute),
    ] {
        let input = Frame {
            options,
            ..request(Family::V4, Protocol::Tcp)
        };
        Case::passed(format!("{input:?}"), input.bytes(), reason).check(&mut lab);
    }
}

/// At rest, with the keys that the daemon adds.
pub fn with_keys() -> lb_userspace::dataplane::Image {
    let mut image = at_rest();
    lb_userspace::state::portless::add(&mut image);
    assert!(
        image
            .listeners
            .keys()
            .any(|key| key.is_portless() && key.protocol() == UDP)
    );
    image
}

/// The frame as a piece, its header's checksum right.
fn piece(frame: &Frame, word: u16) -> Vec<u8> {
    let mut bytes = edited(frame, V4_FRAGMENT, &word.to_be_bytes());
    let header = etherparse::Ipv4HeaderSlice::from_slice(&bytes[14..]).expect("a header");
    let sum = header.to_header().calc_header_checksum();
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes
}
