//! Where pieces go, in the orders in which they may come.

use super::*;
use crate::{case::Case, frame::tag, lab::Lab, world::FAMILIES};

/// Sends pieces in this order; all must come to `backend` as pieces of the translated packet.
fn check(lab: &mut Lab, frame: &Frame, family: Family, backend: u16, (id, cuts): (u32, &[Cut])) {
    for &cut in cuts {
        Case::sent(
            format!("{cut:?} of {frame:?}"),
            piece(frame, id, cut),
            arrived(frame, family, backend, id, cut),
        )
        .check(lab);
    }
}

#[test]
fn later_pieces_follow_the_first_one_in_any_order() {
    let [first, second, third] = CUTS;
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        let mut id = 0;
        for (flow, alone) in [(OLD, NEW), (NEW, OLD)] {
            let from = client_of(family, protocol, flow, alone);
            for order in [[first, second, third], [first, third, second]] {
                id += 1;
                let frame = large(family, protocol, from);
                check(&mut lab, &frame, family, flow, (id, &order));
                // A piece may come twice.
                check(&mut lab, &frame, family, flow, (id, &order[1..]));
            }
        }
        assert_eq!(lab.pins().len(), 0);
    }
}

#[test]
fn tags_and_options_are_kept() {
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        let from = client_of(family, protocol, NEW, OLD);
        let frame = Frame {
            tags: vec![(tag::QINQ, 7), (tag::VLAN, 8)],
            options: vec![1; if family == Family::V4 { 8 } else { 0 }],
            ..large(family, protocol, from)
        };
        check(&mut lab, &frame, family, NEW, (1, &CUTS));
    }
}

#[test]
fn a_datagram_whose_later_pieces_come_first_goes_by_its_client_as_a_whole() {
    let [first, second, third] = CUTS;
    let mut lab = Lab::new(&two_backends());
    for family in FAMILIES {
        let from = client_of(family, Protocol::Udp, OLD, NEW);
        let frame = large(family, Protocol::Udp, from);
        for (id, order) in [
            (1, [third, first, second]),
            (2, [third, second, first]),
            (3, [second, third, first]),
        ] {
            check(&mut lab, &frame, family, NEW, (id, &order));
        }
    }
}

#[test]
fn a_segment_goes_to_its_connections_backend_even_if_a_later_piece_came_first() {
    let [first, second, third] = CUTS;
    let mut lab = Lab::new(&two_backends());
    for family in FAMILIES {
        let from = client_of(family, Protocol::Tcp, OLD, NEW);
        let frame = large(family, Protocol::Tcp, from);
        check(&mut lab, &frame, family, NEW, (1, &[third]));
        check(&mut lab, &frame, family, OLD, (1, &[first, second, third]));
    }
}

#[test]
fn a_later_piece_alone_goes_by_its_client() {
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        for number in 0..64 {
            let from = client(family, number);
            let frame = large(family, protocol, from);
            let to = by_client(from);
            check(&mut lab, &frame, family, to, (7, &CUTS[1..2]));
        }
    }
}

#[test]
fn an_identification_that_is_used_again_stands_for_the_new_packet() {
    let mut lab = Lab::new(&two_backends());
    for (family, protocol) in KINDS {
        let from = client_of(family, protocol, OLD, OLD);
        let mut other = from;
        let port = (1..u16::MAX).find(|&port| {
            other.set_port(port);
            by_flow(family, protocol, other) == NEW
        });
        assert!(port.is_some());
        for (from, to) in [(from, OLD), (other, NEW), (from, OLD)] {
            let frame = large(family, protocol, from);
            check(&mut lab, &frame, family, to, (5, &CUTS));
        }
    }
}

#[test]
fn packets_of_one_client_are_told_apart_by_identification_and_in_ipv4_by_protocol() {
    let mut lab = Lab::new(&two_backends());
    for family in FAMILIES {
        let from = (0..=u16::MAX)
            .map(|number| client(family, number))
            .find(|&from| {
                by_flow(family, Protocol::Tcp, from) == OLD
                    && by_flow(family, Protocol::Udp, from) == NEW
            })
            .expect("a quarter of all clients");
        let tcp = large(family, Protocol::Tcp, from);
        let udp = large(family, Protocol::Udp, from);
        let other = match family {
            Family::V4 => 1,
            Family::V6 => 2,
        };
        for cut in CUTS {
            check(&mut lab, &tcp, family, OLD, (1, &[cut]));
            check(&mut lab, &udp, family, NEW, (other, &[cut]));
            check(&mut lab, &udp, family, NEW, (0x7001, &[cut]));
        }
    }
}
