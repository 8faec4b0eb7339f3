//! A client decides nothing by itself: it gives a value once a draw, and is no trial of what it has failed.

use lb_common::signal::Told;

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

/// More than a table of theirs that forgets some of them would have to hold.
#[test]
fn however_many_come_a_client_that_fails_again_is_one_failure() {
    const MANY: usize = 20_000;
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    let from = |cohort| {
        FAMILIES
            .into_iter()
            .flat_map(move |family| clients(family, record, cohort).map(move |from| (from, family)))
    };
    let all: Vec<_> = COHORTS.into_iter().flat_map(from).collect();
    assert!(all.len() > MANY, "{}", all.len());
    let (first, family) = all[0];
    let failures = |lab: &mut Lab, before: &Signals| {
        let [(_, failures), ..] = pairs(lab, before);
        failures
    };
    let before = signals(&mut lab);
    refused(&mut lab, first, family, 2000);
    assert_eq!(failures(&mut lab, &before), 1);
    for &(from, family) in &all[1..] {
        refused(&mut lab, from, family, 2000);
    }
    let before = signals(&mut lab);
    for &(from, family) in all.iter().take(200) {
        refused(&mut lab, from, family, 2001);
    }
    assert_eq!(failures(&mut lab, &before), 0, "each has told it already");
}

#[test]
fn clients_that_share_a_place_are_one() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    let mut seen = std::collections::BTreeMap::new();
    let mut both = clients(Family::V4, record, cohort::CANDIDATE);
    let (first, second) = both
        .find_map(|from| Some((seen.insert(place(from, record.salt), from)?, from)))
        .expect("two of six thousand share one");
    let before = signals(&mut lab);
    for from in [first, second] {
        refused(&mut lab, from, Family::V4, 2000);
        reset(&mut lab, from, Family::V4, 3000);
    }
    let counted = risen(&before, &signals(&mut lab), cohort::CANDIDATE);
    assert_eq!(counted.pairs[..3], [(1, 1), (1, 1), (1, 1)]);
    assert_eq!((counted.clients, counted.opened), (1, 2));
}

/// A place that another service's client has is left to it, as long as that service is measured.
#[test]
fn a_client_of_another_release_under_way_is_not_forgotten() {
    const OTHER: u32 = 5;
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    lab.change(|image| {
        image.records.insert(OTHER, record);
    });
    let from = clients(Family::V4, record, cohort::CANDIDATE)
        .next()
        .expect("a client");
    let told = Told::nothing(OTHER, (record.salt, record.draw())).with(1);
    let data = MapData::from_pin(lab.pin_directory().join(name::CLIENTS)).expect("it is pinned");
    let mut places: Array<_, u64> = Map::Array(data).try_into().expect("its layout");
    let at = place(from, record.salt);
    let set = |places: &mut Array<_, u64>| places.set(at, bytemuck::cast::<_, u64>(told), 0);
    set(&mut places).expect("written");
    let before = signals(&mut lab);
    refused(&mut lab, from, Family::V4, 2000);
    assert_eq!(pairs(&mut lab, &before)[0], (0, 0), "it tells nothing");
    let left = places.get(&at, 0).expect("there");
    assert_eq!(bytemuck::cast::<_, Told>(left), told);

    lab.change(|image| {
        let over = record.measured(0).dealt_after(&record);
        image.records.insert(OTHER, over);
    });
    refused(&mut lab, from, Family::V4, 2001);
    assert_eq!(pairs(&mut lab, &before)[0], (1, 1), "the other is over");
}

#[test]
fn the_first_trial_of_each_client_is_counted_by_itself() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    let family = Family::V4;
    let mut from = clients(family, record, cohort::CANDIDATE);
    let [fine, fails] = [(); 2].map(|()| from.next().expect("a client"));
    let before = signals(&mut lab);
    let counted = |lab: &mut Lab| firsts(&before, &signals(lab), cohort::CANDIDATE);
    well(&mut lab, fine, family, 2000);
    refused(&mut lab, fails, family, 2000);
    assert_eq!(counted(&mut lab), [(2, 1), (1, 0), (1, 0), (1, 0)]);
    for port in 3000..3010 {
        refused(&mut lab, fine, family, port);
        reset(&mut lab, fine, family, port + 1000);
        reset(&mut lab, fails, family, port);
    }
    assert_eq!(counted(&mut lab), [(2, 1), (2, 1), (2, 1), (2, 0)]);
    for of in [cohort::EVEN, cohort::ODD] {
        assert_eq!(firsts(&before, &signals(&mut lab), of), [(0, 0); 4]);
    }
    lab.set_record(record.measured(2).dealt_after(&record));
    refused(&mut lab, fine, family, 5000);
    let [connect, ..] = counted(&mut lab);
    assert_eq!(connect, (3, 2), "once more in the next draw");
}
