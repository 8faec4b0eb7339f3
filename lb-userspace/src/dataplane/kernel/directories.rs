//! The directories of pins: our own, named by its ABI, and those that an earlier serin has left.
//!
//! Where there are two, links decide: a directory of ours is filled before the first link moves
//! into it, so one that has a link is in force, and one that has none is a take-over's that ended
//! half-way. A link moves by rename(2), whole or not at all, and goes on with its old program
//! until the new one is put in its place.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use lb_common::maps::{ABI_VERSION, name};

use super::{KernelError, adopt::pin_error, attach, fault};

/// Ends the name of a directory that has been put aside, to be taken over from.
const ASIDE: &str = "-before";
/// Begins the name under which tail calls of an earlier directory are kept in ours.
const LEFT: &str = "PROGRAMS_of_";

/// Our directory.
pub fn own(pins: &Path) -> PathBuf {
    pins.join(format!("v{ABI_VERSION}"))
}

/// The directories that this build takes over from, the latest last. Those of a newer serin are
/// refused: what they mean is not known here.
pub fn earlier(pins: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(pins).map_err(pin_error(pins, "can't be read"))? {
        let path = entry.map_err(pin_error(pins, "can't be read"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((version, in_force)) = parse(&name) else {
            continue;
        };
        if version > ABI_VERSION {
            let found = version.to_string();
            return Err(KernelError::OtherAbi { path, found });
        }
        if path != own(pins) {
            found.push((version, in_force, path));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, _, path)| path).collect())
}

/// Version, and whether the directory has not been put aside.
fn parse(name: &str) -> Option<(u32, bool)> {
    let version = name.strip_prefix('v')?;
    let aside = version.strip_suffix(ASIDE);
    let number = aside.unwrap_or(version).parse().ok()?;
    Some((number, aside.is_none()))
}

/// Puts our directory aside, to be taken over from; tells where it is now.
pub fn put_aside(pins: &Path) -> Result<PathBuf, KernelError> {
    let (from, to) = (own(pins), aside(pins));
    fs::rename(&from, &to).map_err(pin_error(&from, "can't be put aside"))?;
    Ok(to)
}

/// Undoes [`put_aside`], so that whatever starts next finds what it knows.
pub fn put_back(pins: &Path) -> Result<(), KernelError> {
    match fs::rename(aside(pins), own(pins)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(pin_error(&aside(pins), "can't be put back")(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Moves all links of an earlier directory into ours.
pub fn absorb(earlier: &Path, own: &Path) -> Result<(), KernelError> {
    for ifindex in attach::links(earlier)? {
        let (from, to) = (
            attach::link_path(earlier, ifindex),
            attach::link_path(own, ifindex),
        );
        fs::rename(&from, &to).map_err(pin_error(&from, "can't be moved"))?;
        fault::moment();
    }
    Ok(())
}

/// Completes what a take-over from an earlier directory has left undone, but for the links' program,
/// which is still the earlier one's: the program of this build takes its place later.
///
/// So the earlier tail calls are kept, in our directory. The kernel empties a map of programs as
/// soon as nobody but programs holds it (`prog_array_map_clear`, kernel/bpf/arraymap.c).
pub fn finish(earlier: &Path, own: &Path) -> Result<(), KernelError> {
    absorb(earlier, own)?;
    let version = earlier.file_name().unwrap_or_default().to_string_lossy();
    for path in entries(earlier)? {
        let to = match &*path.file_name().unwrap_or_default().to_string_lossy() {
            name::PROGRAMS => own.join(format!("{LEFT}{version}")),
            left if left.starts_with(LEFT) => own.join(left),
            _ => continue,
        };
        fs::rename(&path, to).map_err(pin_error(&path, "can't be moved"))?;
        fault::moment();
    }
    remove(earlier)
}

/// A free name for the tail calls of a program that is to take another one's place, whose own keep
/// theirs until then; kept as [`finish`] keeps them if its daemon dies meanwhile.
pub fn beside(own: &Path) -> PathBuf {
    let named = |number: u32| own.join(format!("{LEFT}v{ABI_VERSION}_{number}"));
    let mut number = 1;
    while named(number).exists() {
        number += 1;
    }
    named(number)
}

/// Lets the tail calls [`beside`] be the only ones: all links have their program, and packets that
/// had met another are through.
pub fn replace_programs(beside: &Path, own: &Path) -> Result<(), KernelError> {
    fs::rename(beside, own.join(name::PROGRAMS)).map_err(pin_error(beside, "can't be moved"))
}

/// Lets go of tail calls that [`finish`] or a restart has kept, now that no link has their program.
pub fn forget_left(own: &Path) -> Result<(), KernelError> {
    for path in entries(own)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(LEFT) {
            fs::remove_file(&path).map_err(pin_error(&path, "can't be removed"))?;
        }
    }
    Ok(())
}

/// Removes a directory that has no link any more.
pub fn remove(directory: &Path) -> Result<(), KernelError> {
    for path in entries(directory)? {
        fs::remove_file(&path).map_err(pin_error(&path, "can't be removed"))?;
        fault::moment();
    }
    fs::remove_dir(directory).map_err(pin_error(directory, "can't be removed"))
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let entries = fs::read_dir(directory).and_then(|entries| {
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect()
    });
    entries.map_err(pin_error(directory, "can't be read"))
}

fn aside(pins: &Path) -> PathBuf {
    pins.join(format!("v{ABI_VERSION}{ASIDE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_known_by_version_and_whether_they_are_aside() {
        assert_eq!(parse("v1"), Some((1, true)));
        assert_eq!(parse("v12-before"), Some((12, false)));
        for other in ["v", "v-before", "1", "vx", "v1-after", "lost"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_was_aside_is_older_than_what_is_in_force_of_the_same_version() {
        assert!(parse("v1-before") < parse("v1") && parse("v1") < parse("v2-before"));
    }

    #[test]
    fn tail_calls_of_before_are_kept_until_the_links_have_another_program() {
        let pins = tempfile::tempdir().expect("a directory");
        let (earlier, own) = (pins.path().join("v1"), pins.path().join("v2"));
        for (directory, name) in [
            (&earlier, "link_3"),
            (&earlier, name::PROGRAMS),
            (&earlier, "PROGRAMS_of_v0"),
            (&earlier, name::FLOWS),
            (&own, "link_2"),
            (&own, name::PROGRAMS),
        ] {
            fs::create_dir_all(directory).expect("made");
            fs::write(directory.join(name), directory.display().to_string()).expect("made");
        }

        finish(&earlier, &own).expect("finished");

        let names = || {
            let entries = fs::read_dir(&own).expect("there");
            let names = entries.map(|entry| entry.expect("there").file_name());
            let mut names: Vec<_> = names
                .map(|name| name.into_string().expect("ours"))
                .collect();
            names.sort();
            names
        };
        assert!(!earlier.exists());
        let left = ["PROGRAMS_of_v0", "PROGRAMS_of_v1"];
        let links = ["link_2", "link_3"];
        assert_eq!(names(), [&["PROGRAMS"][..], &left, &links].concat());
        let kept = fs::read_to_string(own.join("PROGRAMS_of_v1")).expect("kept");
        assert_eq!(kept, earlier.display().to_string());
        forget_left(&own).expect("forgotten");
        assert_eq!(names(), ["PROGRAMS", "link_2", "link_3"]);
    }

    /// What a death has left in the earlier directory, whatever it is, is all gone afterwards.
    #[test]
    fn a_removal_that_died_at_any_moment_is_completed() {
        let pins = tempfile::tempdir().expect("a directory");
        let (earlier, own) = (pins.path().join("v1"), pins.path().join("v2"));
        let all: Vec<String> = ["link_1", "link_2"]
            .map(str::to_owned)
            .into_iter()
            .chain(name::ALL.map(str::to_owned))
            .collect();
        for moved in 0..=all.len() {
            fs::create_dir_all(&earlier).expect("made");
            fs::create_dir_all(&own).expect("made");
            for (number, name) in all.iter().enumerate() {
                let gone = number < moved;
                let directory = if gone { &own } else { &earlier };
                if !gone || name.starts_with("link_") {
                    fs::write(directory.join(name), "").expect("made");
                }
            }
            finish(&earlier, &own).expect("finished");
            assert!(!earlier.exists());
            assert!(own.join("link_1").exists() && own.join("link_2").exists());
            fs::remove_dir_all(&own).expect("removed");
        }
    }
}
