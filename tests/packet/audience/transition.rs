//! A change of the audiences moves new connections; live ones stay.

use super::*;
use crate::world::{FAMILIES, Family, client, vip};

fn syn(lab: &mut Lab, from: SocketAddr) -> bool {
    is_new(lab, &Frame::syn(from, vip(family(from))))
}

fn ack(lab: &mut Lab, from: SocketAddr) -> bool {
    is_new(lab, &Frame::ack(from, vip(family(from))))
}

fn family(from: SocketAddr) -> Family {
    FAMILIES[usize::from(from.is_ipv6())]
}

/// The staff's network, in both versions: clients below 256.
fn rules() -> [(Rule, Vec<IpNet>); 1] {
    [(staff(1), nets(&["10.77.0.0/24", "fd77::/56"]))]
}

/// The record while the set goes from one to another.
fn changing(from: u32, to: u32) -> Record {
    Record {
        audiences: to,
        origin_audiences: from,
        touched_ppm: BUCKETS,
        flags: Record::AUDIENCES | Record::MOVING,
        ..with_audiences()
    }
}

#[test]
fn adding_an_audience_moves_new_connections_only() {
    for family in FAMILIES {
        let mut lab = Lab::new(&image(&rules()));
        lab.set_record(changing(0, SET));
        let (live, new, other) = (client(family, 1), client(family, 2), client(family, 999));
        assert!(!ack(&mut lab, live), "it was there before");
        assert!(syn(&mut lab, new) && ack(&mut lab, new));
        assert!(!syn(&mut lab, other) && !ack(&mut lab, other));
        assert!(!ack(&mut lab, live));
        assert_eq!(lab.pins().len(), 2, "nobody else is touched");
        lab.set_record(Record {
            touched_ppm: BUCKETS,
            ..with_audiences()
        });
        assert!(!ack(&mut lab, live), "settled, and still alive");
        assert!(syn(&mut lab, live), "it begins anew");
    }
}

#[test]
fn removing_an_audience_moves_new_connections_only() {
    for family in FAMILIES {
        let mut lab = Lab::new(&image(&rules()));
        lab.set_record(changing(SET, 0));
        let (live, new) = (client(family, 1), client(family, 2));
        assert!(ack(&mut lab, live), "it was there before");
        assert!(!syn(&mut lab, new) && !ack(&mut lab, new));
        assert!(ack(&mut lab, live));
    }
}

#[test]
fn one_more_prefix_moves_its_own_clients_only() {
    const OTHER: u32 = 2;
    const OTHER_BASE: u32 = 5000;
    let wider = [(staff(1), nets(&["10.77.0.0/23", "fd77::/55"]))];
    let wide = image(&wider);
    for family in FAMILIES {
        let mut lab = Lab::new(&image(&rules()));
        lab.change(|image| {
            image.blocks.insert(OTHER_BASE, wide.blocks[&BASE].clone());
            image
                .audiences
                .insert(OTHER, wide.audiences[&SET].moved(OTHER_BASE));
            image.records.insert(SERVICE, changing(SET, OTHER));
        });
        let (member, added) = (client(family, 1), client(family, 0x101));
        assert!(ack(&mut lab, member) && !ack(&mut lab, added));
        assert_eq!(lab.pins().len(), 1);
        let mut fresh = added;
        fresh.set_port(77);
        assert!(syn(&mut lab, fresh) && ack(&mut lab, fresh));
    }
}

#[test]
fn an_audience_is_judged_before_the_share_at_the_origin_as_well() {
    for family in FAMILIES {
        let mut lab = Lab::new(&image(&[(
            Rule::new(1, 0),
            nets(&["10.77.0.0/24", "fd77::/56"]),
        )]));
        // A cutover to everybody by share: those of the audience stay behind.
        lab.set_record(Record {
            share_ppm: BUCKETS,
            touched_ppm: BUCKETS,
            flags: Record::AUDIENCES | Record::MOVING,
            ..with_audiences()
        });
        let (kept, other) = (client(family, 1), client(family, 999));
        assert!(!syn(&mut lab, kept) && !ack(&mut lab, kept));
        assert!(syn(&mut lab, other));
        assert_eq!(lab.pins().len(), 1, "the one that moved");
    }
}
