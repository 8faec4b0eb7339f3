//! Promises one by one, each by the shortest story that could break it.

mod backends;
mod changes;
mod configuration;
mod health;
mod release;
mod restart;
mod sessions;
mod sweep;

use std::time::Duration;

use crate::{site::Site, world::World};

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
