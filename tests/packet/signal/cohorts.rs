//! Whoever is in no cohort is not measured, and leaves no trace.

use lb_common::{
    audience::{AudienceSet, Rule},
    signal::cohort::NONE,
};
use lb_userspace::dataplane::prefixes::compile;

use super::*;
use crate::world::FAMILIES;

/// All that a connection can have, resets and repetitions among it.
fn everything_comes(lab: &mut Lab, from: SocketAddr, family: Family) {
    for backend in [OLD, NEW] {
        let to = |piece| answered(from, family, backend, piece);
        for frame in [
            asked(from, family, (0, 0, SYN)),
            asked(from, family, (0, 0, SYN)),
            to((0, 0, SYN_ACK)),
            asked(from, family, (1, 100, ACK)),
            asked(from, family, (1, 100, ACK)),
            to((1, 100, ACK)),
            to((101, 0, RST)),
            asked(from, family, (0, 0, SYN)),
            to((0, 0, RST)),
        ] {
            lab.pass_through(&frame);
        }
    }
}

fn assert_untouched(lab: &mut Lab, what: &str) {
    assert_eq!(signals(lab), Signals::default(), "{what}");
    for map in [name::WATCHED, name::CLIENTS] {
        assert_eq!(entries(lab, map), 0, "{what}: {map}");
    }
}

#[test]
fn clients_between_the_cohorts_leave_no_trace() {
    for forward in [Record::FORWARD_NAT, Record::FORWARD_L2] {
        let record = measuring(forward);
        let mut lab = lab(record);
        for family in FAMILIES {
            for from in clients(family, record, NONE).take(50) {
                everything_comes(&mut lab, from, family);
            }
        }
        assert_untouched(&mut lab, "between");
        let measured = clients(Family::V4, record, cohort::EVEN).next();
        everything_comes(&mut lab, measured.expect("a client"), Family::V4);
        assert_ne!(signals(&mut lab), Signals::default(), "the tools work");
    }
}

#[test]
fn a_record_that_measures_nothing_leaves_no_trace() {
    for record in [
        resting(),
        resting().measured(1),
        measuring(Record::FORWARD_NAT).measured(0),
        measuring(Record::FORWARD_L2).measured(0),
    ] {
        let mut lab = lab(record);
        for family in FAMILIES {
            for number in 0..100 {
                everything_comes(&mut lab, client(family, number), family);
            }
        }
        assert_untouched(&mut lab, &format!("{record:?}"));
    }
}

#[test]
fn questions_and_datagrams_leave_no_trace() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    for family in FAMILIES {
        for cohort in COHORTS {
            for from in clients(family, record, cohort).take(20) {
                lab.tell(&Frame::syn(from, vip(family)).bytes());
                lab.tell(&Frame::syn(from, vip(family)).bytes());
                lab.pass_through(&Frame::udp(from, vip(family)).bytes());
                lab.pass_through(&Frame::udp(server(family, OLD), from).bytes());
            }
        }
    }
    assert_untouched(&mut lab, "whois and UDP");
}

#[test]
fn clients_whom_an_audience_sends_leave_no_trace() {
    let record = Record {
        audiences: 1,
        origin_audiences: 1,
        ..measuring(Record::FORWARD_NAT)
    };
    let record = Record {
        flags: record.flags | Record::AUDIENCES,
        ..record
    };
    let mut lab = lab(resting());
    let everybody = ["10.77.0.0/16", "fd77::/16"].map(|net| (net.parse().expect("a prefix"), 1));
    let (prefixes, block) = compile(everybody);
    lab.change(|image| {
        let rule = Rule::new(1, 1_000_000);
        let set = AudienceSet::new(&[(rule, true)], prefixes);
        image.blocks.insert(prefixes.base(), block);
        image.audiences.insert(1, set);
        image.records.insert(SERVICE, record);
    });
    for family in FAMILIES {
        for cohort in COHORTS {
            for from in clients(family, record, cohort).take(20) {
                everything_comes(&mut lab, from, family);
            }
        }
    }
    assert_untouched(&mut lab, "an audience");
}
