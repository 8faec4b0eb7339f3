//! Several services that are cut over as one at a time: all of them at that moment, or none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lb_userspace::{journal::Happened, release::engine::Event};

use super::{PROMOTE, assert_whole, blue_green, seconds};
use crate::{site::Site, world::World};

/// More writes than any of these takes.
const MANY: usize = 100;
const BOTH: [&str; 2] = ["s0", "s1"];

/// Two services with a blue-green release each.
fn site() -> Site {
    let mut site = blue_green::site();
    let tables = site.services[0].tables.clone();
    site.services[1].tables = tables;
    site
}

/// Both are to go in 100 s.
fn scheduled() -> World {
    let mut world = World::new(site());
    schedule(&mut world);
    world
}

fn schedule(world: &mut World) {
    let at_ms = world.at_ms(100);
    let done = world.cut_over_together_at(&BOTH, Some(at_ms));
    let done = done.expect("scheduled");
    assert!(
        done.services[1].notes[0].starts_with("the cutover waits for "),
        "{done:?}"
    );
}

fn actives(world: &mut World) -> Vec<String> {
    world.list().into_iter().map(|line| line.active).collect()
}

/// State of both releases.
fn states(world: &mut World) -> [String; 2] {
    BOTH.map(|service| {
        world
            .status(service)
            .release
            .map_or_else(String::new, |r| r.state)
    })
}

fn events(world: &mut World, service: &str) -> Vec<Happened> {
    let entries = world.control().entries(0, Some(service)).expect("readable");
    entries.iter().map(|entry| entry.event).collect()
}

#[test]
fn at_the_time_both_move_at_one_moment_and_not_before() {
    let mut world = scheduled();
    let told = world.status("s0").release.expect("a release");
    assert_eq!(
        (told.state.as_str(), told.together),
        ("scheduled", BOTH.map(str::to_owned).to_vec())
    );
    seconds(&mut world, 99);
    assert_eq!(actives(&mut world), ["p0", "p0"]);
    world.restart().expect("up again");
    seconds(&mut world, 2);
    assert_eq!(actives(&mut world), ["p1", "p1"]);
    assert_eq!(states(&mut world), ["baking", "baking"]);
    for service in BOTH {
        let expected = [Happened::Scheduled, Happened::Promoted];
        let told: Vec<_> = events(&mut world, service);
        let told: Vec<_> = told
            .into_iter()
            .filter(|e| *e != Happened::Continued)
            .collect();
        assert_eq!(told, expected, "{service}");
    }
    assert_whole(&mut world);
}

#[test]
fn previews_go_on_until_the_time_and_gates_are_not_waited_for_at_it() {
    let mut world = World::new(site());
    world.start("s0", false).expect("a preview");
    schedule(&mut world);
    assert_eq!(world.status("s0").release.expect("there").step, Some(1));
    seconds(&mut world, 50);
    assert_eq!(world.status("s0").release.expect("there").step, Some(1));
    seconds(&mut world, 51);
    assert_eq!(actives(&mut world), ["p1", "p1"]);

    let mut gated = site();
    gated.services[1].tables += "[[service.release.gate]]\nname = \"boss\"\nbefore = \"promote\"\nexec \
                                 = [\"/bin/true\"]\n";
    let mut world = World::new(gated);
    let at_ms = world.at_ms(100);
    let refused = world
        .cut_over_together_at(&BOTH, Some(at_ms))
        .expect_err("it would wait");
    assert_eq!(
        refused.to_string(),
        "service `s1`: its release waits for gate `boss` before the cutover; cut it over by itself, \
         or the others without it"
    );
    assert_eq!(
        states(&mut world),
        ["", ""],
        "nor is the other one scheduled"
    );
}

#[test]
fn what_can_not_go_at_one_moment_is_refused_when_it_is_set() {
    let mut world = World::new(blue_green::site());
    let at_ms = world.at_ms(100);
    let refused = |world: &mut World, at_ms, expected: &str| {
        let error = world
            .cut_over_together_at(&BOTH, Some(at_ms))
            .expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(states(world), ["", ""]);
    };
    refused(
        &mut world,
        at_ms,
        "service `s1`: no blue-green release can wait for a time; add",
    );
    let mut sessions = site();
    sessions.services[1].lines += "datagram = \"session\"\nidle = \"10s\"\n";
    refused(
        &mut World::new(sessions),
        at_ms,
        "service `s1`: its sessions are pinned before",
    );
    refused(
        &mut World::new(site()),
        1,
        "1970-01-01T00:00:00Z is over; name a later time",
    );
}

#[test]
fn one_that_can_not_serve_at_the_time_holds_both_back_until_it_can() {
    let mut world = scheduled();
    world.health("s1", &[(1, false)]).expect("told");
    seconds(&mut world, 200);
    assert_eq!(actives(&mut world), ["p0", "p0"]);
    assert_eq!(states(&mut world), ["awaits-others", "awaits-backends"]);
    let told = events(&mut world, "s1");
    assert!(told.contains(&Happened::AwaitsBackends), "{told:?}");
    let writes = world.writes();
    seconds(&mut world, 20);
    assert_eq!(world.writes(), writes, "to wait writes nothing");
    world.health("s1", &[(1, true)]).expect("told");
    seconds(&mut world, 2);
    assert_eq!(actives(&mut world), ["p1", "p1"]);
    assert_whole(&mut world);
}

/// An order to the first service by itself, and its name.
type Way = (&'static str, fn(&mut World));

#[test]
fn one_that_goes_its_own_way_calls_the_other_back_to_where_it_was() {
    let ways: [Way; 4] = [
        ("abort", |world| drop(world.abort("s0").expect("aborted"))),
        ("rollback", |world| {
            drop(world.rollback("s0").expect("back"));
        }),
        ("promote", |world| {
            drop(world.steer("s0", &PROMOTE).expect("now"));
        }),
        ("share", |world| {
            drop(world.share("s0", 10_000, None).expect("by hand"));
        }),
    ];
    for (way, order) in ways {
        let mut world = World::new(site());
        world.start("s1", false).expect("a preview");
        seconds(&mut world, 10);
        schedule(&mut world);
        order(&mut world);
        seconds(&mut world, 200);
        let [_, other] = states(&mut world);
        assert_eq!(other, "paused", "{way}");
        assert_eq!(actives(&mut world)[1], "p0", "{way}");
        let told = events(&mut world, "s1");
        assert!(told.contains(&Happened::CalledOff), "{way}: {told:?}");
        assert_whole(&mut world);
    }
}

#[test]
fn one_that_apply_gives_sessions_holds_neither_for_ever() {
    let mut world = scheduled();
    let mut site = world.site.clone();
    site.services[0].lines += "datagram = \"session\"\nidle = \"10s\"\n";
    world.apply(site).expect("applied");
    seconds(&mut world, 3);
    assert_eq!(
        states(&mut world),
        ["aborted", "aborted"],
        "both were begun for it"
    );
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let aborted = entries.iter().find(|e| e.event == Happened::Aborted);
    let cause = &aborted.expect("told").cause;
    assert!(cause.starts_with("it has sessions now"), "{cause}");
    let writes = world.writes();
    seconds(&mut world, 200);
    assert_eq!(actives(&mut world), ["p0", "p0"]);
    assert_eq!(world.writes(), writes, "nothing is tried again");
}

/// Its hold is over long before the time, and nobody has said that it is to go without the other.
#[test]
fn one_whose_hold_is_over_does_not_go_when_the_other_is_aborted() {
    let mut eager = site();
    for service in &mut eager.services {
        service.tables = blue_green::RELEASE.replace(", approve = true", "");
    }
    let mut world = World::new(eager);
    world.start("s0", false).expect("a preview");
    schedule(&mut world);
    seconds(&mut world, 50);
    assert_eq!(actives(&mut world), ["p0", "p0"], "it waits for the time");
    world.abort("s1").expect("aborted");
    seconds(&mut world, 200);
    assert_eq!(actives(&mut world), ["p0", "p0"]);
    assert_eq!(states(&mut world), ["paused", "aborted"]);
    world.steer("s0", &Event::Resume).expect("by itself, then");
    seconds(&mut world, 2);
    assert_eq!(actives(&mut world), ["p1", "p0"]);
}

#[test]
fn one_that_was_begun_for_later_by_itself_is_not_over_when_the_other_is() {
    let mut world = World::new(site());
    let later = world.at_ms(300);
    let tick = world.tick();
    let started = world
        .control()
        .start_release("s0", None, false, Some(later), tick);
    started.expect("for later");
    schedule(&mut world);
    world.abort("s1").expect("aborted");
    seconds(&mut world, 400);
    assert_eq!(states(&mut world), ["paused", "aborted"]);
    assert_eq!(actives(&mut world), ["p0", "p0"]);
}

/// At its deadline it is aborted, so the others would go without it.
#[test]
fn a_time_behind_a_deadline_is_refused_and_one_that_is_over_moves_nobody() {
    let mut limited = site();
    let deadline = "strategy = \"blue-green\"\ndeadline = \"60s\"";
    limited.services[0].tables = blue_green::RELEASE.replace("strategy = \"blue-green\"", deadline);
    let mut world = World::new(limited);
    world.start("s0", false).expect("a preview");
    let at_ms = world.at_ms(100);
    let refused = world
        .cut_over_together_at(&BOTH, Some(at_ms))
        .expect_err("it is over by then");
    let said = refused.to_string();
    assert!(
        said.contains("its release is aborted at its deadline, "),
        "{said}"
    );

    let at_ms = world.at_ms(50);
    world
        .cut_over_together_at(&BOTH, Some(at_ms))
        .expect("before it");
    world.health("s1", &[(1, false)]).expect("told");
    seconds(&mut world, 70);
    world.health("s1", &[(1, true)]).expect("told");
    seconds(&mut world, 10);
    assert_eq!(actives(&mut world), ["p0", "p0"]);
    assert_eq!(states(&mut world), ["aborted", "aborted"]);
}

#[test]
fn a_time_is_no_reason_to_take_users_back_who_were_given_the_candidate_by_hand() {
    let mut world = World::new(site());
    world.share("s0", 50_000, None).expect("by hand");
    let at_ms = world.at_ms(100);
    let refused = world
        .cut_over_together_at(&BOTH, Some(at_ms))
        .expect_err("they would lose it now");
    assert_eq!(
        refused.to_string(),
        "service `s0`: pool `p1` was given users by hand; take them back with `serin rollback s0` \
         first, or leave out --at"
    );
    assert_eq!(world.status("s0").share_ppm, 50_000);
}

#[test]
fn one_that_was_begun_for_it_alone_is_over_with_the_reason() {
    let mut world = scheduled();
    world.abort("s1").expect("aborted");
    seconds(&mut world, 2);
    assert_eq!(states(&mut world), ["aborted", "aborted"]);
    let reason = world.status("s0").release.expect("there").reason;
    assert_eq!(
        reason.as_deref(),
        Some(
            "`s1`, with which it was to be cut over, does not go with it any more (`serin history \
             s1` tells why)"
        )
    );
    seconds(&mut world, 200);
    assert_eq!(actives(&mut world), ["p0", "p0"]);
}

#[test]
fn the_same_order_again_sets_another_time_and_a_pause_holds_both() {
    let mut world = scheduled();
    let later = world.at_ms(300);
    world
        .cut_over_together_at(&BOTH, Some(later))
        .expect("later");
    seconds(&mut world, 200);
    assert_eq!(states(&mut world), ["scheduled", "scheduled"]);
    world.steer("s0", &Event::Pause).expect("paused");
    seconds(&mut world, 200);
    assert_eq!(actives(&mut world), ["p0", "p0"]);
    world.steer("s0", &Event::Resume).expect("resumed");
    seconds(&mut world, 2);
    assert_eq!(actives(&mut world), ["p1", "p1"]);
}

/// Ends the daemon before a write of the cutover, and the next one before a write of its start.
/// Whether there were such writes.
fn survives(write: usize, again: usize) -> (bool, bool) {
    let crash_at = |world: &mut World, write| {
        let mut edge = world.twin.edge();
        edge.begin(None);
        edge.crash_at = Some(write);
    };
    let mut world = scheduled();
    world.twin.edge().talk();
    crash_at(&mut world, write);
    if catch_unwind(AssertUnwindSafe(|| seconds(&mut world, 101))).is_ok() {
        return (false, false);
    }
    world.abandon();
    world.twin.edge().talk();
    crash_at(&mut world, again);
    let started = catch_unwind(AssertUnwindSafe(|| world.restart()));
    world.twin.edge().crash_at = None;
    let twice = started.is_err();
    if twice {
        world.abandon();
        world.restart().expect("up again");
    }
    let when = format!("ended before write {write}, then before write {again}");
    let found = actives(&mut world);
    assert_eq!(found[0], found[1], "{when}");
    seconds(&mut world, 101);
    assert_eq!(actives(&mut world), ["p1", "p1"], "{when}");
    assert_whole(&mut world);
    (true, twice)
}

#[test]
fn after_a_crash_at_any_write_also_of_the_next_start_both_are_there_or_neither() {
    let mut twice = 0;
    let writes = (0..MANY).take_while(|&write| {
        let ends = (0..MANY).map(|again| survives(write, again));
        let ends: Vec<_> = ends.take_while(|&(_, again)| again).collect();
        twice += ends.len();
        survives(write, ends.len()).0
    });
    let writes = writes.count();
    assert!((4..MANY).contains(&writes), "{writes} writes");
    assert!(twice > 0, "a start that writes");
}
