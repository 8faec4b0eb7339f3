//! A client decides nothing by itself: it gives a value once a draw, and is no trial of what it has failed.

use super::*;
use crate::world::FAMILIES;

/// A connection of its own port that the backend refuses.
fn refused(lab: &mut Lab, mut from: SocketAddr, family: Family, port: u16) {
    from.set_port(port);
    lab.pass_through(&asked(from, family, (0, 0, SYN)));
    lab.pass_through(&answered(from, family, NEW, (0, 0, RST)));
}

/// One that the backend takes, and resets.
fn reset(lab: &mut Lab, mut from: SocketAddr, family: Family, port: u16) {
    from.set_port(port);
    lab.pass_through(&asked(from, family, (0, 0, SYN)));
    lab.pass_through(&answered(from, family, NEW, (0, 0, SYN_ACK)));
    lab.pass_through(&asked(from, family, (1, 0, ACK)));
    lab.pass_through(&answered(from, family, NEW, (1, 0, RST)));
}

fn pairs(lab: &mut Lab, before: &Signals) -> [(u32, u32); 4] {
    risen(before, &signals(lab), cohort::CANDIDATE).pairs
}

/// One that goes well: the backend answers, and ends it.
fn well(lab: &mut Lab, mut from: SocketAddr, family: Family, port: u16) {
    from.set_port(port);
    lab.pass_through(&asked(from, family, (0, 0, SYN)));
    lab.pass_through(&answered(from, family, NEW, (0, 0, SYN_ACK)));
    lab.pass_through(&asked(from, family, (1, 100, ACK)));
    lab.pass_through(&answered(from, family, NEW, (1, 100, FIN)));
    lab.pass_through(&asked(from, family, (101, 0, FIN)));
}

#[test]
fn a_client_that_has_failed_is_neither_a_failure_nor_a_trial_any_more() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    for family in FAMILIES {
        let from = clients(family, record, cohort::CANDIDATE)
            .next()
            .expect("a client");
        let before = signals(&mut lab);
        (2000..2020).for_each(|port| refused(&mut lab, from, family, port));
        assert_eq!(pairs(&mut lab, &before)[0], (1, 1));
        // Another signal is another matter, and what goes well counts each time until it fails.
        (3000..3020).for_each(|port| reset(&mut lab, from, family, port));
        let expected = [(1, 1), (1, 1), (1, 1), (20, 0)];
        assert_eq!(pairs(&mut lab, &before), expected, "{family:?}");
        (4000..4020).for_each(|port| well(&mut lab, from, family, port));
        let expected = [(1, 1), (1, 1), (1, 1), (40, 0)];
        assert_eq!(pairs(&mut lab, &before), expected, "{family:?}");
        let counted = risen(&before, &signals(&mut lab), cohort::CANDIDATE);
        assert_eq!(
            (counted.opened, counted.ended),
            (40, 40),
            "all live and end"
        );
    }
}

#[test]
fn a_client_gives_each_value_once_a_draw_and_is_one_client() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    for family in FAMILIES {
        lab.set_record(record);
        let both: Vec<_> = clients(family, record, cohort::CANDIDATE).take(2).collect();
        let before = signals(&mut lab);
        let counted = |lab: &mut Lab, ports: std::ops::Range<u16>| {
            for port in ports {
                for &from in &both {
                    well(lab, from, family, port);
                }
            }
            let counted = risen(&before, &signals(lab), cohort::CANDIDATE);
            (counted.samples, counted.clients, counted.pairs[0])
        };
        assert_eq!(counted(&mut lab, 2000..2010), ([2; 3], 2, (20, 0)));
        lab.set_record(record.measured(2).dealt_after(&record));
        assert_eq!(counted(&mut lab, 3000..3010), ([4; 3], 4, (40, 0)));
    }
}

#[test]
fn a_client_is_told_by_as_much_of_its_address_as_the_node_says() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    let from = clients(Family::V6, record, cohort::CANDIDATE)
        .next()
        .expect("a client");
    let SocketAddr::V6(mut neighbour) = from else {
        panic!("a client of IPv6");
    };
    let mut segments = neighbour.ip().segments();
    segments[7] += 1;
    neighbour.set_ip(segments.into());
    let before = signals(&mut lab);
    for from in [from, neighbour.into()] {
        refused(&mut lab, from, Family::V6, 2000);
    }
    assert_eq!(pairs(&mut lab, &before)[0], (1, 1), "both are of one /64");
}

#[test]
fn the_next_release_forgives() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    let family = Family::V4;
    let of = |record| clients(family, record, cohort::CANDIDATE);
    let next = Record {
        salt: 0x5a18,
        epoch: 2,
        ..record
    };
    let from = of(record)
        .find(|&from| next.cohort(bucket_of(from, next.salt)) == cohort::CANDIDATE)
        .expect("one in a hundred is of both releases");
    let before = signals(&mut lab);
    refused(&mut lab, from, family, 2000);
    lab.set_record(next);
    refused(&mut lab, from, family, 2001);
    refused(&mut lab, from, family, 2002);
    assert_eq!(pairs(&mut lab, &before)[0], (2, 2));
}
