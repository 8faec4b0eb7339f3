//! Releases that go to their candidate at once: preview, cutover, bake and the ways back.

use std::time::Duration;

use lb_userspace::{api::model::CutoverOrder, journal::Happened, release::engine::Event};

use super::{PROMOTE, assert_whole, at, over, place, pools, release, seconds};
use crate::{
    site::Site,
    world::{World, is_at_rest},
};

/// More writes than any transition takes.
const MANY: usize = 100;

/// Staff for 5 s, then everybody, watched for 10 s.
pub(super) const RELEASE: &str = "[[service.audience]]\nname = \"staff\"\nsources = \
                                  [\"198.51.100.0/24\"]\npool = \"candidate\"\n[service.release]\n\
                                  strategy = \"blue-green\"\nbake = \"10s\"\nsteps = [{ audience = \
                                  \"staff\", hold = \"5s\", approve = true }]\n";

pub(super) fn site() -> Site {
    let mut site = Site::new(&[&[2, 2], &[1, 1]]);
    RELEASE.clone_into(&mut site.services[0].tables);
    site
}

fn world() -> World {
    World::new(site())
}

pub(super) fn cut_over(world: &mut World) {
    let order = CutoverOrder::default();
    world.cut_over("s0", &order).expect("cut over");
}

fn at_time(world: &World, seconds: u64) -> CutoverOrder {
    CutoverOrder {
        at_ms: Some(world.at_ms(seconds)),
        ..CutoverOrder::default()
    }
}

fn active(world: &mut World) -> String {
    world.status("s0").active
}

#[test]
fn one_whose_candidate_is_down_at_its_time_says_so_and_goes_when_it_is_back() {
    let mut world = world();
    world.start("s0", false).expect("started");
    let order = at_time(&world, 100);
    world.cut_over("s0", &order).expect("at its time");
    let down = [(2, false), (3, false)];
    world.health("s0", &down).expect("told");
    seconds(&mut world, 90);
    assert_eq!(release(&mut world).state, "scheduled");
    seconds(&mut world, 60);
    assert_eq!(place(&mut world), at(1, "awaits-backends", 0));
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let told = entries
        .iter()
        .filter(|e| e.event == Happened::AwaitsBackends);
    assert_eq!(told.count(), 1);
    world
        .health("s0", &down.map(|(backend, _)| (backend, true)))
        .expect("told");
    seconds(&mut world, 1);
    assert_eq!(
        (place(&mut world), active(&mut world)),
        (over("baking"), "p1".to_owned())
    );
    assert_whole(&mut world);
}

#[test]
fn a_preview_a_cutover_and_a_bake_and_the_next_release_goes_the_other_way() {
    let mut world = world();
    for (before, after) in [("p0", "p1"), ("p1", "p0"), ("p0", "p1")] {
        assert_eq!(active(&mut world), before);
        world.start("s0", false).expect("started");
        assert_eq!(place(&mut world), at(1, "holding", 0));
        seconds(&mut world, 6);
        assert_eq!(place(&mut world), at(1, "awaits-approval", 0));
        let epoch = world.record("s0").epoch;
        cut_over(&mut world);
        assert_eq!(world.record("s0").epoch, epoch + 1, "one store");
        assert_eq!(place(&mut world), over("baking"));
        assert_eq!(
            (active(&mut world), release(&mut world).left_s),
            (after.to_owned(), Some(10))
        );
        let refused = world.start("s0", false).expect_err("it bakes");
        assert!(
            refused.to_string().contains("in its bake time"),
            "{refused}"
        );
        seconds(&mut world, 10);
        assert_eq!(place(&mut world), over("promoted"));
        let (now, idle) = pools(&world);
        assert_eq!(now, idle, "no idle pool is named for audiences");
        assert_whole(&mut world);
    }
    assert_eq!(release(&mut world).number, 3);
    world.calm_down().expect("tended");
    assert!(is_at_rest(&world.image()));
}

#[test]
fn a_cutover_without_a_start_leaves_the_preview_out() {
    let mut world = world();
    cut_over(&mut world);
    assert_eq!(place(&mut world), over("baking"));
    world.steer("s0", &PROMOTE).expect("the bake is over");
    assert_eq!(place(&mut world), over("promoted"));
    assert_eq!(release(&mut world).number, 1);
    assert_whole(&mut world);
}

#[test]
fn in_the_bake_a_rollback_and_an_abort_go_back_in_one_store() {
    for abort in [true, false] {
        let mut world = world();
        cut_over(&mut world);
        seconds(&mut world, 3);
        let epoch = world.record("s0").epoch;
        if abort {
            world.abort("s0").expect("aborted");
        } else {
            world.rollback("s0").expect("rolled back");
        }
        assert_eq!(world.record("s0").epoch, epoch + 1, "one store");
        assert_eq!(place(&mut world), over("rolled-back"));
        assert_eq!(active(&mut world), "p0");
        seconds(&mut world, 30);
        assert_eq!(place(&mut world), over("rolled-back"), "for good");
        assert_whole(&mut world);
    }
}

#[test]
fn a_candidate_that_dies_in_its_bake_is_rolled_back_by_itself() {
    let mut world = world();
    cut_over(&mut world);
    seconds(&mut world, 3);
    world.health("s0", &[(2, false)]).expect("told");
    seconds(&mut world, 1);
    assert_eq!(place(&mut world), over("baking"), "one backend is left");
    world.health("s0", &[(2, false), (3, false)]).expect("told");
    world.tend().expect("tended");
    assert_eq!(place(&mut world), over("rolled-back"));
    let reason = release(&mut world).reason;
    assert_eq!(
        reason.as_deref(),
        Some("all backends of pool `p1` are down")
    );
    assert_eq!(active(&mut world), "p0");
    assert_whole(&mut world);
}

#[test]
fn a_candidate_that_dies_with_the_pool_before_it_stays() {
    let mut world = world();
    cut_over(&mut world);
    let all = [(0, false), (1, false), (2, false), (3, false)];
    world.health("s0", &all).expect("told");
    seconds(&mut world, 3);
    assert_eq!(place(&mut world), over("baking"));
    assert_eq!(active(&mut world), "p1");
}

#[test]
fn a_set_time_is_kept_over_restarts_and_jumps_of_the_time_of_day() {
    let mut world = world();
    let order = at_time(&world, 100);
    let done = world.cut_over("s0", &order).expect("scheduled");
    assert!(
        done.notes[0].starts_with("the cutover waits for 20"),
        "{done:?}"
    );
    assert_eq!(place(&mut world), over("scheduled"));
    seconds(&mut world, 50);
    world.restart().expect("up again");
    assert_eq!(release(&mut world).scheduled_ms, order.at_ms);
    // Back by a minute: it waits as much longer.
    world.twin.edge().wall_ms -= 60_000;
    seconds(&mut world, 100);
    assert_eq!(place(&mut world), over("scheduled"));
    seconds(&mut world, 11);
    assert_eq!(place(&mut world), over("baking"));
    assert_whole(&mut world);
}

#[test]
fn a_jump_of_the_time_of_day_beyond_the_set_time_makes_it_come() {
    let mut world = world();
    world.start("s0", false).expect("started");
    let order = at_time(&world, 3600);
    world.cut_over("s0", &order).expect("scheduled");
    assert_eq!(place(&mut world), at(1, "scheduled", 0));
    seconds(&mut world, 30);
    let pause = world
        .tend()
        .expect("tended")
        .expect("it is looked at again");
    assert!(pause <= Duration::from_secs(1), "{pause:?}");
    assert_eq!(
        place(&mut world),
        at(1, "scheduled", 0),
        "the hold is no matter"
    );
    world.twin.edge().wall_ms += 3_600_000;
    seconds(&mut world, 1);
    assert_eq!(place(&mut world), over("baking"));
    assert_whole(&mut world);
}

#[test]
fn a_start_at_a_time_moves_nobody_before_and_is_no_older_then() {
    let mut site = site();
    let tables = &mut site.services[0].tables;
    *tables = tables.replace("bake", "deadline = \"1m\"\nbake");
    let mut world = World::new(site);
    let at_ms = at_time(&world, 300).at_ms;
    let tick = world.tick();
    let started = world
        .control()
        .start_release("s0", None, false, at_ms, tick);
    started.expect("scheduled");
    seconds(&mut world, 299);
    assert_eq!(
        place(&mut world),
        over("scheduled"),
        "its deadline has not begun"
    );
    seconds(&mut world, 2);
    assert_eq!(place(&mut world), at(1, "holding", 0));
    let now = at_time(&world, 0).at_ms;
    let late = world.control().start_release("s0", None, true, now, tick);
    let late = late.expect_err("over").to_string();
    assert!(late.contains("is over; name a later time"), "{late}");
}

#[test]
fn a_restart_in_each_stage_leaves_it_and_its_countdown() {
    let mut world = world();
    world.start("s0", false).expect("started");
    seconds(&mut world, 2);
    world.restart().expect("up");
    assert_eq!(place(&mut world), at(1, "holding", 0));
    assert_eq!(release(&mut world).left_s, Some(3));
    cut_over(&mut world);
    seconds(&mut world, 4);
    world.restart().expect("up");
    assert_eq!(place(&mut world), over("baking"));
    assert_eq!(release(&mut world).left_s, Some(6));
    seconds(&mut world, 6);
    world.restart().expect("up");
    assert_eq!(place(&mut world), over("promoted"));
    world.rollback("s0").expect("still possible");
    world.restart().expect("up");
    assert_eq!(place(&mut world), over("rolled-back"));
    assert_whole(&mut world);
}

#[test]
fn with_three_pools_the_candidate_is_named_and_the_way_back_is_known() {
    let mut site = Site::new(&[&[1, 1, 1]]);
    RELEASE.clone_into(&mut site.services[0].tables);
    let mut world = World::new(site);
    let refused = world.cut_over("s0", &CutoverOrder::default());
    let refused = refused.expect_err("which?").to_string();
    assert!(refused.contains("with --to"), "{refused}");
    let to = |to: &str| CutoverOrder {
        to: Some(to.to_owned()),
        ..CutoverOrder::default()
    };
    world.cut_over("s0", &to("p2")).expect("cut over");
    let other = world.cut_over("s0", &to("p1")).expect_err("another");
    assert!(
        other.to_string().contains("is about pool `p2`, not `p1`"),
        "{other}"
    );
    world.steer("s0", &PROMOTE).expect("baked");
    world.cut_over("s0", &to("p0")).expect("the other way");
    world.rollback("s0").expect("back");
    assert_eq!(active(&mut world), "p2");
    assert_whole(&mut world);
}

#[test]
fn a_time_for_a_cutover_by_hand_is_refused() {
    let mut world = world();
    let order = at_time(&world, 60);
    let refused = world.cut_over("s1", &order).expect_err("by hand");
    assert!(
        refused.to_string().contains("strategy = \"blue-green\""),
        "{refused}"
    );
    let order = CutoverOrder {
        at_ms: Some(1),
        ..CutoverOrder::default()
    };
    let refused = world.cut_over("s0", &order).expect_err("1970");
    assert!(
        refused
            .to_string()
            .starts_with("1970-01-01T00:00:00Z is over"),
        "{refused}"
    );
}

#[test]
fn a_share_by_hand_ends_the_watch() {
    let mut world = world();
    cut_over(&mut world);
    world.share("s0", 100_000, Some("p0")).expect("by hand");
    let taken = (None, "taken-over".to_owned(), 100_000);
    assert_eq!(place(&mut world), taken);
    assert!(world.steer("s0", &Event::Pause).is_err());
    assert_whole(&mut world);
}

#[test]
fn an_audience_that_comes_at_rest_does_not_get_the_idle_pool() {
    for back in [true, false] {
        let mut bare = Site::new(&[&[1, 1]]);
        let mut world = World::new(bare.clone());
        world.share("s0", 50_000, None).expect("5%");
        if back {
            world.rollback("s0").expect("back");
        } else {
            world.cutover("s0", None).expect("cut over");
        }
        let start = RELEASE.find("[service.release]").expect("there");
        RELEASE[..start].clone_into(&mut bare.services[0].tables);
        world.apply(bare).expect("applied");
        let (active, candidate) = pools(&world);
        assert_eq!(active, candidate, "nobody gets the idle pool");
        assert_whole(&mut world);
    }
}

type Place = (Option<usize>, String, u32);

/// A transition, and the places before and after it.
struct Case {
    name: &'static str,
    before: fn(&mut World),
    order: fn(&mut World),
    places: [Option<Place>; 2],
}

fn previewed(world: &mut World) {
    world.start("s0", false).expect("started");
}

fn scheduled(world: &mut World) {
    let order = at_time(world, 2);
    world.cut_over("s0", &order).expect("scheduled");
}

fn cases() -> Vec<Case> {
    let case = |name, before, order, places| Case {
        name,
        before,
        order,
        places,
    };
    let preview = || Some(at(1, "holding", 0));
    let baking = || Some(over("baking"));
    vec![
        case("start", |_| (), previewed, [None, preview()]),
        case("cutover", previewed, cut_over, [preview(), baking()]),
        case("cutover at once", |_| (), cut_over, [None, baking()]),
        case(
            "its time comes",
            scheduled,
            |w| seconds(w, 2),
            [Some(over("scheduled")), baking()],
        ),
        case(
            "the bake ends",
            cut_over,
            |w| seconds(w, 10),
            [baking(), Some(over("promoted"))],
        ),
        case(
            "rollback",
            cut_over,
            |w| drop(w.rollback("s0").expect("back")),
            [baking(), Some(over("rolled-back"))],
        ),
        case(
            "death",
            cut_over,
            |w| {
                w.health("s0", &[(2, false), (3, false)]).expect("told");
                w.tend().expect("tended");
            },
            [baking(), Some(over("rolled-back"))],
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
    let order = std::panic::AssertUnwindSafe(|| (case.order)(&mut world));
    let crashed = std::panic::catch_unwind(order).is_err();
    world.twin.edge().crash_at = None;
    if !crashed {
        return false;
    }
    world.abandon();
    let says = world.image().records[&0].active / 2;
    world.twin.edge().talk();
    world.restart().expect("up again");
    let story = format!("{} ended before write {write}", case.name);
    assert_eq!(pools(&world).0, says, "{story}: the kernel's word");
    let found = world.status("s0").release.is_some();
    let found = found.then(|| place(&mut world));
    assert!(case.places.contains(&found), "{story}: {found:?}");

    // From wherever it is, it goes on to its end.
    let back = matches!(case.name, "rollback" | "death");
    world.health("s0", &[(2, true), (3, true)]).expect("told");
    if found.is_none() {
        cut_over(&mut world);
    }
    seconds(&mut world, 6);
    if place(&mut world).1 == "awaits-approval" {
        cut_over(&mut world);
    }
    seconds(&mut world, 11);
    let (_, state, _) = place(&mut world);
    let ends = state == "promoted" || (back && state == "rolled-back");
    assert!(ends, "{story}: {state}");
    assert_eq!(
        world.status("s0").active,
        if state == "promoted" { "p1" } else { "p0" }
    );
    assert_whole(&mut world);
    true
}

#[test]
fn after_a_crash_at_any_write_of_a_blue_green_it_goes_on() {
    for case in cases() {
        let writes = (0..MANY)
            .take_while(|&write| survives(&case, write))
            .count();
        assert!(
            (1..MANY).contains(&writes),
            "{}: {writes} writes",
            case.name
        );
    }
}
