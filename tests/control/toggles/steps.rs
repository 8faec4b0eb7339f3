//! Steps that a toggle guards: a release that comes to one whose toggle is off passes it over.

use std::time::Duration;

use lb_userspace::{dataplane::Dataplane as _, release::engine::Event};

use super::assert_whole;
use crate::{site::Site, world::World};

/// 1% for 20 s, 5% for 20 s, 25% for 20 s; the first two are guarded.
const RELEASE: &str = "[service.release]\nsteps = [{ share = \"1%\", hold = \"20s\", toggle = \"slow\" \
                       }, { share = \"5%\", hold = \"20s\", toggle = \"slower\" }, { share = \"25%\", \
                       hold = \"20s\" }]\n[[toggle]]\nname = \"slow\"\non = true\n[[toggle]]\nname = \
                       \"slower\"\n";

fn world_of(release: &str) -> World {
    let mut site = Site::new(&[&[2, 2]]);
    release.clone_into(&mut site.services[0].tables);
    World::new(site)
}

fn world() -> World {
    world_of(RELEASE)
}

fn seconds(world: &mut World, seconds: u64) {
    world.pass(Duration::from_secs(seconds)).expect("tended");
}

fn step(world: &mut World) -> (Option<usize>, u32) {
    let release = world.status("s0").release.expect("a release");
    (release.step, world.record("s0").share_ppm)
}

fn last_cause(world: &mut World) -> String {
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    entries.last().expect("an entry").cause.clone()
}

#[test]
fn a_step_whose_toggle_is_off_is_passed_over_and_the_log_says_so() {
    let mut world = world();
    world.start("s0", false).expect("started");
    assert_eq!(step(&mut world), (Some(1), 10_000));
    seconds(&mut world, 20);
    assert_eq!(step(&mut world), (Some(3), 250_000));
    assert_eq!(
        last_cause(&mut world),
        "held for 20s; step 2 is passed over, since toggle `slower` is off"
    );
    seconds(&mut world, 20);
    assert_eq!(world.status("s0").release.expect("there").state, "promoted");
    assert_whole(&mut world);
}

#[test]
fn a_step_that_the_release_is_at_stays_when_its_toggle_is_turned_off() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.turn("slow", false).expect("turned");
    assert_eq!(step(&mut world), (Some(1), 10_000));
    world.turn("slower", true).expect("turned");
    seconds(&mut world, 20);
    assert_eq!(
        step(&mut world),
        (Some(2), 50_000),
        "as it is when it comes there"
    );
    assert_whole(&mut world);
}

#[test]
fn a_start_passes_over_its_first_step_and_says_so() {
    let mut world = world();
    world.turn("slow", false).expect("turned");
    world.start("s0", false).expect("started");
    assert_eq!(step(&mut world), (Some(3), 250_000));
    assert!(last_cause(&mut world).starts_with("start; step 1 is passed over, since"));
    world.restart().expect("up again");
    assert_eq!(step(&mut world), (Some(3), 250_000));
}

#[test]
fn a_canary_whose_steps_are_all_off_is_not_started_and_waits_where_it_was() {
    let all = RELEASE.replace("{ share = \"25%\", hold = \"20s\" }", "");
    let mut world = world_of(&all);
    world.turn("slow", false).expect("turned");
    let refused = world
        .start("s0", false)
        .expect_err("nothing would come before");
    let refused = refused.to_string();
    let expected = "service `s0`: all steps of the release are guarded by toggles that are off \
                    (`slow`, `slower`); turn one on with `serin toggle NAME on`";
    assert!(refused.starts_with(expected), "{refused}");

    world.turn("slow", true).expect("turned");
    let tick = world.tick();
    let later = world.twin.time_of_day_ms() + 30_000;
    let started = world
        .control()
        .start_release("s0", None, false, Some(later), tick);
    started.expect("scheduled");
    world.turn("slow", false).expect("turned meanwhile");
    seconds(&mut world, 60);
    let waits = world.status("s0").release.expect("there");
    assert_eq!((waits.state.as_str(), waits.step), ("awaits-toggle", None));
    world.turn("slow", true).expect("turned");
    seconds(&mut world, 2);
    assert_eq!(step(&mut world), (Some(1), 10_000));
    world.abort("s0").expect("aborted");
    world.turn("slow", false).expect("turned");
    let refused = world
        .steer("s0", &Event::Retry)
        .expect_err("nor tried again");
    assert!(
        refused.to_string().contains("all steps of the release"),
        "{refused}"
    );
    assert_whole(&mut world);
}

#[test]
fn a_toggle_that_leaves_the_file_guards_a_release_under_way_no_more() {
    let mut world = world();
    world.start("s0", false).expect("started");
    let mut site = world.site.clone();
    let tables = &mut site.services[0].tables;
    *tables = tables.replace(", toggle = \"slower\"", "");
    *tables = tables.replace("[[toggle]]\nname = \"slower\"\n", "");
    world.apply(site).expect("applied");
    seconds(&mut world, 20);
    assert_eq!(step(&mut world), (Some(2), 50_000));
}
