//! Releases that go by a plan: steps by time and by order, over crashes, restarts and reboots.

mod audiences;
mod blue_green;
mod crash;
mod drift;
mod gates;
mod interface;
mod kept;
mod log;
mod orders;
mod restart;
mod sessions;
mod together;
mod together_at;
mod ways_back;

use std::time::Duration;

use lb_userspace::{api::model::ReleaseStatus, release::engine::Event};

use crate::{site::Site, world::World};

/// Staff for 20 s, 1% for 30 s, 25% for 10 s and until somebody approves.
const RELEASE: &str = "[[service.audience]]\nname = \"staff\"\nsources = [\"198.51.100.0/24\"]\n\
                       pool = \"candidate\"\n[service.release]\nsteps = [{ audience = \"staff\", hold \
                       = \"20s\" }, { share = \"1%\", hold = \"30s\" }, { share = \"25%\", hold = \
                       \"10s\", approve = true }]\n";

const PROMOTE: Event = Event::Promote {
    full: false,
    expect_step: None,
};

fn site() -> Site {
    let mut site = Site::new(&[&[2, 2], &[1, 1]]);
    RELEASE.clone_into(&mut site.services[0].tables);
    site
}

fn world() -> World {
    World::new(site())
}

fn seconds(world: &mut World, seconds: u64) {
    world
        .pass(Duration::from_secs(seconds))
        .expect("nothing fails");
}

fn release(world: &mut World) -> ReleaseStatus {
    world.status("s0").release.expect("a release")
}

/// Step, state, and the share that the kernel's record has.
fn place(world: &mut World) -> (Option<usize>, String, u32) {
    let release = release(world);
    (release.step, release.state, world.record("s0").share_ppm)
}

/// A place as it is compared.
fn at(step: usize, state: &str, share_ppm: u32) -> (Option<usize>, String, u32) {
    (Some(step), state.to_owned(), share_ppm)
}

fn over(state: &str) -> (Option<usize>, String, u32) {
    (None, state.to_owned(), 0)
}

/// Pools of the record: active and candidate.
fn pools(world: &World) -> (u32, u32) {
    let record = world.record("s0");
    (record.active / 2, record.candidate / 2)
}

fn assert_whole(world: &mut World) {
    assert_eq!(world.problems(), Vec::<String>::new());
}
