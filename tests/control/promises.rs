//! Promises one by one, each by the shortest story that could break it.

use std::time::Duration;

use lb_userspace::{
    control::ControlError,
    state::{Admin, StateError},
};

use crate::{
    site::{Backend, Door, Pool, Service, Site},
    world::{Behaviour, World, is_at_rest},
};

const FIVE: u32 = 50_000;

fn two_pools() -> World {
    World::new(Site::new(&[&[2, 2]]))
}

fn three_pools() -> World {
    World::new(Site::new(&[&[1, 1, 1]]))
}

/// Long enough for every change to settle.
fn settle(world: &mut World) {
    world.pass(Duration::from_secs(8)).expect("nothing fails");
}

fn assert_whole(world: &mut World) {
    assert_eq!(world.problems(), Vec::<String>::new());
}

/// A site that differs.
fn changed(world: &World, change: impl FnOnce(&mut Site)) -> Site {
    let mut site = world.site.clone();
    change(&mut site);
    site
}

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

    let without = changed(&world, |site| drop(site.services[0].pools.remove(0)));
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
        changed(world, |site| drop(site.services[0].pools.remove(pool)))
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
    let without = changed(&world, |site| drop(site.services[0].pools.remove(1)));
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
        drop(site.services[0].pools[0].backends.remove(1))
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
        drop(site.services[0].pools[0].backends.remove(0))
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
    let without = changed(&world, |site| drop(site.services[0].pools.remove(1)));
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
        drop(site.services[0].pools[0].backends.remove(0))
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
fn what_decides_where_live_connections_go_does_not_change_under_them() {
    for line in ["affinity = \"client\"", "forward = \"l2\""] {
        let mut world = two_pools();
        let other = changed(&world, |site| site.services[0].lines = line.to_owned());
        let error = world.apply(other).expect_err("fixed").to_string();
        let key = line.split(' ').next().expect("a word");
        assert!(
            error.contains(&format!("{key} can't change while the service runs")),
            "{error}"
        );
        assert_whole(&mut world);
    }
}

#[test]
fn a_number_of_a_removed_listener_is_not_given_out_while_pins_name_it() {
    let mut world = two_pools();
    world
        .cutover("s0", None)
        .expect("connections are pinned now");
    world.twin.edge().talk();
    let number = |world: &World| world.state().services["s0"].listeners.clone();
    let first = number(&world);
    let other = changed(&world, |site| {
        site.services[0].listeners = [Door::V4, Door::Second].into();
    });
    let back = changed(&world, |site| {
        site.services[0].listeners = [Door::V4, Door::V6].into()
    });
    world.apply(other).expect("one goes, one comes");
    world.apply(back).expect("and the other way");
    let v6 = "tcp://[2001:db8::]:443";
    assert_ne!(number(&world)[v6], first[v6]);
    settle(&mut world);
    assert!(world.state().retired.is_empty());
    assert_whole(&mut world);
}

#[test]
fn pins_of_a_removed_service_are_swept_although_nothing_else_is_due() {
    let mut world = World::new(Site::new(&[&[2, 2], &[1, 1]]));
    world
        .cutover("s0", None)
        .expect("connections are pinned now");
    world.twin.edge().talk();
    assert!(world.pins() > 0);
    let without = changed(&world, |site| drop(site.services.remove(0)));
    world.apply(without).expect("removed");
    world.pass(Duration::from_secs(2)).expect("tended");
    assert_eq!(world.pins(), 0);
    assert_eq!(world.tend().expect("tended"), None);
}

#[test]
fn the_backend_port_of_a_listener_does_not_change_under_live_connections() {
    let mut world = two_pools();
    let directory = world.directory().to_owned();
    let text = world
        .site
        .text(&directory)
        .replace(":443\"", ":443?to=8443\"");
    let config = lb_userspace::config::Config::parse(&text).expect("a good file");
    let (view, tick) = (world.control().view().clone(), world.tick());
    let error = world
        .control()
        .apply(config, view, false, tick)
        .expect_err("fixed")
        .to_string();
    assert!(
        error.contains("listener `tcp://192.0.2.0:443?to=8443`: the backends' port can't"),
        "{error}"
    );
}

#[test]
fn a_server_changes_its_service_only_when_its_connections_have_ended() {
    let mut world = World::new(Site::new(&[&[2, 1], &[1, 1]]));
    let directory = world.directory().to_owned();
    let moved = changed(&world, |site| {
        site.services[0].pools[0].backends.remove(0);
    });
    let text = moved.text(&directory);
    // The server of s0's b0 becomes s1's b9.
    let more = "backends = [{ name = \"b9\", address = [\"10.0.0.1\", \"fd00::1\"], weight = 1 }, ";
    let at = text.rfind("backends = [").expect("a pool");
    let text = format!(
        "{}{}{}",
        &text[..at],
        more,
        &text[at + "backends = [".len()..]
    );
    let config = lb_userspace::config::Config::parse(&text).expect("a good file");
    let (view, tick) = (world.control().view().clone(), world.tick());

    let apply = world
        .control()
        .apply(config.clone(), view.clone(), false, tick);
    let error = apply.expect_err("its replies would be s1's").to_string();
    assert!(
        error.contains("service `s0`: backend `b0` at 10.0.0.1:443 has left"),
        "{error}"
    );

    world.apply(moved).expect("it leaves s0");
    let apply = world
        .control()
        .apply(config.clone(), view.clone(), false, tick);
    assert!(apply.is_err(), "connections live");
    world.calm_down().expect("tended");
    let tick = world.tick();
    world
        .control()
        .apply(config, view, false, tick)
        .expect("it has left s0");
}

#[test]
fn a_dry_run_tells_the_writes_and_makes_none() {
    let mut world = two_pools();
    let without = changed(&world, |site| {
        drop(site.services[0].pools[0].backends.remove(0))
    });
    let (behaviour, writes) = (Behaviour::of(&world.image()), world.writes());
    let state = world.state().clone();

    let told = world.offer(&without, true).expect("told");

    assert_eq!(
        (Behaviour::of(&world.image()), world.writes()),
        (behaviour, writes)
    );
    assert_eq!(*world.state(), state);
    let made = world.offer(&without, false).expect("made");
    assert_eq!(told, made);
    assert!(
        made.iter().any(|write| write.starts_with("store record")),
        "{made:?}"
    );
}

#[test]
fn what_can_not_change_while_the_data_plane_runs_is_refused_by_its_key() {
    let mut world = two_pools();
    let directory = world.directory().to_owned();
    for (key, from, to) in [
        (
            "node.hash_seed",
            "sixteen-or-longer",
            "another-secret-of-16",
        ),
        (
            "node.connections",
            "connections = 1024",
            "connections = 2048",
        ),
        ("node.pins", "serin-none", "serin-other"),
        ("node.state", "state.json", "other.json"),
        ("node.attach", "[node]", "[node]\nattach = \"generic\""),
        (
            "node.client_prefix",
            "[node]",
            "[node]\nclient_prefix = { v4 = 24 }",
        ),
        ("api.socket", "serin.sock", "other.sock"),
    ] {
        let text = world.site.text(&directory).replacen(from, to, 1);
        let config = lb_userspace::config::Config::parse(&text).expect("a good file");
        let (view, tick) = (world.control().view().clone(), world.tick());
        let error = world
            .control()
            .apply(config, view, false, tick)
            .expect_err(key)
            .to_string();
        assert!(error.starts_with(&format!("{key} can't change")), "{error}");
    }
}

#[test]
fn a_view_from_before_an_apply_does_not_forget_the_new_backends_next_hop() {
    let mut world = two_pools();
    let stale = world.control().view().clone();
    let backend = Backend {
        number: 7,
        place: 0,
        weight: 100,
    };
    let more = changed(&world, |site| {
        site.services[0].pools[0].backends.push(backend)
    });
    world.apply(more).expect("added");
    let before = world.image();

    world.control().follow(stale).expect("followed");

    assert_eq!(world.image(), before);
}

#[test]
fn sixty_six_thousand_changes_of_a_generation_leave_every_pin_right() {
    let mut world = World::new(Site::new(&[&[1, 1]]));
    let mut state = world.state().clone();
    let service = state.services.get_mut("s0").expect("there");
    let backend = service.backends.get_mut(&1).expect("there");
    backend.admin = Admin::Maint;
    for _ in 0..66_000 {
        let backend =
            |state: &lb_userspace::state::State| state.services["s0"].backends[&1].generation;
        let before = backend(&state);
        let service = state.services.get_mut("s0").expect("there");
        service.backends.get_mut(&1).expect("there").voided = false;
        state.void_pins();
        assert!(backend(&state) != before && backend(&state) != 0);
    }
    assert_whole(&mut world);
}

#[test]
fn a_share_is_measured_from_the_last_change_over_a_restart_and_not_over_a_reboot() {
    let mut world = two_pools();
    let connections = |world: &mut World| world.status("s0").measured.connections;
    world.twin.edge().talk();
    world.share("s0", FIVE, None).expect("5%");
    world
        .twin
        .edge()
        .memory
        .counters
        .backends
        .entry(1)
        .or_default()
        .connections += 40;
    let before = connections(&mut world);
    world.restart().expect("again");
    assert_eq!(connections(&mut world), before);

    world.reboot();
    world.restart().expect("on new maps");
    world
        .twin
        .edge()
        .memory
        .counters
        .backends
        .entry(1)
        .or_default()
        .connections += 3;
    let counted = connections(&mut world);
    let all: u64 = world
        .twin
        .edge()
        .memory
        .counters
        .backends
        .values()
        .map(|b| b.connections)
        .sum();
    assert_eq!(counted, all);
}

#[test]
fn a_reboot_keeps_the_share_and_the_orders_and_forgets_the_pins() {
    let mut world = two_pools();
    world.share("s0", FIVE, None).expect("5%");
    world.admin("s0", 0, Admin::Drain).expect("drained");
    world.weight("s0", 3, 7).expect("weighed");
    let without = changed(&world, |site| {
        drop(site.services[0].pools[1].backends.remove(0))
    });
    world.apply(without).expect("b2 leaves");

    world.reboot();
    world.restart().expect("on new maps");

    let status = world.status("s0");
    assert_eq!(
        (status.share_ppm, status.settled, status.pinned),
        (FIVE, true, false)
    );
    let pools = status.pools.iter();
    let shown: Vec<_> = pools
        .flat_map(|pool| &pool.backends)
        .map(|b| (b.name.as_str(), b.state, b.weight))
        .collect();
    let drained = ("b0", Admin::Drain, 100);
    assert_eq!(
        shown,
        [drained, ("b1", Admin::Ready, 100), ("b3", Admin::Ready, 7)]
    );
    assert!(is_at_rest(&world.image()));
    assert_whole(&mut world);
}

#[test]
fn numbers_that_only_the_maps_know_are_not_given_out() {
    let mut world = World::new(Site::new(&[&[1, 1], &[1, 1]]));
    // The file of a crash that came when s0's removal had been saved and not carried out.
    let mut file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(world.state_file()).expect("a file")).expect("JSON");
    file["state"]["services"]
        .as_object_mut()
        .expect("services")
        .remove("s0");
    std::fs::write(world.state_file(), file.to_string()).expect("written");
    world.site.services[0] = Service::new(2, &[1, 1]);
    world.restart().expect("a service goes, another comes");
    let s2 = &world.state().services["s2"];
    let pools: Vec<u32> = s2.pools.values().map(|pool| pool.id).collect();
    let backends: Vec<u16> = s2.backends.keys().copied().collect();
    // Nothing in the maps names the idle pool of s0, which was number 1.
    assert_eq!((s2.id, pools, backends), (2, vec![1, 4], vec![5, 6]));
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
