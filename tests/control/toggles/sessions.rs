//! Services with sessions: those that are there are pinned before a toggle is turned.

use std::time::Duration;

use super::{assert_whole, looked_at, site};
use crate::world::World;

fn world() -> World {
    let mut site = site();
    site.services[0].lines += "datagram = \"session\"\nidle = \"10s\"\n";
    let mut world = World::new(site);
    world.share("s0", 0, None).expect("begun");
    world.share("s1", 0, None).expect("a candidate");
    seconds(&mut world, 30);
    world
}

fn seconds(world: &mut World, seconds: u64) {
    world.pass(Duration::from_secs(seconds)).expect("tended");
}

#[test]
fn a_turn_comes_for_all_its_services_once_the_sessions_are_pinned() {
    let mut world = world();
    let waits = world.turn("preview", true).expect("begun");
    assert!(waits.arming_s.is_some() && !waits.on && !waits.changed);
    assert_eq!(waits.orders.keys().collect::<Vec<_>>(), ["s0"]);
    assert_eq!(looked_at(&world), [0, 0], "nor the one without sessions");
    assert_eq!(
        world.status("s0").pending.as_deref(),
        Some("toggle preview on")
    );
    world.restart().expect("up again");
    seconds(&mut world, 13);
    assert_eq!(looked_at(&world), [1, 1]);
    assert_eq!(world.status("s0").pending, None);
    let ended = world.status("s0").ended.expect("it has waited");
    assert_eq!(ended.failure, None);
    assert_whole(&mut world);
}

#[test]
fn a_turn_that_waits_is_called_off_by_the_turn_back_or_a_rollback() {
    let mut world = world();
    world.turn("preview", true).expect("begun");
    let back = world.turn("preview", false).expect("called off");
    assert!(!back.on && !back.changed);
    assert_eq!(world.status("s0").pending, None);
    seconds(&mut world, 30);
    assert_eq!(looked_at(&world), [0, 0]);

    world.turn("preview", true).expect("begun");
    world.rollback("s0").expect("called off");
    seconds(&mut world, 30);
    assert_eq!(looked_at(&world), [0, 0]);
    assert!(!world.state().toggles["preview"].on);
    assert_whole(&mut world);
}

#[test]
fn an_order_that_waits_is_not_disturbed() {
    let mut world = world();
    world.share("s0", 50_000, None).expect("begun");
    let refused = world.turn("preview", true).expect_err("occupied");
    let refused = refused.to_string();
    assert!(
        refused.contains("sessions are being pinned for `share"),
        "{refused}"
    );
    assert_eq!(looked_at(&world), [0, 0]);
}
