//! Sweeps go slice by slice: orders come in between, and what they change is heeded.

use std::time::Duration;

use lb_userspace::dataplane::memory::Memory;

use super::{assert_whole, two_pools};
use crate::world::World;

/// Settled, with connections that are pinned, and a sweep due.
fn touched() -> World {
    let mut world = two_pools();
    world.share("s0", 300_000, None).expect("shared");
    world.pass(Duration::from_millis(6500)).expect("tended");
    assert!(!world.control().is_sweeping() && world.record("s0").touched_ppm > 0);
    world.twin.edge().now += 2_000_000_000;
    world
}

/// Lets time pass until a sweep has its first slice: after one that was slow, as on a busy machine,
/// the next is longer in coming.
fn begin(world: &mut World) {
    let begun = (0..60).any(|_| {
        world.twin.edge().now += 1_000_000_000;
        world.tend_a_slice()
    });
    assert!(begun, "no sweep has begun");
}

#[test]
fn nobody_waits_for_more_than_a_slice_of_a_sweep() {
    let mut world = touched();
    world.twin.edge().memory.pins.clear();

    begin(&mut world);
    let slices = (2..=2 * Memory::SLICES).find(|_| !world.tend_a_slice());

    assert_eq!(slices, Some(Memory::SLICES));
    assert_eq!(world.record("s0").touched_ppm, 0);
}

#[test]
fn pins_that_come_behind_a_sweep_are_not_forgotten() {
    let mut world = touched();
    world.twin.edge().memory.pins.clear();
    begin(&mut world);
    for _ in 2..Memory::SLICES {
        assert!(world.tend_a_slice());
    }

    // A change comes and settles; all of its pins are where the sweep has been.
    world.share("s0", 600_000, None).expect("shared");
    let mut edge = world.twin.edge();
    edge.talk();
    let last = Memory::SLICES - 1;
    edge.memory
        .pins
        .retain(|key, _| Memory::slice_of(key) != last);
    edge.now += 7_000_000_000;
    drop(edge);
    assert!(!world.tend_a_slice());

    assert!(world.status("s0").settled && world.pins() > 0);
    assert_eq!(world.record("s0").touched_ppm, 600_000);
}

#[test]
fn a_sweep_that_orders_interrupt_breaks_no_connection() {
    let mut world = touched();
    for ppm in [400_000, 100_000, 700_000, 0] {
        world.tend_a_slice();
        world.share("s0", ppm, None).expect("shared");
        world.twin.edge().talk();
    }
    world.pass(Duration::from_secs(20)).expect("tended");
    assert!(world.connections() > 0);
    assert_whole(&mut world);
}
