//! Several services that are cut over as one.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use lb_userspace::api::model::CutoverOrder;

use super::{assert_whole, blue_green};
use crate::{site::Site, world::World};

/// More writes than any of these takes.
const MANY: usize = 100;

/// A service with a blue-green release, and one without.
fn world() -> World {
    World::new(blue_green::site())
}

fn actives(world: &mut World) -> Vec<String> {
    world.list().into_iter().map(|line| line.active).collect()
}

#[test]
fn services_that_are_cut_over_as_one_all_move() {
    let mut world = world();
    let done = world.cut_over_together(&["s1", "s0"]).expect("cut over");
    let names: Vec<_> = done.services.iter().map(|done| &done.service).collect();
    assert_eq!(names, ["s1", "s0"]);
    assert!(done.gap.is_some());
    assert_eq!(actives(&mut world), ["p1", "p1"]);
    let baking = world.status("s0").release.expect("a release");
    assert_eq!(baking.state, "baking");
    let entries = world.control().entries(0, None).expect("readable");
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_whole(&mut world);
}

#[test]
fn one_that_may_not_move_holds_all_of_them_back() {
    let refused = |world: &mut World, services: &[&str], expected: &str| {
        let before = world.image();
        let refused = world.cut_over_together(services).expect_err("refused");
        assert!(refused.to_string().contains(expected), "{refused}");
        assert_eq!(world.image(), before);
    };
    let mut world = world();
    refused(&mut world, &["s0", "s0"], "name each once");
    refused(&mut world, &[], "at least one");
    refused(&mut world, &["s0", "nope"], "service `nope`");
    world.health("s1", &[(1, false)]).expect("told");
    refused(
        &mut world,
        &["s0", "s1"],
        "pool `p1`: all its backends are down",
    );
    let mut session = blue_green::site();
    session.services[1].lines += "datagram = \"session\"\nidle = \"10s\"\n";
    let mut world = World::new(session);
    refused(&mut world, &["s0", "s1"], "cut it over by itself");
}

/// The records that the kernel has, by the pool that is active.
fn stored(world: &World) -> BTreeSet<u32> {
    let image = world.image();
    image
        .records
        .values()
        .map(|record| record.active / 2 % 2)
        .collect()
}

fn survives(order: fn(&mut World), write: usize, mixed: &mut usize) -> bool {
    let mut world = world();
    world.twin.edge().talk();
    {
        let mut edge = world.twin.edge();
        edge.begin(None);
        edge.crash_at = Some(write);
    }
    let crashed = catch_unwind(AssertUnwindSafe(|| order(&mut world))).is_err();
    world.twin.edge().crash_at = None;
    if !crashed {
        return false;
    }
    world.abandon();
    *mixed += usize::from(stored(&world).len() > 1);
    let some = stored(&world).contains(&1);
    world.twin.edge().talk();
    world.restart().expect("up again");
    let expected = if some { ["p1", "p1"] } else { ["p0", "p0"] };
    assert_eq!(actives(&mut world), expected, "ended before write {write}");
    let entries = world.control().entries(0, None).expect("readable");
    let told = if some { 2 } else { 0 };
    let orders = entries
        .iter()
        .filter(|e| !e.event.to_string().contains("continued"));
    assert_eq!(
        orders.count(),
        told,
        "ended before write {write}: {entries:?}"
    );
    world.restart().expect("and again");
    assert_eq!(actives(&mut world), expected, "ended before write {write}");
    assert_whole(&mut world);
    true
}

#[test]
fn after_a_crash_at_any_write_all_are_cut_over_or_none() {
    let order: fn(&mut World) = |world| drop(world.cut_over_together(&["s0", "s1"]));
    let mut mixed = 0;
    let writes = (0..MANY)
        .take_while(|&write| survives(order, write, &mut mixed))
        .count();
    assert!((4..MANY).contains(&writes), "{writes} writes");
    assert!(mixed > 0, "no crash came between the two stores");
}

#[test]
fn a_store_that_fails_between_two_is_made_by_the_next_tick() {
    for fail in 0..4 {
        let mut world = world();
        world.twin.edge().begin(Some(fail));
        let failed = world.cut_over_together(&["s0", "s1"]).is_err();
        world.twin.edge().begin(None);
        assert!(failed, "write {fail}");
        world.tend().expect("tended");
        let told = actives(&mut world);
        assert_eq!(told[0], told[1], "write {fail}");
    }
}

#[test]
fn a_cutover_of_one_after_several_is_its_own() {
    let mut world = World::new(Site::new(&[&[1, 1], &[1, 1]]));
    world.cut_over_together(&["s0", "s1"]).expect("cut over");
    let order = CutoverOrder::default();
    world.cut_over("s0", &order).expect("and back");
    assert!(world.state().together.is_empty());
    world.restart().expect("up again");
    assert_eq!(actives(&mut world), ["p0", "p1"]);
}
