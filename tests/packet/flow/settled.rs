//! After a change: the origin is the present, and pins live on.

use super::*;

#[test]
fn after_the_settle_pins_are_obeyed_while_the_bucket_is_touched_and_no_longer() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    let settled = Record {
        origin_share_ppm: SHARE,
        flags: 0,
        ..ramping(SHARE)
    };
    for family in FAMILIES {
        let from = client_in(family, SHARE, true);
        assert_eq!(ack(&mut lab, from), OLD);
        lab.set_record(settled);
        assert_eq!(
            goes(&mut lab, from, flag::ACK),
            (OLD, vec![FlowEvent::Lookup])
        );
        lab.set_record(Record {
            touched_ppm: 0,
            ..settled
        });
        assert_eq!(goes(&mut lab, from, flag::ACK), (NEW, vec![]));
        lab.set_record(ramping(SHARE));
    }
}

#[test]
fn after_the_settle_an_unknown_connection_is_not_pinned_and_a_new_one_frees_its_tuple() {
    use FlowEvent::{Lookup, Unpinned};
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    let from = client_in(Family::V4, SHARE, true);
    assert_eq!(ack(&mut lab, from), OLD);
    lab.set_record(Record {
        origin_share_ppm: SHARE,
        flags: 0,
        ..ramping(SHARE)
    });
    assert_eq!(
        goes(&mut lab, from, flag::SYN),
        (NEW, vec![Lookup, Unpinned])
    );
    assert_eq!(goes(&mut lab, from, flag::ACK), (NEW, vec![Lookup]));
    assert!(lab.pins().is_empty());
}
