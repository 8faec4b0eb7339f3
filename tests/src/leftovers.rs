//! Removes what a killed test process could not: only objects whose names tell a process that is gone.

use std::{env, fs, path::Path, process::Command};

use anyhow::Result;

use crate::{command::run, unique};

const NAMESPACES: &str = "/run/netns";
const PINS: &str = "/sys/fs/bpf";

/// Removes namespaces, pins and directories of dead test processes, and says how many.
pub fn sweep() -> Result<usize> {
    let namespaces = orphans(Path::new(NAMESPACES));
    for name in &namespaces {
        run(Command::new("ip").args(["netns", "del", name]))?;
    }
    let mut swept = namespaces.len();
    for parent in [Path::new(PINS), &env::temp_dir()] {
        for name in orphans(parent) {
            fs::remove_dir_all(parent.join(name))?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn orphans(directory: &Path) -> Vec<String> {
    // A directory that is missing holds no leftovers.
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| unique::maker(name).is_some_and(is_gone))
        .collect()
}

fn is_gone(process: u32) -> bool {
    !Path::new("/proc").join(process.to_string()).exists()
}
