//! `datagram = "session"`: sessions are pinned before a change, and stay; unknown ones are new.

use std::net::SocketAddr;

use lb_common::{
    reason::{FlowEvent, Reason},
    release::Record,
};

use crate::{
    frame::Frame,
    lab::Lab,
    world::{
        FAMILIES, Family, NEW, NEW_TABLE, OLD, OLD_TABLE, chosen, client, client_in, ramping,
        resting, vip, with_record,
    },
};

const SHARE: u32 = 100_000;

#[test]
fn sessions_that_were_there_before_the_step_stay_and_unknown_ones_take_the_new_answer() {
    let mut lab = Lab::new(&with_record(at_rest()));
    for family in FAMILIES {
        lab.set_record(at_rest());
        assert_eq!(sends(&mut lab, client(family, 1)), (OLD, vec![]));
        lab.set_record(arming());
        let pinned = vec![FlowEvent::Lookup, FlowEvent::Pinned];
        assert_eq!(sends(&mut lab, client(family, 1)), (OLD, pinned));
        lab.set_record(cut_over());
        for _ in 0..3 {
            assert_eq!(sends(&mut lab, client(family, 1)).0, OLD);
            assert_eq!(sends(&mut lab, client(family, 2)).0, NEW);
        }
        // Back again: both stay where they are.
        lab.set_record(Record {
            active: OLD_TABLE,
            ..cut_over()
        });
        assert_eq!(sends(&mut lab, client(family, 1)).0, OLD);
        assert_eq!(sends(&mut lab, client(family, 2)).0, NEW);
        assert_eq!(sends(&mut lab, client(family, 3)).0, OLD);
    }
}

#[test]
fn one_datagram_makes_no_session_that_lives() {
    use FlowEvent::{Completed, HalfOpened, Lookup, Pinned};
    let mut lab = Lab::new(&with_record(cut_over()));
    for family in FAMILIES {
        let from = client(family, 1);
        assert_eq!(sends(&mut lab, from), (NEW, vec![Lookup, HalfOpened]));
        assert_eq!(
            sends(&mut lab, from),
            (NEW, vec![Lookup, Pinned, Completed])
        );
        assert_eq!(sends(&mut lab, from), (NEW, vec![Lookup]));
    }
}

#[test]
fn only_sessions_that_the_step_may_move_are_pinned() {
    let arming = Record {
        share_ppm: 0,
        flags: Record::SESSIONS | Record::ARMING,
        ..ramping(0)
    };
    let mut lab = Lab::new(&with_record(Record {
        touched_ppm: SHARE,
        ..arming
    }));
    for family in FAMILIES {
        let below = client_in(family, SHARE, true);
        let above = client_in(family, SHARE, false);
        assert!(!sends(&mut lab, below).1.is_empty());
        assert_eq!(sends(&mut lab, above), (OLD, vec![]));
    }
}

#[test]
fn a_service_without_sessions_takes_each_datagram_for_itself() {
    let mut lab = Lab::new(&with_record(Record {
        flags: Record::MOVING,
        ..cut_over()
    }));
    for family in FAMILIES {
        assert_eq!(sends(&mut lab, client(family, 1)), (NEW, vec![]));
    }
}

#[test]
fn a_service_that_cuts_moves_its_sessions_at_once() {
    let mut lab = Lab::new(&with_record(arming()));
    let cut = Record {
        flags: cut_over().flags | Record::CUT,
        ..cut_over()
    };
    for family in FAMILIES {
        lab.set_record(arming());
        assert_eq!(sends(&mut lab, client(family, 1)).0, OLD);
        lab.set_record(cut);
        assert_eq!(sends(&mut lab, client(family, 1)).0, NEW);
    }
}

fn sends(lab: &mut Lab, from: SocketAddr) -> (u16, Vec<FlowEvent>) {
    let family = if from.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let outcome = lab.send_frame(&Frame::udp(from, vip(family)));
    assert_eq!(outcome.reason, Reason::Transmitted);
    (chosen(&outcome.frame), outcome.events)
}

fn at_rest() -> Record {
    Record {
        flags: Record::SESSIONS,
        ..resting()
    }
}

fn arming() -> Record {
    Record {
        flags: Record::SESSIONS | Record::ARMING,
        touched_ppm: 1_000_000,
        ..resting()
    }
}

fn cut_over() -> Record {
    Record {
        active: NEW_TABLE,
        touched_ppm: 1_000_000,
        flags: Record::MOVING | Record::SESSIONS,
        ..resting()
    }
}
