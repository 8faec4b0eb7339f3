//! The way back when the state file can't be written: users first, the file after.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use lb_userspace::journal::Happened;

use super::{PROMOTE, assert_whole, at, over, place, release, seconds, site, world};
use crate::world::World;

/// At 1%, with a state file that can't be written: the temporary file's name is a directory's.
fn full() -> (World, PathBuf) {
    full_of(world())
}

fn full_of(mut world: World) -> (World, PathBuf) {
    world.start("s0", false).expect("started");
    world.steer("s0", &PROMOTE).expect("1%");
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    let blocker = world.directory().join("state.json.new");
    fs::create_dir(&blocker).expect("made");
    (world, blocker)
}

#[test]
fn an_abort_that_can_not_be_kept_takes_users_back_and_says_so() {
    let (mut world, blocker) = full();
    let refused = world.steer("s0", &PROMOTE).expect_err("it can't be kept");
    assert!(
        refused.to_string().ends_with("; nothing was changed"),
        "{refused}"
    );

    let done = world.abort("s0").expect("aborted all the same");
    assert_eq!(place(&mut world), over("aborted"));
    assert!(
        done.notes.iter().any(|note| note.contains("not kept")),
        "{:?}",
        done.notes
    );
    seconds(&mut world, 5);
    assert_eq!(place(&mut world), over("aborted"));

    fs::remove_dir(&blocker).expect("removed");
    seconds(&mut world, 2);
    world.restart().expect("started again");
    assert_eq!(
        release(&mut world).reason.as_deref(),
        Some("enough"),
        "it is kept by now"
    );
    assert_whole(&mut world);
}

#[test]
fn what_a_crash_leaves_of_an_abort_that_was_not_kept_is_an_aborted_release() {
    let (mut world, blocker) = full();
    world.abort("s0").expect("aborted");
    world.abandon();
    fs::remove_dir(&blocker).expect("removed");
    world.restart().expect("started again");

    assert_eq!(place(&mut world), over("aborted"));
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let last = entries.last().expect("an entry");
    assert_eq!((last.event, last.step), (Happened::Found, None));
    seconds(&mut world, 300);
    assert_eq!(place(&mut world), over("aborted"), "nothing restarts it");
    assert_whole(&mut world);
}

#[test]
fn a_rollback_after_the_promotion_that_was_not_kept_is_one_all_the_same() {
    let (mut world, blocker) = full();
    fs::remove_dir(&blocker).expect("removed");
    world.steer("s0", &PROMOTE).expect("25%");
    world.steer("s0", &PROMOTE).expect("all");
    assert_eq!(place(&mut world), over("promoted"));
    fs::create_dir(&blocker).expect("made");
    world.rollback("s0").expect("back");
    assert_eq!(
        (place(&mut world), world.status("s0").active),
        (over("rolled-back"), "p0".to_owned())
    );

    world.abandon();
    fs::remove_dir(&blocker).expect("removed");
    world.restart().expect("started again");
    assert_eq!(
        (place(&mut world), world.status("s0").active),
        (over("rolled-back"), "p0".to_owned())
    );
    assert_whole(&mut world);
}

#[test]
fn a_backend_that_dies_meanwhile_serves_nobody_and_keeps_no_release_from_its_deadline() {
    let mut site = site();
    let tables = &mut site.services[0].tables;
    *tables = tables.replace("steps =", "deadline = \"90s\"\nsteps =");
    let (mut world, blocker) = full_of(World::new(site));
    let said = [(0, false), (1, true), (2, true), (3, true)];
    world.attend("s0", &said, 5);
    let dead = &world.status("s0").pools[0].backends[0];
    assert!(dead.effective_weight < 1e-9, "{dead:?}");
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    world.attend("s0", &said, 90);
    assert_eq!(place(&mut world), over("aborted"));
    fs::remove_dir(&blocker).expect("removed");
    seconds(&mut world, 2);
    world.restart().expect("started again");
    assert_eq!(place(&mut world), over("aborted"), "it is kept by now");
}

#[test]
fn a_daemon_that_starts_meanwhile_goes_on_and_takes_orders() {
    let (mut world, blocker) = full();
    world.restart().expect("started on a full disk");
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    world.abort("s0").expect("aborted");
    assert_eq!(place(&mut world), over("aborted"));
    world.restart().expect("and again");
    assert_eq!(place(&mut world), over("aborted"), "the kernel's word");
    fs::remove_dir(&blocker).expect("removed");
    seconds(&mut world, 2);
    assert_whole(&mut world);
}

#[test]
fn the_record_of_a_way_back_is_stored_before_the_file_is_written() {
    let (mut world, blocker) = full();
    fs::remove_dir(&blocker).expect("removed");
    let file = fs::read(world.state_file()).expect("a file");
    {
        let mut edge = world.twin.edge();
        edge.begin(None);
        edge.crash_at = Some(1);
    }
    let crashed = catch_unwind(AssertUnwindSafe(|| world.abort("s0"))).is_err();

    assert!(crashed, "after its first write");
    assert_eq!(world.image().records[&0].share_ppm, 0);
    assert_eq!(fs::read(world.state_file()).expect("a file"), file);
    world.abandon();
}
