//! Backends: in maint, drained, leaving, and coming back.

use std::time::Duration;

use lb_userspace::state::{Admin, State};

use super::{FIVE, assert_whole, changed, settle, three_pools, two_pools};
use crate::{
    site::Site,
    world::{World, is_at_rest},
};

#[test]
fn a_backend_in_maint_keeps_no_connection_and_gets_none() {
    let mut world = two_pools();
    world
        .weight("s0", 0, 50)
        .expect("connections are pinned now");
    world.twin.edge().talk();

    world.admin("s0", 0, Admin::Maint).expect("maint");

    let mut edge = world.twin.edge();
    let cut = edge.cut.clone();
    edge.talk();
    let clients = edge.clients.iter().filter_map(|client| client.connection);
    let on_it = clients.filter(|connection| cut.contains(&connection.server.address));
    let quiet = edge.clients.len() / 4;
    assert!(
        on_it.count() <= quiet,
        "those that have said nothing since don't know yet"
    );
}

#[test]
fn a_pin_made_while_maint_is_carried_out_is_void_as_well() {
    for reorder in 0..8 {
        let mut world = two_pools();
        world.weight("s0", 0, 50 + reorder).expect("slots move");
        world.admin("s0", 0, Admin::Maint).expect("maint");
        let edge = world.twin.edge();
        let backends = &edge.memory.image.backends;
        let valid = edge
            .memory
            .pins
            .values()
            .filter(|pin| pin.backend() == 1)
            .filter(|pin| {
                let entry = &backends[&lb_common::backend::index(1, false)];
                entry.generation() == pin.generation()
            });
        assert_eq!(valid.count(), 0, "of backend b0, which has id 1");
    }
}

#[test]
fn the_last_backend_that_users_are_on_stays() {
    let mut world = two_pools();
    world.admin("s0", 0, Admin::Drain).expect("b1 is left");
    for admin in [Admin::Drain, Admin::Maint] {
        let error = world
            .admin("s0", 1, admin)
            .expect_err("the last")
            .to_string();
        assert!(
            error.contains("backend `b1` is the last of pool `p0`"),
            "{error}"
        );
    }
    assert!(world.weight("s0", 1, 0).is_err());
    let without = changed(&world, |site| {
        site.services[0].pools[0].backends.remove(1);
    });
    let error = world.apply(without).expect_err("b0 drains").to_string();
    assert!(
        error.contains("pool `p0` would have no backend that takes connections"),
        "{error}"
    );
    world.admin("s0", 1, Admin::Ready).expect("no change");
    assert_whole(&mut world);
}

#[test]
fn an_idle_pool_may_be_empty_and_then_gets_no_users() {
    let mut world = two_pools();
    world.weight("s0", 2, 0).expect("idle");
    world.weight("s0", 3, 0).expect("idle");
    for order in [
        World::cutover as fn(&mut World, &str, Option<&str>) -> _,
        |world, s, to| world.share(s, FIVE, to),
    ] {
        let error = order(&mut world, "s0", None)
            .expect_err("empty")
            .to_string();
        assert!(
            error.contains("pool `p1` has no backend that takes connections"),
            "{error}"
        );
    }
    world.share("s0", 0, None).expect("nobody is nobody");
    assert_whole(&mut world);
}

#[test]
fn a_backend_leaves_when_its_last_connection_ends_and_not_before() {
    let mut world = two_pools();
    let without = changed(&world, |site| {
        site.services[0].pools[0].backends.remove(0);
    });
    world.apply(without).expect("removed");
    for _ in 0..10 {
        world.pass(Duration::from_secs(3)).expect("tended");
        assert!(
            world.state().services["s0"].backends.contains_key(&1),
            "connections live"
        );
    }
    assert_whole(&mut world);
    world.calm_down().expect("tended");
    assert!(!world.state().services["s0"].backends.contains_key(&1));
    assert!(is_at_rest(&world.image()));
}

#[test]
fn backends_of_a_removed_pool_are_shown_until_they_have_left() {
    let mut world = three_pools();
    world.share("s0", 250_000, Some("p1")).expect("25%");
    world.pass(Duration::from_secs(1)).expect("tended");
    world.rollback("s0").expect("back");
    let without = changed(&world, |site| {
        site.services[0].pools.remove(1);
    });
    world.apply(without).expect("it has no share");
    let pool = |world: &mut World| {
        world
            .status("s0")
            .pools
            .into_iter()
            .find(|p| p.name == "p1")
    };
    let shown = pool(&mut world).expect("connections live on it");
    assert_eq!(
        (shown.role.as_str(), shown.backends[0].leaving),
        ("removed", true)
    );
    settle(&mut world);
    assert_whole(&mut world);
    world.calm_down().expect("tended");
    assert_eq!(pool(&mut world), None);
}

#[test]
fn a_backend_that_is_added_again_while_it_leaves_is_a_new_one_at_the_same_place() {
    let mut world = two_pools();
    let with = world.site.clone();
    let without = changed(&world, |site| {
        site.services[0].pools[0].backends.remove(0);
    });
    world.apply(without).expect("removed");
    world.pass(Duration::from_secs(1)).expect("tended");
    world.apply(with).expect("added again");
    settle(&mut world);
    let names: Vec<_> = world.state().services["s0"]
        .members("p0")
        .map(|(id, _)| id)
        .collect();
    assert_eq!(names, [2, 5]);
    assert_whole(&mut world);
}

#[test]
fn sixty_six_thousand_changes_of_a_generation_leave_every_pin_right() {
    let mut world = World::new(Site::new(&[&[1, 1]]));
    let mut state = world.state().clone();
    let service = state.services.get_mut("s0").expect("there");
    let backend = service.backends.get_mut(&1).expect("there");
    backend.admin = Admin::Maint;
    for _ in 0..66_000 {
        let backend = |state: &State| state.services["s0"].backends[&1].generation;
        let before = backend(&state);
        let service = state.services.get_mut("s0").expect("there");
        service.backends.get_mut(&1).expect("there").voided = false;
        state.void_pins();
        assert!(backend(&state) != before && backend(&state) != 0);
    }
    assert_whole(&mut world);
}
