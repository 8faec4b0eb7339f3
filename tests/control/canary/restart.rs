//! A daemon that is away: holds go on from where they were.

use std::time::Duration;

use lb_userspace::{
    control::Ask,
    release::engine::{Event, Outcome},
};

use super::{assert_whole, at, over, place, release, seconds, site, world};
use crate::world::World;

fn away(world: &mut World, time: Duration) {
    world.abandon();
    world.twin.edge().now += u64::try_from(time.as_nanos()).expect("not that long");
    world.restart().expect("started again");
}

#[test]
fn a_hold_goes_on_while_the_daemon_is_away_and_no_step_is_skipped() {
    let mut world = world();
    world.start("s0", false).expect("started");
    seconds(&mut world, 5);
    away(&mut world, Duration::from_secs(7));
    assert_eq!(place(&mut world), at(1, "holding", 0));
    assert_eq!(release(&mut world).left_s, Some(8));

    away(&mut world, Duration::from_hours(1));
    assert_eq!(place(&mut world), at(1, "holding", 0), "no order was given");
    world.tend().expect("tended");
    assert_eq!(
        place(&mut world),
        at(2, "holding", 10_000),
        "one step alone"
    );
    seconds(&mut world, 29);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    seconds(&mut world, 1);
    assert_eq!(place(&mut world), at(3, "holding", 250_000));
    assert_whole(&mut world);
}

#[test]
fn a_reboot_keeps_the_step_and_what_was_held_of_it() {
    let mut world = world();
    world.start("s0", false).expect("started");
    seconds(&mut world, 21);
    seconds(&mut world, 10);
    // What a pause writes down is all of it; without one, at most half a minute is lost.
    let pause = Event::Pause;
    world.steer("s0", &pause).expect("paused");
    let left = release(&mut world).left_s;
    assert_eq!(left, Some(19));

    world.reboot();
    world.restart().expect("on new maps");
    assert_eq!(place(&mut world), at(2, "paused", 10_000));
    assert_eq!(release(&mut world).left_s, left);
    let resume = Event::Resume;
    world.steer("s0", &resume).expect("resumed");
    seconds(&mut world, 18);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    seconds(&mut world, 1);
    assert_eq!(place(&mut world), at(3, "holding", 250_000));
    assert_whole(&mut world);
}

#[test]
fn a_long_hold_is_written_down_so_that_a_reboot_costs_half_a_minute_at_most() {
    let mut site = site();
    let tables = &site.services[0].tables;
    site.services[0].tables = tables.replace("\"20s\"", "\"1h\"");
    let mut world = World::new(site);
    world.start("s0", false).expect("started");
    seconds(&mut world, 1000);

    world.reboot();
    // The host has been up for longer than it was before.
    world.twin.edge().now = 9_000_000_000_000;
    world.restart().expect("on new maps");

    let left = release(&mut world).left_s.expect("it holds");
    assert!((2600..=2631).contains(&left), "{left} s are left");
}

#[test]
fn the_kernels_word_wins_over_a_state_file_of_another_step() {
    let mut world = world();
    world.start("s0", false).expect("started");
    let old = std::fs::read(world.state_file()).expect("a file");
    seconds(&mut world, 50);
    assert_eq!(place(&mut world), at(3, "holding", 250_000));
    std::fs::write(world.state_file(), old).expect("restored from a backup");

    world.restart().expect("started again");

    assert_eq!(place(&mut world), at(3, "holding", 250_000));
    assert_eq!(release(&mut world).left_s, Some(10), "held anew");
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let last = entries.last().expect("an entry");
    assert_eq!(
        (last.event.to_string().as_str(), last.step),
        ("found", Some(3))
    );
    assert_whole(&mut world);
}

#[test]
fn an_aborted_and_a_promoted_release_stay_so_over_restarts_and_reboots() {
    for promoted in [false, true] {
        let mut world = world();
        world.start("s0", false).expect("started");
        let full = Event::Promote {
            full: true,
            expect_step: None,
        };
        let state = if promoted {
            world.steer("s0", &full).expect("promoted");
            "promoted"
        } else {
            world.abort("s0").expect("aborted");
            "aborted"
        };
        away(&mut world, Duration::from_secs(100));
        seconds(&mut world, 100);
        assert_eq!(place(&mut world), over(state));
        world.reboot();
        world.restart().expect("on new maps");
        seconds(&mut world, 100);
        assert_eq!(place(&mut world), over(state));
        assert_whole(&mut world);
    }
}

/// At the end of the first hold a daemon starts that has not heard of the candidate.
fn restarted_when_a_step_is_due() -> World {
    let mut site = site();
    "tcp = true, interval = \"1s\"".clone_into(&mut site.services[0].health);
    let mut world = World::new(site);
    world.start("s0", false).expect("started");
    seconds(&mut world, 15);
    world.abandon();
    world.twin.edge().now += 10_000_000_000;
    world.restart().expect("started again");
    world.tend().expect("tended");
    assert_eq!(
        place(&mut world),
        at(1, "holding", 0),
        "the health of before"
    );
    world
}

#[test]
fn no_step_is_made_by_the_health_that_the_daemon_of_before_knew() {
    let mut world = restarted_when_a_step_is_due();
    world.health("s0", &[(2, false), (3, false)]).expect("told");
    seconds(&mut world, 10);
    assert_eq!(place(&mut world), at(1, "awaits-backends", 0));

    let mut world = restarted_when_a_step_is_due();
    world.health("s0", &[(2, true), (3, true)]).expect("told");
    world.tend().expect("tended");
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
}

#[test]
fn a_step_waits_for_checks_no_longer_than_they_take() {
    let mut world = restarted_when_a_step_is_due();
    seconds(&mut world, 10);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
}

/// A gate has let a release go on; the daemon of before knew its candidate well, who is dead.
fn restarted_with_a_gate() -> (World, Ask) {
    let mut site = site();
    "tcp = true, interval = \"1s\"".clone_into(&mut site.services[0].health);
    site.services[0]
        .tables
        .push_str("[[service.release.gate]]\nname = \"smoke\"\nbefore = 2\nexec = [\"/x\"]\n");
    let mut world = World::new(site);
    world.start("s0", false).expect("started");
    world.health("s0", &[(2, true), (3, true)]).expect("told");
    seconds(&mut world, 20);
    let ask = world.control().due_gates().remove(0);
    world.restart().expect("started again");
    (world, ask)
}

fn pass(world: &mut World, ask: Ask) {
    let tick = world.tick();
    let answers = vec![(ask, Outcome::Passed)];
    world.control().answers(answers, tick).expect("taken");
}

#[test]
fn no_gates_answer_makes_a_step_by_the_health_that_the_daemon_of_before_knew() {
    let (mut world, ask) = restarted_with_a_gate();
    pass(&mut world, ask.clone());
    assert_eq!(
        place(&mut world),
        at(1, "holding", 0),
        "the health of before"
    );
    world.health("s0", &[(2, false), (3, false)]).expect("told");
    seconds(&mut world, 10);
    assert_eq!(place(&mut world), at(1, "awaits-backends", 0));

    let (mut world, ask) = restarted_with_a_gate();
    pass(&mut world, ask);
    world.health("s0", &[(2, true), (3, true)]).expect("told");
    world.tend().expect("tended");
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
}

#[test]
fn an_order_to_promote_is_kept_until_the_candidate_has_been_checked() {
    let promote = |full| Event::Promote {
        full,
        expect_step: None,
    };
    let (mut world, ask) = restarted_with_a_gate();
    let refused = world.steer("s0", &promote(true)).expect_err("at once?");
    let refused = refused.to_string();
    assert!(
        refused.contains("have not been checked since the daemon"),
        "{refused}"
    );
    world.steer("s0", &promote(false)).expect("noted");
    pass(&mut world, ask);
    assert_eq!(place(&mut world), at(1, "holding", 0));
    world.health("s0", &[(2, true), (3, true)]).expect("told");
    world.tend().expect("tended");
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
}
