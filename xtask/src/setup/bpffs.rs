//! The file system in which maps, programs and links are pinned.

use std::process::Command;

use xtask::pins::BPFFS;

use super::{Lack, Provided, run, say};
use crate::machine::{Privileges, has_bpffs};

/// systemd's own options for this mount (`mount_setup.c`).
const OPTIONS: &str = "nosuid,nodev,noexec,relatime,mode=700";

/// Mounts it where no init system has.
pub fn provide() -> Provided {
    if !has_bpffs() {
        mount().map_err(|cause| Lack {
            what: format!("a BPF file system at {BPFFS}"),
            cause,
            remedy: format!("run `sudo {}`", command().join(" ")),
        })?;
    }
    Ok(String::from("bpffs"))
}

fn mount() -> Result<(), String> {
    if !Privileges::of_this_process().is_root() {
        return Err(String::from("not root"));
    }
    let [program, arguments @ ..] = command();
    say(&format!("{} (pins live there)", command().join(" ")));
    run(Command::new(program).args(arguments))
}

fn command() -> [&'static str; 7] {
    ["mount", "-t", "bpf", "-o", OPTIONS, "bpf", BPFFS]
}
