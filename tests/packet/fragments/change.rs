//! Pieces in the middle of a change.

use lb_common::{reason::FlowEvent, release::Record};

use super::*;
use crate::{
    frame::flag,
    lab::Lab,
    world::{
        FAMILIES, KINDS, chosen, client_in, cut_over, ramping, resting, translated, two_pools,
        with_record,
    },
};

/// One client in ten is sent to the new pool.
const SHARE: u32 = 100_000;

fn goes(lab: &mut Lab, frame: &Frame, id: u32, cut: Cut) -> (u16, Vec<u8>) {
    let outcome = lab.send(&piece(frame, id, cut));
    (chosen(&outcome.frame), outcome.frame)
}

#[test]
fn the_rest_of_a_packet_follows_its_first_piece_over_a_cutover() {
    let image = keyed(two_pools());
    let mut lab = Lab::new(&image);
    for (family, protocol) in KINDS {
        lab.become_image(&image);
        let frame = large(family, protocol, client(family, 7));
        let (to, _) = goes(&mut lab, &frame, 1, CUTS[0]);
        assert_eq!(to, OLD);
        lab.set_record(cut_over());
        for cut in &CUTS[1..] {
            let (to, left) = goes(&mut lab, &frame, 1, *cut);
            assert_eq!((to, left), (OLD, arrived(&frame, family, OLD, 1, *cut)));
        }
    }
}

#[test]
fn a_pinned_connections_pieces_go_where_its_packets_go() {
    let image = keyed(with_record(ramping(SHARE)));
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        lab.become_image(&image);
        let from = client_in(family, SHARE, true);
        for flags in [flag::SYN, flag::ACK] {
            let opened = lab.send_frame(&Frame::tcp(from, vip(family), flags));
            assert_eq!(chosen(&opened.frame), NEW);
        }
        // The share is taken back: new connections would go elsewhere.
        lab.set_record(Record {
            touched_ppm: SHARE,
            ..ramping(0)
        });
        let frame = large(family, Protocol::Tcp, from);
        for cut in CUTS {
            let (to, left) = goes(&mut lab, &frame, 1, cut);
            assert_eq!((to, left), (NEW, arrived(&frame, family, NEW, 1, cut)));
        }
    }
}

#[test]
fn the_first_piece_of_a_connection_of_unknown_past_pins_it_to_the_origin() {
    let image = keyed(with_record(ramping(SHARE)));
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        lab.become_image(&image);
        let frame = large(family, Protocol::Tcp, client_in(family, SHARE, true));
        let outcome = lab.send(&piece(&frame, 1, CUTS[0]));
        assert_eq!(chosen(&outcome.frame), OLD);
        assert_eq!(outcome.events, [FlowEvent::Lookup, FlowEvent::Pinned]);
        let outcome = lab.send(&piece(&frame, 1, CUTS[1]));
        assert_eq!((chosen(&outcome.frame), outcome.events), (OLD, vec![]));
    }
}

#[test]
fn a_datagram_takes_the_new_answer_whichever_piece_comes_first() {
    let image = keyed(with_record(ramping(SHARE)));
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        lab.become_image(&image);
        for (below, to) in [(true, NEW), (false, OLD)] {
            let frame = large(family, Protocol::Udp, client_in(family, SHARE, below));
            for (id, order) in [(1, [0, 1, 2]), (2, [2, 0, 1])] {
                for number in order {
                    let cut = CUTS[number];
                    let left = goes(&mut lab, &frame, id, cut);
                    assert_eq!(left, (to, arrived(&frame, family, to, id, cut)));
                }
            }
        }
        assert_eq!(lab.pins().len(), 0);
    }
}

/// What comes before the first piece is lost, as it is for TCP.
#[test]
fn a_session_stays_where_it_is_whichever_piece_comes_first() {
    let with = |record: Record, flags| Record {
        flags: record.flags | Record::SESSIONS | flags,
        touched_ppm: 1_000_000,
        ..record
    };
    let image = keyed(with_record(with(resting(), Record::ARMING)));
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        lab.become_image(&image);
        let from = client(family, 7);
        let frame = large(family, Protocol::Udp, from);
        assert_eq!(chosen(&lab.send_frame(&frame).frame), OLD, "it is pinned");
        lab.set_record(with(cut_over(), 0));
        for (cut, to) in [(CUTS[2], NEW), (CUTS[0], OLD), (CUTS[1], OLD)] {
            let left = goes(&mut lab, &frame, 1, cut);
            assert_eq!(left, (to, arrived(&frame, family, to, 1, cut)), "{cut:?}");
        }
    }
}

#[test]
fn pieces_of_a_backend_that_is_gone_go_by_the_rule_for_those_alone() {
    let image = keyed(two_pools());
    let mut lab = Lab::new(&image);
    for (id, (family, protocol)) in (1..).zip(KINDS) {
        lab.become_image(&image);
        let frame = large(family, protocol, client(family, 7));
        assert_eq!(goes(&mut lab, &frame, id, CUTS[0]).0, OLD);
        lab.set_record(cut_over());
        lab.change(|image| {
            for v6 in [false, true] {
                let entry = lb_common::backend::index(OLD, v6);
                image.backends.remove(&entry);
            }
        });
        let expected = piece(&translated(frame.clone(), family, NEW), id, CUTS[1]);
        assert_eq!(goes(&mut lab, &frame, id, CUTS[1]), (NEW, expected));
    }
}
