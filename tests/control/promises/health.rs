//! Health: backends that die, return at once or slowly, and pools that are wholly dead.

use std::time::Duration;

use lb_userspace::{api::model::BackendStatus, state::Admin};

use super::{FIVE, assert_whole, changed};
use crate::{
    site::Site,
    world::{World, is_at_rest},
};

const SLOW: &str = "tcp = true, slow_start = \"20s\"";

/// Two pools, of three backends and of two, checked so.
fn checked(health: &str) -> World {
    let mut site = Site::new(&[&[3, 2]]);
    health.clone_into(&mut site.services[0].health);
    World::new(site)
}

fn backend(world: &mut World, name: &str) -> BackendStatus {
    let pools = world.status("s0").pools;
    let mut backends = pools.into_iter().flat_map(|pool| pool.backends);
    backends.find(|b| b.name == name).expect("there")
}

/// Slots that each backend of the active pool has, by its number.
fn slots(world: &World) -> Vec<usize> {
    let image = world.image();
    let table = &image.tables[&world.record("s0").active];
    let of = |id| table.slots().filter(|slot| slot.current() == id).count();
    (1..=3).map(of).collect()
}

#[test]
fn a_backend_that_dies_gives_its_slots_to_the_others_of_its_pool_at_once() {
    let mut world = checked("tcp = true");
    let before = slots(&world);

    world.health("s0", &[(0, false)]).expect("followed");

    let after = slots(&world);
    assert_eq!((after[0], after[1] + after[2]), (0, before.iter().sum()));
    let dead = backend(&mut world, "b0");
    assert_eq!((dead.health.as_str(), dead.state), ("down", Admin::Ready));
    assert_eq!((dead.weight, dead.configured_weight), (100, 100));
    assert!(dead.effective_weight < 1e-9);
    assert_whole(&mut world);
}

#[test]
fn a_backend_returns_at_once_where_no_slow_start_is_wanted() {
    let mut world = checked("tcp = true");
    let before = slots(&world);
    world.health("s0", &[(0, false)]).expect("followed");
    world.health("s0", &[(0, true)]).expect("followed");
    assert_eq!(slots(&world), before);
    assert_whole(&mut world);
}

#[test]
fn a_backend_returns_in_steps_that_break_no_connection_and_are_few() {
    let mut world = checked(SLOW);
    let whole = slots(&world);
    world.health("s0", &[(0, false)]).expect("followed");
    world.pass(Duration::from_secs(30)).expect("tended");
    world.twin.edge().cut.clear();

    world.health("s0", &[(0, true)]).expect("followed");

    let began = world.status("s0").epoch;
    let mut seen = vec![slots(&world)[0]];
    for _ in 0..40 {
        let share = backend(&mut world, "b0").effective_weight / 100.0;
        #[expect(clippy::cast_precision_loss, reason = "tables have 65 537 slots")]
        let measured = slots(&world)[0] as f64 / whole[0] as f64;
        assert!((share - measured).abs() < 0.02, "{share} is not {measured}");
        world.pass(Duration::from_secs(1)).expect("tended");
        let now = slots(&world)[0];
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert!((9..=10).contains(&seen.len()), "{seen:?}");
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    assert_eq!(slots(&world), whole);
    assert!(world.connections() > 0);
    let stores = world.status("s0").epoch - began;
    assert!(
        stores <= 40,
        "{stores} records, settling and sweeping included"
    );
    assert_whole(&mut world);
}

#[test]
fn at_the_end_of_a_slow_start_nothing_is_due() {
    let mut world = checked(SLOW);
    world.health("s0", &[(0, false)]).expect("followed");
    world.health("s0", &[(0, true)]).expect("followed");
    world.calm_down().expect("tended");
    assert_eq!(world.tend().expect("tended"), None);
    assert!(is_at_rest(&world.image()));
    assert!((backend(&mut world, "b0").effective_weight - 100.0).abs() < 1e-9);
}

#[test]
fn a_slow_start_goes_on_over_a_restart_and_ends_with_a_reboot() {
    let mut world = checked(SLOW);
    world.health("s0", &[(0, false)]).expect("followed");
    world.health("s0", &[(0, true)]).expect("followed");
    world.pass(Duration::from_secs(8)).expect("tended");
    let weight = |world: &mut World| backend(world, "b0").effective_weight;
    let before = weight(&mut world);
    assert!(before > 20.0 && before < 60.0, "{before}");

    world.restart().expect("again");
    assert!((weight(&mut world) - before).abs() < 1e-9);
    world.pass(Duration::from_secs(4)).expect("tended");
    assert!(weight(&mut world) > before);

    world.reboot();
    world.restart().expect("on new maps");
    assert!((weight(&mut world) - 100.0).abs() < 1e-9);
    assert_whole(&mut world);
}

#[test]
fn a_slow_start_that_is_no_longer_wanted_is_over() {
    let mut world = checked(SLOW);
    let whole = slots(&world);
    world.health("s0", &[(0, false)]).expect("followed");
    world.health("s0", &[(0, true)]).expect("followed");
    let without = changed(&world, |site| {
        "tcp = true".clone_into(&mut site.services[0].health);
    });
    world.apply(without).expect("applied");
    world.tend().expect("tended");
    assert_eq!(slots(&world), whole);
    assert_whole(&mut world);
}

#[test]
fn a_backend_that_comes_back_from_maint_starts_slowly_as_well() {
    let mut world = checked(SLOW);
    world.admin("s0", 0, Admin::Maint).expect("maint");
    world.admin("s0", 0, Admin::Ready).expect("ready");
    assert!((backend(&mut world, "b0").effective_weight - 10.0).abs() < 1e-9);
    world.admin("s0", 1, Admin::Drain).expect("drain");
    world
        .admin("s0", 1, Admin::Ready)
        .expect("it has never stopped");
    assert!((backend(&mut world, "b1").effective_weight - 100.0).abs() < 1e-9);
}

#[test]
fn a_dead_pool_falls_back_through_orders_restarts_and_repairs() {
    let mut world = checked("tcp = true");
    world.share("s0", FIVE, None).expect("5%");
    world
        .health("s0", &[(3, false), (4, false)])
        .expect("followed");
    let fate = |world: &mut World| {
        let pools = world.status("s0").pools;
        let dead = pools
            .into_iter()
            .find(|pool| pool.name == "p1")
            .expect("there");
        (dead.dead, dead.stand_in)
    };
    let fallen = (true, Some("p0".to_owned()));
    assert_eq!(fate(&mut world), fallen);
    assert_eq!(world.list()[0].dead, ["p1"]);

    world.restart().expect("again");
    assert_eq!(fate(&mut world), fallen);
    for number in [3, 4] {
        world
            .admin("s0", number, Admin::Maint)
            .expect("for a repair");
        assert_eq!(fate(&mut world), fallen);
    }
    world
        .health("s0", &[(3, true), (4, true)])
        .expect("followed");
    assert_eq!(fate(&mut world), fallen, "repaired, and not ready yet");
    world.admin("s0", 3, Admin::Ready).expect("repaired");
    assert_eq!(fate(&mut world), (false, None));
    assert_whole(&mut world);
}

#[test]
fn a_wholly_dead_service_says_so_and_recovers_by_itself() {
    let mut world = checked(SLOW);
    let all: Vec<(u8, bool)> = (0..5).map(|number| (number, false)).collect();
    world.health("s0", &all).expect("followed");
    assert_eq!(world.list()[0].dead, ["p0", "p1"]);
    assert_eq!(slots(&world), [0, 0, 0]);
    world.health("s0", &[(1, true)]).expect("followed");
    let recovered = slots(&world);
    assert_eq!((recovered[0], recovered[2]), (0, 0));
    assert!(
        recovered[1] > 65_000,
        "there is nobody else to carry a part of it"
    );
    assert_eq!(world.list()[0].dead, ["p1"]);
}
