//! A Rust compiler with the sources of `core`.

use std::path::Path;
use std::process::Command;

use xtask::toolchain::{self, Toolchain};
use xtask::{linker, pins, program};

use super::apt::Apt;
use super::{Lack, Provided, run, say};

/// Takes what is installed, else the distribution's compiler, else rustup's sources.
pub fn provide(apt: &mut Apt) -> Provided {
    let mut causes = Vec::new();
    for way in [
        link_what_is_there,
        install_from_the_distribution,
        add_rustups_sources,
    ] {
        match find() {
            Ok(toolchain) => return Ok(toolchain.label()),
            Err(_defects) => causes.extend(way(apt).err()),
        }
    }
    find()
        .map(|toolchain| toolchain.label())
        .map_err(|defects| Lack {
            what: format!("a compiler for BPF ({defects})"),
            cause: causes.join("; "),
            remedy: remedy(),
        })
}

/// Replacing the compiler that a user has installed is the user's decision.
fn remedy() -> String {
    let packages = pins::COMPILER_PACKAGES.join(" ");
    format!(
        "run `rustup component add rust-src`; or let Debian's newest compiler replace what stands \
         in its way: `sudo apt-get install {packages}`"
    )
}

fn find() -> Result<Toolchain, String> {
    toolchain::find(linker::find().and_then(|linker| linker.llvm_major))
}

/// Needs no installation where the packages are there and rustup has not been told.
fn link_what_is_there(_apt: &mut Apt) -> Result<(), String> {
    let sources = Path::new(pins::LINKED_PREFIX).join(toolchain::CORE_SOURCES);
    if sources.is_dir() { link() } else { Ok(()) }
}

fn install_from_the_distribution(apt: &mut Apt) -> Result<(), String> {
    apt.install(
        &pins::COMPILER_PACKAGES,
        "rustc and the sources of core, for lb-ebpf",
    )?;
    link()
}

/// rustup's active toolchain serves where the distribution has no compiler new enough.
fn add_rustups_sources(_apt: &mut Apt) -> Result<(), String> {
    let command = ["rustup", "component", "add", "rust-src"];
    let Some(rustup) = program::find(command[0]) else {
        return Err(String::from("no rustup on this machine"));
    };
    say(&format!(
        "{} (the sources of core, for lb-ebpf)",
        command.join(" ")
    ));
    run(Command::new(rustup).args(&command[1..]))
        .map_err(|cause| format!("`{}`: {cause}", command.join(" ")))
}

fn link() -> Result<(), String> {
    let arguments = [
        "toolchain",
        "link",
        pins::LINKED_TOOLCHAIN,
        pins::LINKED_PREFIX,
    ];
    // Without rustup the distribution's compiler is the only one, and found as it is.
    let Some(rustup) = program::find("rustup") else {
        return Ok(());
    };
    say(&format!(
        "rustup {} (names the distribution's rustc for aya-build)",
        arguments.join(" ")
    ));
    run(Command::new(rustup).args(arguments))
        .map_err(|cause| format!("`rustup {}`: {cause}", arguments.join(" ")))
}
