//! Releases: what a ramp, a cutover and a rollback do to users, connections and pools.

use std::time::Duration;

use lb_userspace::{control::ControlError, state::StateError};

use super::{FIVE, assert_whole, changed, settle, three_pools, two_pools};
use crate::{
    site::{Backend, Pool, Site},
    world::{World, is_at_rest},
};

#[test]
fn at_rest_nothing_is_pinned_and_nothing_is_due() {
    let mut world = two_pools();

    let pause = world.tend().expect("tended");

    assert_eq!((pause, world.pins()), (None, 0));
    assert!(is_at_rest(&world.image()));
}

#[test]
fn connections_outlast_a_ramp_a_cutover_and_a_rollback() {
    let mut world = two_pools();
    for ppm in [10_000, FIVE, 250_000, 1_000_000] {
        world.share("s0", ppm, None).expect("a step");
        world.pass(Duration::from_secs(2)).expect("tended");
    }
    world.cutover("s0", None).expect("promoted");
    settle(&mut world);
    world.rollback("s0").expect("back");
    settle(&mut world);
    assert!(world.connections() > 0);
    assert_whole(&mut world);
}

#[test]
fn a_drain_of_a_second_lasts_a_second() {
    let mut site = Site::new(&[&[2, 2]]);
    site.services[0].drain_s = 1;
    let mut world = World::new(site);
    world.pass(Duration::from_millis(300)).expect("tended");
    for _ in 0..8 {
        world.cutover("s0", None).expect("there, or back again");
        world.pass(Duration::from_millis(3100)).expect("tended");
    }
    assert_whole(&mut world);
}

#[test]
fn an_order_that_changes_no_client_leaves_nothing_to_settle() {
    let mut world = two_pools();
    world.share("s0", 1_000_000, None).expect("all");
    settle(&mut world);
    world.twin.edge().leave();
    world.calm_down().expect("tended");

    world.cutover("s0", None).expect("promoted");

    let status = world.status("s0");
    assert_eq!((status.settled, status.settles_in_s), (true, None));
}

#[test]
fn a_pool_that_was_promoted_away_from_can_be_removed() {
    let mut world = three_pools();
    world.share("s0", 1_000_000, Some("p1")).expect("all");
    settle(&mut world);
    world.cutover("s0", Some("p1")).expect("promoted");
    settle(&mut world);

    let without = changed(&world, |site| {
        site.services[0].pools.remove(0);
    });
    world.apply(without).expect("nobody is on it");

    assert!(
        world.rollback("s0").is_err(),
        "there is no pool to return to"
    );
    assert_whole(&mut world);
}

#[test]
fn a_pool_that_users_are_on_or_come_from_is_not_removed() {
    let mut world = three_pools();
    let without = |world: &World, pool: usize| {
        changed(world, |site| {
            site.services[0].pools.remove(pool);
        })
    };
    world.share("s0", FIVE, Some("p1")).expect("5%");
    for pool in [0, 1] {
        let site = without(&world, pool);
        let error = world.apply(site).expect_err("in use");
        assert!(
            matches!(error, ControlError::State(StateError::PoolInUse { .. })),
            "{error}"
        );
    }
    world.cutover("s0", Some("p2")).expect("away");
    let site = without(&world, 0);
    let error = world
        .apply(site)
        .expect_err("its connections drain")
        .to_string();
    assert!(error.contains("drain"), "{error}");
    assert_whole(&mut world);
}

#[test]
fn a_pool_removed_and_added_again_is_another_with_other_users() {
    let mut world = three_pools();
    world.share("s0", FIVE, Some("p1")).expect("5%");
    let salt = world.record("s0").salt;
    world.rollback("s0").expect("back");
    settle(&mut world);
    let with = world.site.clone();
    let without = changed(&world, |site| {
        site.services[0].pools.remove(1);
    });
    world.apply(without).expect("removed");
    world.apply(with).expect("added again");
    world.share("s0", FIVE, Some("p1")).expect("5%");
    assert_ne!(world.record("s0").salt, salt);
    settle(&mut world);
    assert_whole(&mut world);
}

#[test]
fn with_three_pools_another_candidate_waits_until_the_first_is_taken_back() {
    let mut world = three_pools();
    assert!(world.share("s0", FIVE, None).is_err(), "which one?");
    world.share("s0", FIVE, Some("p1")).expect("5%");
    let refused = world
        .share("s0", FIVE, Some("p2"))
        .expect_err("p1 is under way")
        .to_string();
    assert!(
        refused.contains("pool `p1`: another release is under way"),
        "{refused}"
    );
    world.cutover("s0", Some("p2")).expect("away from both");
    let status = world.status("s0");
    assert_eq!((status.active.as_str(), status.share_ppm), ("p2", 0));
    world.rollback("s0").expect("to p0");
    assert_eq!(world.status("s0").active, "p0");
    settle(&mut world);
    assert_whole(&mut world);
}

#[test]
fn a_pool_may_be_added_and_released_to_in_the_middle_of_a_change() {
    let mut world = two_pools();
    world.cutover("s0", None).expect("p1");
    let backend = Backend {
        number: 6,
        place: 0,
        weight: 1,
    };
    let pool = Pool {
        name: "p2".to_owned(),
        backends: vec![backend],
    };
    let more = changed(&world, |site| site.services[0].pools.push(pool));
    world.apply(more).expect("added");
    world.share("s0", 250_000, Some("p2")).expect("25%");
    settle(&mut world);
    world.cutover("s0", Some("p2")).expect("promoted");
    settle(&mut world);
    assert_whole(&mut world);
}
