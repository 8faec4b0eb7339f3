//! Steps of a service with sessions: those that are there are pinned before each.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

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

/// The other one that waits would take users back on its way to its own first step.
#[test]
fn an_abort_calls_off_a_replacement_that_waits() {
    let mut world = sessions();
    world.start("s0", false).expect("begun");
    seconds(&mut world, 13 + 20 + 13);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    // So that to take users back needs sessions pinned as well.
    seconds(&mut world, 10);
    let (tick, at_ms) = (world.tick(), world.at_ms(60));
    let control = world.control();
    control
        .start_release("s0", None, true, Some(at_ms), tick)
        .expect("it is to begin anew");
    world.abort("s0").expect("aborted");
    seconds(&mut world, 120);
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
fn an_order_that_a_crash_prevents_is_not_told_to_have_been_carried_out() {
    let mut fates = Vec::new();
    for write in 0..100 {
        let mut world = sessions();
        world.cutover("s0", Some("p1")).expect("it waits");
        {
            let mut edge = world.twin.edge();
            edge.begin(None);
            edge.crash_at = Some(write);
        }
        let crashed = catch_unwind(AssertUnwindSafe(|| seconds(&mut world, 13))).is_err();
        world.twin.edge().crash_at = None;
        world.abandon();
        world.restart().expect("started again");
        let service = &world.state().services["s0"];
        let (waits, ended) = (service.pending.is_some(), service.ended.clone());
        let carried_out = world.status("s0").active == "p1";
        assert!(!(waits && carried_out), "write {write}");
        if !waits {
            let failure = ended.expect("it has ended").failure;
            assert_eq!(failure.is_none(), carried_out, "write {write}: {failure:?}");
        }
        assert_whole(&mut world);
        fates.push((waits, carried_out));
        if !crashed {
            break;
        }
    }
    assert_eq!(fates.last(), Some(&(false, true)), "{fates:?}");
    assert!(fates.contains(&(false, false)), "{fates:?}");
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
