//! Crashes: after the state file was saved, and after each single write of each kind of order.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use lb_userspace::{api::model::Line, state::Admin};

use crate::{
    site::{Backend, Door, Pool, Service, Site},
    world::{World, is_at_rest},
};

/// More writes than any of these orders takes.
const MANY: usize = 100;

/// An order, by what it is called in a failure.
struct Case {
    name: &'static str,
    order: fn(&mut World),
    /// What the order wanted is so, however it was interrupted.
    wanted: fn(&mut World) -> bool,
    /// Where the restart reads another configuration.
    site: fn(&mut Site),
}

fn same(_: &mut Site) {}

fn anything(_: &mut World) -> bool {
    true
}

fn apply(world: &mut World, change: fn(&mut Site)) {
    let mut site = world.site.clone();
    change(&mut site);
    world.apply(site).expect("applied");
}

fn more(site: &mut Site) {
    let backend = |number| Backend {
        number,
        place: 0,
        weight: 1,
    };
    let service = &mut site.services[0];
    service.pools[0].backends.push(backend(6));
    service.pools.push(Pool {
        name: "p7".to_owned(),
        backends: vec![backend(7)],
    });
    service.listeners.insert(Door::Second);
    site.services.push(Service::new(2, &[1, 1]));
}

fn less(site: &mut Site) {
    site.services.remove(1);
    let service = &mut site.services[0];
    service.pools[0].backends.remove(1);
    service.pools.remove(2);
    service.listeners.remove(&Door::V6);
}

fn other_places(site: &mut Site) {
    let pools = site.services[0].pools.iter_mut();
    pools
        .flat_map(|pool| &mut pool.backends)
        .for_each(|backend| backend.place = 1);
}

fn backend(world: &World, name: &str) -> (Admin, u32) {
    let backends = world.state().services["s0"].backends.values();
    let found = backends
        .into_iter()
        .find(|b| b.name == name && !b.leaving)
        .expect("there");
    (found.admin, found.weight())
}

fn cases() -> Vec<Case> {
    let case = |name, order, wanted| Case {
        name,
        order,
        wanted,
        site: same,
    };
    vec![
        case(
            "share",
            |w| drop(w.share("s0", 50_000, Some("p1")).expect("5%")),
            anything,
        ),
        case(
            "cutover",
            |w| drop(w.cutover("s0", Some("p1")).expect("cut over")),
            anything,
        ),
        case(
            "weight",
            |w| drop(w.weight("s0", 0, 9).expect("weighed")),
            |w| backend(w, "b0").1 == 9,
        ),
        case(
            "drain",
            |w| drop(w.admin("s0", 0, Admin::Drain).expect("drained")),
            |w| backend(w, "b0").0 == Admin::Drain,
        ),
        case(
            "maint",
            |w| drop(w.admin("s0", 0, Admin::Maint).expect("maint")),
            |w| backend(w, "b0").0 == Admin::Maint,
        ),
        Case {
            site: more,
            ..case("apply more", |w| apply(w, more), anything)
        },
        Case {
            site: less,
            ..case("apply less", |w| apply(w, less), anything)
        },
        Case {
            site: other_places,
            ..case("apply other places", |w| apply(w, other_places), anything)
        },
    ]
}

/// In the middle of things, so that there is something to lose.
fn busy() -> World {
    let mut world = World::new(Site::new(&[&[2, 2, 1], &[1, 1]]));
    world.cutover("s1", None).expect("cut over");
    world.pass(Duration::from_secs(1)).expect("tended");
    world.weight("s0", 1, 60).expect("weighed");
    world.twin.edge().talk();
    world
}

/// The order, ended by a crash before its write number `at`; false if it came to its end.
fn crashes(world: &mut World, order: fn(&mut World), at: usize) -> bool {
    {
        let mut edge = world.twin.edge();
        edge.begin(None);
        edge.crash_at = Some(at);
    }
    let crashed = catch_unwind(AssertUnwindSafe(|| order(world))).is_err();
    world.twin.edge().crash_at = None;
    if crashed {
        world.abandon();
    }
    crashed
}

fn kernels_word(world: &World) -> Vec<(u32, u32, u32)> {
    let image = world.image();
    let records = image.records.iter();
    records
        .map(|(&id, r)| (id, r.share_ppm, r.active / 2))
        .collect()
}

fn positions(lines: &[Line]) -> Vec<(String, String, u32)> {
    let lines = lines.iter();
    lines
        .map(|line| (line.service.clone(), line.active.clone(), line.share_ppm))
        .collect()
}

fn assert_whole(world: &mut World, what: &str) {
    let problems = world.problems();
    assert!(problems.is_empty(), "{what}: {problems:#?}");
}

/// Comes up after a crash, goes on, and comes to rest.
fn survives(case: &Case, at: usize) -> bool {
    let mut world = busy();
    let story = format!("{} ended before write {at}", case.name);
    if !crashes(&mut world, case.order, at) {
        return false;
    }
    let says = kernels_word(&world);
    world.twin.edge().talk();
    let mut site = world.site.clone();
    (case.site)(&mut site);
    world.site = site;
    world
        .restart()
        .unwrap_or_else(|error| panic!("{story}: {error}"));
    for (id, share, active) in says {
        let after = world
            .image()
            .records
            .get(&id)
            .map(|r| (r.share_ppm, r.active / 2));
        assert!(
            after.is_none_or(|after| after == (share, active)),
            "{story}: service {id}"
        );
    }
    assert!(
        (case.wanted)(&mut world),
        "{story}: what was wanted is lost"
    );
    let lines = world.list();
    world.pass(Duration::from_secs(1)).expect("tended");
    world
        .restart()
        .unwrap_or_else(|error| panic!("{story}, again: {error}"));
    assert_eq!(positions(&world.list()), positions(&lines), "{story}");
    world.pass(Duration::from_secs(8)).expect("tended");
    assert_whole(&mut world, &story);
    world.calm_down().expect("tended");
    assert!(is_at_rest(&world.image()), "{story}: {:?}", world.state());
    true
}

#[test]
fn after_a_crash_at_any_write_of_any_order_the_core_goes_on_where_the_maps_are() {
    for case in cases() {
        let writes = (0..MANY).take_while(|&at| survives(&case, at)).count();
        assert!(
            (2..MANY).contains(&writes),
            "{} has {writes} writes",
            case.name
        );
    }
}

#[test]
fn after_a_crash_in_the_middle_of_settling_it_settles_later() {
    let settle: fn(&mut World) = |world| world.pass(Duration::from_secs(8)).expect("tended");
    for at in 0..6 {
        let mut world = busy();
        world.cutover("s0", Some("p1")).expect("cut over");
        if !crashes(&mut world, settle, at) {
            continue;
        }
        world.restart().expect("up again");
        world.pass(Duration::from_secs(12)).expect("tended");
        assert!(
            world.list().iter().all(|line| line.settled),
            "crashed at {at}"
        );
        assert_whole(&mut world, "settling");
    }
}

#[test]
fn a_cutover_that_a_crash_prevented_leaves_the_way_back_that_was_there() {
    let mut world = World::new(Site::new(&[&[1, 1, 1]]));
    world.cutover("s0", Some("p1")).expect("cut over");
    let cutover: fn(&mut World) = |world| drop(world.cutover("s0", Some("p2")));

    assert!(crashes(&mut world, cutover, 0));
    world.restart().expect("up again");

    assert_eq!(world.status("s0").active, "p1");
    world.rollback("s0").expect("back");
    assert_eq!(
        world.status("s0").active,
        "p0",
        "the cutover to p2 never was"
    );
}

#[test]
fn a_release_that_a_crash_interrupted_goes_on_with_the_same_users() {
    let mut world = World::new(Site::new(&[&[1, 1, 1]]));
    world.share("s0", 50_000, Some("p1")).expect("5%");
    let salt = world.record("s0").salt;
    let cutover: fn(&mut World) = |world| drop(world.cutover("s0", Some("p1")));

    assert!(crashes(&mut world, cutover, 0));
    world.restart().expect("up again");

    world.rollback("s0").expect("to 0%");
    world.share("s0", 50_000, Some("p1")).expect("a retry");
    assert_eq!(world.record("s0").salt, salt);
}

#[test]
fn a_maint_that_a_crash_interrupted_is_finished_by_the_next_start() {
    for at in 0..8 {
        let mut world = busy();
        let maint: fn(&mut World) = |world| drop(world.admin("s0", 0, Admin::Maint));
        if !crashes(&mut world, maint, at) {
            continue;
        }
        world.restart().expect("up again");
        world.tend().expect("tended");
        let backend = &world.state().services["s0"].backends[&1];
        assert!(backend.voided, "crashed at {at}");
        let edge = world.twin.edge();
        let live = edge
            .memory
            .pins
            .values()
            .filter(|pin| pin.backend() == 1 && pin.generation() == backend.generation);
        assert_eq!(live.count(), 0, "crashed at {at}");
    }
}
