//! The way back of a release, and what a dead candidate does to one.

use super::{PROMOTE, assert_whole, at, over, place, pools, release, seconds, world};

#[test]
fn a_rollback_of_what_is_aborted_sends_nobody_to_it() {
    let mut world = world();
    world.cutover("s0", Some("p1")).expect("p1, at first");
    world.start("s0", false).expect("p0 again");
    world.steer("s0", &PROMOTE).expect("1%");
    world.rollback("s0").expect("aborted");
    let twice = world
        .rollback("s0")
        .expect_err("there is no way back to it");

    assert!(
        twice.to_string().contains("nothing to roll back"),
        "{twice}"
    );
    assert_eq!(pools(&world).0, 1);
    assert_eq!(place(&mut world), over("aborted"));
    assert_whole(&mut world);
}

#[test]
fn an_abort_does_not_ask_whether_the_pool_of_before_is_well() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.steer("s0", &PROMOTE).expect("1%");
    world
        .health("s0", &[(0, false), (1, false)])
        .expect("the active pool is dead");
    world.abort("s0").expect("aborted all the same");
    assert_eq!(place(&mut world), over("aborted"));
}

#[test]
fn a_step_whose_candidate_was_dead_is_held_anew() {
    let mut world = world();
    world.start("s0", false).expect("started");
    seconds(&mut world, 15);
    world
        .health("s0", &[(2, false), (3, false)])
        .expect("the candidate is dead");
    seconds(&mut world, 300);
    assert_eq!(place(&mut world).2, 0, "nobody follows to a dead candidate");
    world.health("s0", &[(2, true)]).expect("it is back");
    assert_eq!(release(&mut world).left_s, Some(20));
    seconds(&mut world, 19);
    assert_eq!(place(&mut world), at(1, "holding", 0));
    seconds(&mut world, 1);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
}
