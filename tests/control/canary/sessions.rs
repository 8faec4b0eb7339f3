//! Steps of a service with sessions: those that are there are pinned before each.

use std::time::Duration;

use super::{PROMOTE, assert_whole, at, over, place, seconds, site};
use crate::world::World;

fn sessions() -> World {
    let mut site = site();
    let service = &mut site.services[0];
    service.lines += "datagram = \"session\"\nidle = \"10s\"\n";
    World::new(site)
}

#[test]
fn each_step_comes_once_the_sessions_are_pinned() {
    let mut world = sessions();
    let done = world.start("s0", false).expect("begun");
    assert!(done.arming_s.is_some());
    assert_eq!(world.status("s0").pending.as_deref(), Some("start"));
    seconds(&mut world, 13);
    assert_eq!(place(&mut world), at(1, "holding", 0));

    seconds(&mut world, 20);
    assert_eq!(world.status("s0").pending.as_deref(), Some("the next step"));
    assert_eq!(place(&mut world), at(1, "holding", 0));
    seconds(&mut world, 13);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    assert_whole(&mut world);
}

#[test]
fn an_abort_calls_off_what_waits() {
    let mut world = sessions();
    world.start("s0", false).expect("begun");
    world.abort("s0").expect("called off");
    assert_eq!(world.status("s0").pending, None);
    seconds(&mut world, 60);
    assert_eq!(world.status("s0").release, None);

    world.start("s0", false).expect("begun");
    seconds(&mut world, 13 + 20);
    assert_eq!(world.status("s0").pending.as_deref(), Some("the next step"));
    world.abort("s0").expect("aborted");
    seconds(&mut world, 60);
    assert_eq!(place(&mut world), over("aborted"));
    assert_whole(&mut world);
}

#[test]
fn a_daemon_that_dies_while_a_step_waits_makes_it_when_it_is_back() {
    let mut world = sessions();
    world.start("s0", false).expect("begun");
    seconds(&mut world, 13 + 20);
    world.abandon();
    let away = Duration::from_mins(10);
    world.twin.edge().now += u64::try_from(away.as_nanos()).expect("minutes");
    world.restart().expect("started again");
    seconds(&mut world, 1);
    assert_eq!(
        place(&mut world),
        at(2, "holding", 10_000),
        "and no further"
    );
    assert_whole(&mut world);
}

#[test]
fn a_reason_outlasts_the_wait() {
    let mut world = sessions();
    world.start("s0", false).expect("begun");
    seconds(&mut world, 13);
    let tick = world.tick();
    let control = world.control();
    control
        .steer("s0", &PROMOTE, "it looks well", tick)
        .expect("begun");
    seconds(&mut world, 13);
    let entries = world.control().entries(0, None).expect("readable");
    let last = entries.last().expect("an entry");
    assert_eq!((last.step, last.cause.as_str()), (Some(2), "it looks well"));
}

#[test]
fn whoever_has_to_wait_for_a_release_is_told_what_a_rollback_would_do() {
    let mut world = sessions();
    world.start("s0", false).expect("begun");
    seconds(&mut world, 13 + 20);
    assert_eq!(world.status("s0").pending.as_deref(), Some("the next step"));
    let error = world.weight("s0", 0, 7).expect_err("occupied").to_string();
    assert!(
        error.contains("and abort the release that is under way"),
        "{error}"
    );
}
