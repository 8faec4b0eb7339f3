//! Restarts and reboots.

use lb_userspace::state::Admin;

use super::{FIVE, assert_whole, changed, two_pools};
use crate::{
    site::{Service, Site},
    world::{World, is_at_rest},
};

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
        site.services[0].pools[1].backends.remove(0);
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
