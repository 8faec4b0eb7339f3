//! The state file when it can't be written, or is not what it was.

use std::{fs, os::unix::fs::symlink, path::Path};

use lb_userspace::{
    control::ControlError,
    state::{FileError, StateFile},
};

use crate::{
    site::Site,
    world::{Behaviour, World},
};

fn world() -> World {
    World::new(Site::new(&[&[1, 1]]))
}

/// Orders are refused with the file and a remedy, and change nothing; later they go through.
fn refuses_orders(spoil: fn(&Path), mend: fn(&Path)) {
    let mut world = world();
    let file = world.state_file();
    let (behaviour, state) = (Behaviour::of(&world.image()), world.state().clone());
    spoil(&file);

    let error = world
        .share("s0", 50_000, None)
        .expect_err("it can't be kept");

    let text = error.to_string();
    assert!(
        matches!(error, ControlError::Unkept(FileError::Write { .. })),
        "{text}"
    );
    assert!(
        text.starts_with(&format!(
            "state file {}: can't be written: ",
            file.display()
        )),
        "{text}"
    );
    assert!(
        text.ends_with("give serin the right to write there; nothing was changed"),
        "{text}"
    );
    assert_eq!(Behaviour::of(&world.image()), behaviour);
    assert_eq!(*world.state(), state);
    mend(&file);
    world.share("s0", 50_000, None).expect("mended");
    world.restart().expect("what was kept is whole");
    assert_eq!(world.status("s0").share_ppm, 50_000);
}

fn beside(file: &Path) -> std::path::PathBuf {
    file.with_extension("json.new")
}

#[test]
fn a_full_disk_refuses_orders_and_changes_nothing() {
    refuses_orders(
        |file| symlink("/dev/full", beside(file)).expect("a link"),
        |file| fs::remove_file(beside(file)).expect("removed"),
    );
}

#[test]
fn a_place_that_can_not_be_written_refuses_orders_and_changes_nothing() {
    // A directory in the way is refused to root as well, where a missing permission is not.
    refuses_orders(
        |file| fs::create_dir(beside(file)).expect("made"),
        |file| fs::remove_dir(beside(file)).expect("removed"),
    );
}

#[test]
fn a_directory_that_is_gone_is_made_again() {
    let mut world = world();
    let directory = world.directory().to_owned();
    fs::remove_dir_all(&directory).expect("removed");

    world
        .share("s0", 50_000, None)
        .expect("the file is made anew");

    assert!(world.state_file().exists());
}

/// What a start says to a file like this; the file stays as it is.
fn start_says(text: &[u8]) -> String {
    let mut world = world();
    fs::write(world.state_file(), text).expect("written");
    let image = world.image();

    let error = world.restart().expect_err("not a state");

    assert_eq!(world.image(), image);
    assert_eq!(fs::read(world.state_file()).expect("still there"), text);
    let named = format!("state file {}: ", world.state_file().display());
    let text = error.to_string();
    assert!(text.starts_with(&named), "{text}");
    text
}

#[test]
fn garbage_is_refused_and_left_alone() {
    for text in [
        &b"\x00\xff"[..],
        b"",
        b"[]",
        b"{\"version\":1}",
        b"{\"version\":\"1\",\"state\":{}}",
    ] {
        let said = start_says(text);
        assert!(said.contains("not a state of serin"), "{said}");
        assert!(
            said.contains("restore it from a backup, or move it away and run `serin detach`"),
            "{said}"
        );
    }
}

#[test]
fn a_newer_file_is_refused_with_what_to_run() {
    let said = start_says(b"{\"version\":4,\"state\":{\"anything\":1}}");
    assert!(
        said.contains("version 4, and this serin knows up to 3; run the newer serin"),
        "{said}"
    );
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let mut world = world();
    world.share("s0", 50_000, None).expect("5%");
    let whole = fs::read(world.state_file()).expect("a file");
    let file = StateFile::new(&world.state_file());
    for length in (0..whole.len() - 2).step_by(7) {
        fs::write(world.state_file(), &whole[..length]).expect("truncated");
        assert!(
            matches!(file.load(), Err(FileError::Malformed { .. })),
            "{length} bytes"
        );
    }
}

#[test]
fn a_file_that_contradicts_itself_is_refused_with_the_place() {
    let world = world();
    let text = fs::read(world.state_file()).expect("a file");
    let good: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    for (pointer, value, expected) in [
        (
            "/state/services/s0/id",
            5000,
            "service 5000 is out of range or taken",
        ),
        (
            "/state/services/s0/pools/p0/id",
            5000,
            "pool 5000 is out of range or taken",
        ),
        (
            "/state/services/s0/pools/p0/id",
            1,
            "pool 1 is out of range or taken",
        ),
        (
            "/state/services/s0/position/now/active",
            9,
            "its position names pool 9",
        ),
        (
            "/state/services/s0/position/origin/share_ppm",
            1_000_001,
            "a share of 1000001 ppm",
        ),
        (
            "/state/services/s0/position/touched_ppm",
            2_000_000,
            "a share of 2000000 ppm",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value.into();
        let said = start_says(bad.to_string().as_bytes());
        assert!(
            said.contains("it contradicts itself (service `s0`: "),
            "{said}"
        );
        assert!(said.contains(expected), "{said}");
    }
}
