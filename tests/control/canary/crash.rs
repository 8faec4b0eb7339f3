//! A crash before any write of any transition, and after the state file was saved: the next daemon
//! goes on from where users are. It neither begins anew, nor skips a step, nor makes one twice.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lb_userspace::{journal::Happened, release::engine::Event};

use super::{PROMOTE, assert_whole, at, over, place, seconds, site};
use crate::world::World;

/// More writes than any transition takes.
const MANY: usize = 100;

type Place = (Option<usize>, String, u32);

/// A transition, and the places before and after it.
struct Case {
    name: &'static str,
    before: fn(&mut World),
    order: fn(&mut World),
    places: [Option<Place>; 2],
}

/// Holds of 4, 5 and 2 seconds.
fn world() -> World {
    let mut site = site();
    let tables = &mut site.services[0].tables;
    for (long, short) in [("20s", "4s"), ("30s", "5s"), ("10s", "2s")] {
        *tables = tables.replace(long, short);
    }
    World::new(site)
}

fn begin(world: &mut World) {
    world.start("s0", false).expect("started");
}

fn at_one_percent(world: &mut World) {
    begin(world);
    seconds(world, 4);
}

fn at_a_quarter(world: &mut World) {
    at_one_percent(world);
    seconds(world, 7);
}

fn aborted(world: &mut World) {
    at_a_quarter(world);
    world.abort("s0").expect("aborted");
}

fn cases() -> Vec<Case> {
    let first = || Some(at(1, "holding", 0));
    let second = || Some(at(2, "holding", 10_000));
    let third = || Some(at(3, "holding", 250_000));
    let approval = || Some(at(3, "awaits-approval", 250_000));
    let case = |name, before, order, places| Case {
        name,
        before,
        order,
        places,
    };
    vec![
        case("start", |_| (), begin, [None, first()]),
        case(
            "the first hold ends",
            begin,
            |w| seconds(w, 4),
            [first(), second()],
        ),
        case(
            "the second hold ends",
            at_one_percent,
            |w| seconds(w, 5),
            [second(), third()],
        ),
        case(
            "promote",
            at_a_quarter,
            |w| drop(w.steer("s0", &PROMOTE).expect("promoted")),
            [approval(), Some(over("promoted"))],
        ),
        case(
            "abort",
            at_a_quarter,
            |w| drop(w.abort("s0").expect("aborted")),
            [approval(), Some(over("aborted"))],
        ),
        case(
            "rollback",
            |w| {
                at_a_quarter(w);
                w.steer("s0", &PROMOTE).expect("promoted");
            },
            |w| drop(w.rollback("s0").expect("back")),
            [Some(over("promoted")), Some(over("rolled-back"))],
        ),
        case(
            "retry",
            aborted,
            |w| drop(w.steer("s0", &Event::Retry).expect("again")),
            [Some(over("aborted")), first()],
        ),
        case(
            "replace",
            at_one_percent,
            |w| drop(w.start("s0", true).expect("replaced")),
            [second(), first()],
        ),
    ]
}

/// Ends the transition before its write number `at`; false if it came to its end.
fn survives(case: &Case, write: usize) -> bool {
    let mut world = world();
    world.twin.edge().talk();
    (case.before)(&mut world);
    {
        let mut edge = world.twin.edge();
        edge.begin(None);
        edge.crash_at = Some(write);
    }
    let crashed = catch_unwind(AssertUnwindSafe(|| (case.order)(&mut world))).is_err();
    world.twin.edge().crash_at = None;
    if !crashed {
        return false;
    }
    world.abandon();
    let share = world.image().records[&0].share_ppm;
    world.twin.edge().talk();
    world.restart().expect("up again");

    let story = format!("{} ended before write {write}", case.name);
    assert_eq!(world.record("s0").share_ppm, share, "{story}");
    let found = world.status("s0").release.is_some();
    let found = found.then(|| place(&mut world));
    assert!(case.places.contains(&found), "{story}: {found:?}");
    goes_on(&mut world, found.as_ref(), &story);
    assert_whole(&mut world);
    true
}

/// From wherever it is, a release reaches its end through all of its steps, each held in full.
fn goes_on(world: &mut World, found: Option<&Place>, story: &str) {
    match found.map(|found| found.1.as_str()) {
        None => begin(world),
        Some("promoted" | "rolled-back") => return is_told_whole(world, story),
        Some("aborted") => drop(world.steer("s0", &Event::Retry).expect("a retry")),
        Some(_) => {}
    }
    let mut steps = vec![place(world).0.expect("under way")];
    for _ in 0..12 {
        seconds(world, 1);
        let step = place(world).0.expect("under way");
        if steps.last() != Some(&step) {
            steps.push(step);
        }
    }
    let first = steps[0];
    assert_eq!(steps, (first..=3).collect::<Vec<_>>(), "{story}");
    world.steer("s0", &PROMOTE).expect("approved");
    assert_eq!(place(world), over("promoted"), "{story}");
    is_told_whole(world, story);
}

/// The log has every step in its order, although some were made by a daemon that died of it.
fn is_told_whole(world: &mut World, story: &str) {
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let made = entries.iter().filter(|e| e.event != Happened::Continued);
    let mut steps: Vec<Option<usize>> = made.map(|entry| entry.step).collect();
    steps.dedup();
    for pair in steps.windows(2) {
        let follows = match pair {
            [Some(before), Some(after)] => *after == before + 1 || *after == 1,
            [None, Some(after)] => *after == 1,
            _ => true,
        };
        assert!(follows, "{story}: {steps:?}");
    }
    assert_eq!(steps.last(), Some(&None), "{story}: {steps:?}");
}

#[test]
fn after_a_crash_at_any_write_of_any_transition_the_release_goes_on() {
    for case in cases() {
        let writes = (0..MANY)
            .take_while(|&write| survives(&case, write))
            .count();
        assert!(
            (2..MANY).contains(&writes),
            "{}: {writes} writes",
            case.name
        );
    }
}

#[test]
fn a_state_that_can_not_be_saved_leaves_the_release_where_it_is_until_it_can() {
    let mut world = world();
    begin(&mut world);
    // The temporary file's name is taken by a directory.
    let blocker = world.directory().join("state.json.new");
    std::fs::create_dir(&blocker).expect("made");
    for _ in 0..9 {
        world.twin.edge().now += 1_000_000_000;
        // It may complain; it must not move.
        let _complaint = world.tend();
    }
    assert_eq!(place(&mut world), at(1, "holding", 0));
    std::fs::remove_dir(&blocker).expect("removed");
    seconds(&mut world, 2);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    assert_whole(&mut world);
}
