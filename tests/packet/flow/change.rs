//! While a change is under way.

use super::*;

#[test]
fn a_new_connection_below_the_share_goes_to_the_candidate_and_stays_there() {
    use FlowEvent::{Completed, HalfOpened, Lookup, Pinned, Unpinned};
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    for family in FAMILIES {
        let from = client_in(family, SHARE, true);
        let lives = vec![Lookup, Pinned, Completed];
        let opened = vec![Lookup, HalfOpened];
        assert_eq!(goes(&mut lab, from, flag::SYN), (NEW, opened));
        let repeated = (NEW, vec![Lookup]);
        assert_eq!(goes(&mut lab, from, flag::SYN), repeated, "no other pin");
        assert_eq!(goes(&mut lab, from, flag::ACK), (NEW, lives.clone()));
        assert_eq!(goes(&mut lab, from, flag::ACK), (NEW, vec![Lookup]));
        let again = vec![Lookup, Unpinned, HalfOpened];
        assert_eq!(goes(&mut lab, from, flag::SYN), (NEW, again), "port reuse");
        assert_eq!(goes(&mut lab, from, flag::ACK), (NEW, lives));
        lab.set_record(Record {
            touched_ppm: SHARE,
            ..ramping(0)
        });
        assert_eq!(
            goes(&mut lab, from, flag::ACK),
            (NEW, vec![Lookup]),
            "the share is taken back"
        );
        lab.set_record(ramping(SHARE));
    }
}

#[test]
fn a_connection_of_unknown_past_below_the_share_stays_at_the_origin() {
    use FlowEvent::{Lookup, Pinned};
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    for family in FAMILIES {
        let from = client_in(family, SHARE, true);
        // One that is over needs no pin.
        for flags in [flag::ACK | flag::FIN, flag::RST] {
            assert_eq!(goes(&mut lab, from, flags), (OLD, vec![Lookup]));
        }
        assert_eq!(goes(&mut lab, from, flag::ACK), (OLD, vec![Lookup, Pinned]));
        for flags in [flag::SYN | flag::ACK, flag::ACK | flag::FIN, flag::RST] {
            assert_eq!(goes(&mut lab, from, flags), (OLD, vec![Lookup]));
        }
    }
}

#[test]
fn a_reset_that_follows_the_first_packet_at_once_makes_no_live_connection_of_it() {
    use FlowEvent::{HalfOpened, Lookup};
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    for family in FAMILIES {
        let from = client_in(family, SHARE, true);
        let opened = goes(&mut lab, from, flag::SYN);
        assert_eq!(opened, (NEW, vec![Lookup, HalfOpened]));
        assert_eq!(goes(&mut lab, from, flag::RST), (NEW, vec![Lookup]));
    }
}

#[test]
fn clients_above_the_share_are_not_touched() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    for family in FAMILIES {
        let from = client_in(family, SHARE, false);
        for flags in [flag::SYN, flag::ACK, flag::RST] {
            assert_eq!(goes(&mut lab, from, flags), (OLD, vec![]));
        }
    }
}

#[test]
fn a_port_that_is_used_again_starts_a_new_connection() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    for family in FAMILIES {
        let from = client_in(family, SHARE, true);
        assert_eq!(ack(&mut lab, from), OLD);
        assert_eq!(syn(&mut lab, from), NEW);
        assert_eq!(ack(&mut lab, from), NEW);
    }
    assert_eq!(lab.pins().len(), 2);
}

#[test]
fn a_datagram_always_takes_the_new_answer() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    for family in FAMILIES {
        for (below, expected) in [(true, NEW), (false, OLD)] {
            let from = client_in(family, SHARE, below);
            let outcome = lab.send_frame(&Frame::udp(from, vip(family)));
            assert_eq!((chosen(&outcome.frame), outcome.events), (expected, vec![]));
        }
    }
}

#[test]
fn a_cutover_moves_new_connections_at_once_and_a_rollback_brings_them_back() {
    let mut lab = Lab::new(&with_record(resting()));
    let cut_over = Record {
        active: NEW_TABLE,
        touched_ppm: 1_000_000,
        flags: Record::MOVING,
        ..resting()
    };
    let rolled_back = Record {
        active: OLD_TABLE,
        ..cut_over
    };
    for family in FAMILIES {
        let (known, new) = (client(family, 1), client(family, 2));
        lab.set_record(cut_over);
        assert_eq!((ack(&mut lab, known), syn(&mut lab, new)), (OLD, NEW));
        lab.set_record(rolled_back);
        assert_eq!((ack(&mut lab, known), ack(&mut lab, new)), (OLD, NEW));
        assert_eq!(syn(&mut lab, client(family, 3)), OLD);
    }
}
