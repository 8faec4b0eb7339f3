//! A crash or a fault at any write of a turn: all that the toggle guards has it, or none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{assert_whole, looked_at, world};
use crate::{site::Door, world::World};

/// More writes than a turn takes.
const MANY: usize = 100;

fn turns(world: &mut World) -> usize {
    let entries = world.control().entries(0, None).expect("readable");
    let turns = entries.iter().filter(|e| e.event.to_string() == "toggled");
    turns.count()
}

/// The sets of audiences that the kernel has, before anybody looks after them.
fn stored(world: &World) -> Vec<bool> {
    let image = world.image();
    image.records.values().map(|r| r.audiences != 0).collect()
}

/// A crash before a write; false if there were no more.
fn survives(toggle: &str, write: usize, mixed: &mut usize) -> bool {
    let mut world = world();
    {
        let mut edge = world.twin.edge();
        edge.begin(None);
        edge.crash_at = Some(write);
    }
    let order = AssertUnwindSafe(|| drop(world.turn(toggle, true)));
    let crashed = catch_unwind(order).is_err();
    world.twin.edge().crash_at = None;
    if !crashed {
        return false;
    }
    world.abandon();
    *mixed += usize::from(stored(&world) == [true, false]);
    world.twin.edge().talk();
    for _ in 0..2 {
        world.restart().expect("up again");
        let story = format!("`{toggle}` ended before write {write}");
        // It was written down before the first write, and is completed.
        assert!(world.state().toggles[toggle].on, "{story}");
        if toggle == "preview" {
            assert_eq!(looked_at(&world), [1, 1], "{story}");
            assert_eq!(turns(&mut world), 2, "{story}");
        } else {
            let door = Door::Guarded.endpoint(0);
            assert!(world.image().listeners.contains_key(&door), "{story}");
            assert_eq!(turns(&mut world), 1, "{story}");
        }
    }
    world
        .pass(std::time::Duration::from_secs(8))
        .expect("tended");
    assert_whole(&mut world);
    true
}

#[test]
fn after_a_crash_at_any_write_the_turn_is_completed_and_told_once() {
    let mut mixed = 0;
    let mut count = |toggle| {
        let writes = 0..MANY;
        writes
            .take_while(|&write| survives(toggle, write, &mut mixed))
            .count()
    };
    // The write, and the wait for packets.
    assert_eq!(count("door"), 2);
    assert!((4..MANY).contains(&count("preview")));
    assert!(mixed > 0, "no crash came between the two stores");
}

#[test]
fn a_write_that_fails_leaves_everything_or_nothing() {
    let mut undone = 0;
    for fail in 0..8 {
        let mut world = world();
        let before = world.image();
        world.twin.edge().begin(Some(fail));
        let failed = world.turn("preview", true).is_err();
        world.twin.edge().begin(None);
        world.tend().expect("tended");
        let on = world.state().toggles["preview"].on;
        let expected = if on { [1, 1] } else { [0, 0] };
        assert_eq!(looked_at(&world), expected, "write {fail}");
        assert_eq!(turns(&mut world), if on { 2 } else { 0 }, "write {fail}");
        if failed && !on {
            undone += 1;
            assert_eq!(world.image(), before, "write {fail}");
        }
        assert_whole(&mut world);
    }
    assert!(undone > 0, "no write came before the first store");
}
