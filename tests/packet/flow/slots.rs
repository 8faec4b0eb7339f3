//! Changes inside a pool.

use super::*;

#[test]
fn a_changed_weight_touches_the_slots_that_change_and_no_others() {
    let mut lab = Lab::new(&with_record(resting()));
    lab.change(|image| reweigh(image, 0));
    for family in FAMILIES {
        for number in 0..300 {
            let from = client(family, number);
            let changing = changes(slot_of(from, vip(family), 6));
            let (backend, events) = goes(&mut lab, from, flag::ACK);
            assert_eq!((backend, events.is_empty()), (OLD, !changing));
            let (backend, events) = goes(&mut lab, from, flag::SYN);
            assert_eq!(backend, if changing { NEW } else { OLD });
            assert_eq!(events.is_empty(), !changing);
            assert_eq!(ack(&mut lab, from), backend);
        }
    }
}

#[test]
fn connections_of_an_emptied_pool_stay_where_new_ones_are_dropped() {
    let mut lab = Lab::new(&with_record(resting()));
    lab.change(|image| {
        let table = Table::new(|_| Slot::new(NONE, OLD).touch());
        image.tables.insert(OLD_TABLE + 1, table);
        let record = Record {
            active: OLD_TABLE + 1,
            origin_active: OLD_TABLE + 1,
            ..resting()
        };
        image.records.insert(SERVICE, record);
    });
    for family in FAMILIES {
        assert_eq!(ack(&mut lab, client(family, 1)), OLD);
        let started = lab.send_frame(&Frame::syn(client(family, 2), vip(family)));
        assert_eq!(started.reason, Reason::EmptyPool);
    }
}

#[test]
fn a_flow_cannot_have_come_from_a_pool_that_was_empty_and_so_stays_where_it_is() {
    let mut lab = Lab::new(&with_record(resting()));
    lab.change(|image| {
        let nobody = Table::new(|_| Slot::settled(NONE));
        image.tables.insert(OLD_TABLE + 1, nobody);
        let record = Record {
            origin_active: OLD_TABLE + 1,
            flags: Record::MOVING,
            ..resting()
        };
        image.records.insert(SERVICE, record);
    });
    for family in FAMILIES {
        assert_eq!(ack(&mut lab, client(family, 1)), OLD);
    }
    lab.set_record(Record {
        active: NEW_TABLE,
        touched_ppm: 1_000_000,
        flags: Record::MOVING,
        ..resting()
    });
    for family in FAMILIES {
        assert_eq!(ack(&mut lab, client(family, 1)), OLD);
        assert_eq!(syn(&mut lab, client(family, 2)), NEW);
    }
}
