//! A data plane with something missing: counted, dropped, and never somebody else's backend.

use lb_common::{
    backend::{Backend, NONE, index},
    listener::Listener,
    pool::Slot,
    protocol::{TCP, UDP},
    reason::Reason,
    release::Record,
};
use lb_userspace::dataplane::{Dataplane as _, Image, Table, Write};
use serin_tests::netns::Namespace;

use crate::{
    case::Case,
    lab::Lab,
    outcome::Verdict,
    world::{
        FAMILIES, Family, KINDS, NEW_TABLE, OLD, OLD_TABLE, SERVICE, at_rest, endpoint, request,
        resting, server, vip,
    },
};

#[test]
fn an_empty_pool_drops_and_counts_at_the_pool() {
    let mut lab = Lab::new(&at_rest());
    lab.change(|image| {
        image
            .tables
            .insert(OLD_TABLE, Table::new(|_| Slot::settled(NONE)));
    });
    every_kind_drops(&mut lab, Reason::EmptyPool);
    assert_eq!(lab.counters().pool_drops[&0], 4);
    lab.change(|image| {
        image
            .tables
            .insert(NEW_TABLE, Table::new(|_| Slot::settled(NONE)));
        image.records.insert(
            SERVICE,
            Record {
                active: NEW_TABLE,
                ..resting()
            },
        );
    });
    every_kind_drops(&mut lab, Reason::EmptyPool);
    assert_eq!(
        (lab.counters().pool_drops[&0], lab.counters().pool_drops[&1]),
        (4, 4)
    );
}

#[test]
fn a_service_that_never_had_a_record_does_not_borrow_another_ones() {
    let mut image = at_rest();
    point_listeners_at(&mut image, SERVICE + 1);
    every_kind_drops(&mut Lab::new(&image), Reason::NoRecord);
}

#[test]
fn a_service_whose_record_was_removed_has_none() {
    let mut lab = Lab::new(&at_rest());
    let removed = lab.kernel().write(&Write::RemoveRecord(SERVICE));
    removed.expect("a record may be removed");
    every_kind_drops(&mut lab, Reason::NoRecord);
}

#[test]
fn a_record_that_names_no_table_drops() {
    let mut image = at_rest();
    image.records.insert(
        SERVICE,
        Record {
            active: NEW_TABLE,
            ..resting()
        },
    );
    every_kind_drops(&mut Lab::new(&image), Reason::NoTable);
    image.records.insert(
        SERVICE,
        Record {
            active: u32::MAX,
            ..resting()
        },
    );
    every_kind_drops(&mut Lab::new(&image), Reason::NoTable);
}

#[test]
fn a_slot_that_names_no_backend_drops() {
    let mut image = at_rest();
    for family in FAMILIES {
        image.backends.remove(&index(OLD, family == Family::V6));
    }
    every_kind_drops(&mut Lab::new(&image), Reason::NoBackend);
}

#[test]
fn a_backend_has_only_the_families_that_it_was_given() {
    let mut image = at_rest();
    image.backends.remove(&index(OLD, true));
    let mut lab = Lab::new(&image);
    for (family, protocol) in KINDS {
        let expected = match family {
            Family::V4 => Reason::Transmitted,
            Family::V6 => Reason::NoBackend,
        };
        assert_eq!(lab.send_frame(&request(family, protocol)).reason, expected);
    }
}

#[test]
fn a_backend_that_nobody_can_reach_drops() {
    every_kind_drops(&mut Lab::new(&unresolved()), Reason::NoRoute);
}

#[test]
fn a_backend_that_the_daemon_has_not_resolved_is_reached_by_the_kernels_route() {
    let namespace = Namespace::create("packet").expect("root makes namespaces");
    for path in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        namespace.sysctl(path, "1").expect("root sets parameters");
    }
    let (v4, v6) = (server(Family::V4, OLD).ip(), server(Family::V6, OLD).ip());
    let routes = format!(
        "link add lan address 02:00:00:04:00:01 type veth peer name far
        link set lan up
        link set far up
        address add 10.88.0.254/16 dev lan
        address add fd88::fe/64 dev lan nodad
        neigh add {v4} lladdr 02:00:00:04:00:02 dev lan nud permanent
        neigh add {v6} lladdr 02:00:00:04:00:02 dev lan nud permanent"
    );
    namespace
        .ip(&routes)
        .expect("the kernel has veth and both families");
    let mut lab = Lab::within(namespace, 1024);
    let lan = nix::net::if_::if_nametoindex("lan").expect("it was just made");
    let mut image = unresolved();
    image.ports.insert(lan);
    lab.become_image(&image);
    for (family, protocol) in KINDS {
        let input = request(family, protocol);
        let output = input.clone().to(server(family, OLD));
        let output = output.forwarded([2, 0, 0, 4, 0, 2], [2, 0, 0, 4, 0, 1]);
        Case::transmitted(format!("{family:?} {protocol:?}"), &input, &output)
            .by(Verdict::Redirect, Reason::Redirected)
            .check(&mut lab);
    }
}

fn every_kind_drops(lab: &mut Lab, reason: Reason) {
    for (family, protocol) in KINDS {
        let input = request(family, protocol);
        Case::dropped(format!("{family:?} {protocol:?}"), &input, reason).check(lab);
    }
}

fn point_listeners_at(image: &mut Image, service: u32) {
    for family in FAMILIES {
        for protocol in [TCP, UDP] {
            let listener = Listener::new(service, 9, 80);
            image
                .listeners
                .insert(endpoint(vip(family), protocol), listener);
        }
    }
}

fn unresolved() -> Image {
    let mut image = at_rest();
    for family in FAMILIES {
        let at = server(family, OLD);
        let entry = Backend::new(at.ip().into(), at.port(), 1);
        image
            .backends
            .insert(index(OLD, family == Family::V6), entry);
    }
    image
}
