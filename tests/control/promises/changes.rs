//! What is a change and when it began: drains and their deadlines count from there.

use std::time::Duration;

use lb_common::{
    address::Address,
    flow::{FlowKey, Pin},
    hash::BUCKETS,
    release::Record,
};

use super::FIVE;
use crate::{site::Site, world::World};

/// A world whose drain lasts 5 s, and its deadline 20 s.
fn world() -> World {
    let mut site = Site::new(&[&[2, 1]]);
    site.services[0].lines += "drain_deadline = \"20s\"\n";
    let world = World::new(site);
    world.twin.edge().leave();
    world
}

/// Lets time go by with a connection on a backend that talks all the time.
fn pass(world: &mut World, backend: &str, seconds: u64) {
    let listener = world.image().listeners.values().next().copied();
    let listener = listener.expect("a listener").id();
    let key = FlowKey::new(Address::v4([198, 51, 100, 7]), [9, 1], listener);
    for _ in 0..seconds {
        let backends = world.state().services["s0"].backends.iter();
        let mut found = backends.filter(|(_, it)| it.name == backend);
        let (&id, state) = found.next().expect("it is there");
        let pin = Pin::new(id, state.generation, world.tick());
        world.twin.edge().memory.pins.insert(key, pin);
        world.pass(Duration::from_secs(1)).expect("tended");
    }
}

#[test]
fn an_order_that_is_given_again_does_not_begin_its_drain_anew() {
    let orders: [fn(&mut World); 2] = [
        |world| drop(world.share("s0", FIVE, None).expect("a step")),
        |world| drop(world.weight("s0", 0, 7).expect("a weight")),
    ];
    for order in orders {
        let mut world = world();
        order(&mut world);
        assert!(!world.status("s0").settled);
        pass(&mut world, "b0", 4);

        order(&mut world);
        pass(&mut world, "b0", 4);

        assert!(world.status("s0").settled);
    }
}

#[test]
fn the_way_back_gives_connections_a_deadline_of_its_own() {
    let mut world = world();
    world.cutover("s0", None).expect("cut over");
    pass(&mut world, "b2", 15);
    world.rollback("s0").expect("back");

    pass(&mut world, "b2", 15);
    assert!(!world.record("s0").has(Record::OVERDUE));
    pass(&mut world, "b2", 15);

    assert!(world.record("s0").has(Record::OVERDUE));
}

#[test]
fn so_do_weights_that_are_taken_back() {
    let mut world = world();
    world.weight("s0", 0, 0).expect("all on b1");
    pass(&mut world, "b2", 15);
    world.weight("s0", 0, 100).expect("as before");

    pass(&mut world, "b2", 15);

    assert!(!world.record("s0").has(Record::OVERDUE));
}

#[test]
fn a_change_behind_the_deadline_of_another_breaks_nothing() {
    let mut world = world();
    world.cutover("s0", None).expect("cut over");
    pass(&mut world, "b0", 30);
    assert!(world.record("s0").has(Record::OVERDUE));
    world.rollback("s0").expect("back");
    pass(&mut world, "b2", 30);
    assert!(world.record("s0").has(Record::OVERDUE));

    world.weight("s0", 0, 7).expect("a weight");

    assert!(!world.record("s0").has(Record::OVERDUE));
}

#[test]
fn where_first_packets_have_pinned_connections_pins_are_looked_for_until_there_is_none() {
    let mut site = Site::new(&[&[1, 1]]);
    let audience =
        "[[service.audience]]\nname = \"small\"\nmss = \"1-1400\"\npool = \"candidate\"\n";
    site.services[0].tables += audience;
    let mut world = World::new(site.clone());
    world.twin.edge().leave();
    assert_eq!(world.record("s0").touched_ppm, 0);

    // There is no release, so that nobody moves; but whoever was in it has a pin.
    site.services[0].tables.clear();
    world.apply(site).expect("the audience goes");

    let record = world.record("s0");
    assert_eq!(
        (record.touched_ppm, record.has(Record::MOVING)),
        (BUCKETS, false)
    );
    world.pass(Duration::from_secs(3)).expect("tended");
    assert_eq!(world.record("s0").touched_ppm, 0);
}
