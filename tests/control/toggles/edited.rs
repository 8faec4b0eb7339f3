//! Flags of steps that an edit of the file guards: nobody has come to them by a release of before.

use std::net::IpAddr;

use lb_userspace::{
    control::flags::{Because, Who},
    release::engine::Event,
};

use crate::{site::Site, world::World};

const STEPS: &str = "[service.release]\nsteps = [{ share = \"1%\", hold = \"1h\" }, { share = \"30%\", \
                     hold = \"1h\" }]\n";
const PROMOTE: Event = Event::Promote {
    full: false,
    expect_step: None,
};

fn world() -> World {
    let mut site = Site::new(&[&[2, 2]]);
    STEPS.clone_into(&mut site.services[0].tables);
    let mut world = World::new(site);
    world.start("s0", false).expect("started");
    world
}

/// Guards the second step, by a toggle that is on.
fn guard(world: &mut World) {
    let mut site = world.site.clone();
    let tables = &mut site.services[0].tables;
    *tables = tables.replace(
        "\"30%\", hold = \"1h\"",
        "\"30%\", hold = \"1h\", toggle = \"new-ui\"",
    );
    tables.push_str("[[toggle]]\nname = \"new-ui\"\non = true\n");
    world.apply(site).expect("applied");
}

/// For how many of 200 clients it is on, and why it is as it is for the last.
fn told(world: &mut World) -> (usize, Because) {
    let clients = (0..200_u8).map(|n| Who::Address(IpAddr::from([10, 0, n, 7])));
    let control = world.control();
    let flags = clients.map(|who| control.flag("new-ui", &who).expect("told"));
    let flags: Vec<_> = flags.collect();
    let on = flags.iter().filter(|flag| flag.value).count();
    (on, flags[199].because)
}

#[test]
fn a_step_that_is_guarded_after_a_promotion_is_off_until_the_next_release_comes_to_it() {
    let mut world = world();
    let full = Event::Promote {
        full: true,
        expect_step: None,
    };
    world.steer("s0", &full).expect("promoted");
    guard(&mut world);
    assert_eq!(told(&mut world), (0, Because::Default), "nobody has begun");
    world.start("s0", false).expect("started");
    assert_eq!(told(&mut world), (0, Because::Default), "at its first step");
    world.steer("s0", &PROMOTE).expect("at its second");
    let (on, because) = told(&mut world);
    assert_eq!(because, Because::Split);
    // 60 are expected; five standard deviations either way.
    assert!((28..93).contains(&on), "{on} of 200 at 30%");
    world.abort("s0").expect("aborted");
    assert_eq!(told(&mut world), (0, Because::Default));
}

#[test]
fn a_step_that_is_guarded_while_a_release_is_under_way_is_off_for_all_of_it() {
    let mut world = world();
    guard(&mut world);
    for _ in 0..3 {
        assert_eq!(told(&mut world), (0, Because::Default));
        world
            .steer("s0", &PROMOTE)
            .unwrap_or_else(|_| panic!("under way"));
        if !world.state().services["s0"].is_released() {
            break;
        }
    }
    assert_eq!(
        told(&mut world),
        (0, Because::Default),
        "promoted without it"
    );
}
