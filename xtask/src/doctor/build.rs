//! What a build needs.

use xtask::linker::{self, BpfLinker};
use xtask::toolchain::{self, Toolchain};
use xtask::version::Version;
use xtask::{pins, program};

use super::table::Row;

const SETUP: &str = "cargo xtask setup";

/// Compilers and linker.
pub fn rows() -> Vec<Row> {
    let linker = linker::find();
    vec![
        host_compiler(),
        compiler(linker.as_ref()),
        linker_row(linker.as_ref()),
        llvm(linker.as_ref()),
    ]
}

fn host_compiler() -> Row {
    let active = std::env::var("RUSTUP_TOOLCHAIN").ok();
    let release = Toolchain::query(active.clone()).map(|toolchain| toolchain.rustc);
    let manager = if toolchain::has_rustup() {
        "rustup"
    } else {
        "no rustup"
    };
    let name = active.unwrap_or_else(|| String::from("the PATH's rustc"));
    let found = release.map_or_else(|| String::from("no rustc"), |rustc| rustc.to_string());
    Row::new(
        "compiler",
        format!("{found} ({manager}, {name})"),
        at_least(pins::MIN_RUSTC),
    )
    .require(release >= Some(pins::MIN_RUSTC), "rustup update stable")
}

fn compiler(linker: Option<&BpfLinker>) -> Row {
    let found = toolchain::find(linker.and_then(|linker| linker.llvm_major));
    let good = found.is_ok();
    let found = found.map_or_else(
        |_defects| String::from("none"),
        |toolchain| toolchain.label(),
    );
    let needed = format!("{} and the sources of core", at_least(pins::MIN_RUSTC));
    Row::new("compiler for BPF", found, needed).require(good, SETUP)
}

fn linker_row(linker: Option<&BpfLinker>) -> Row {
    let any = linker.cloned().or_else(|| linker::installed().next());
    let found = any.map_or_else(
        || {
            String::from(if program::find(linker::NAME).is_some() {
                "can't run"
            } else {
                "none"
            })
        },
        |linker| format!("{} ({})", linker.version, linker.path.display()),
    );
    Row::new(linker::NAME, found, at_least(pins::BPF_LINKER)).require(linker.is_some(), SETUP)
}

/// A linker can't read the bitcode of an LLVM newer than its own.
fn llvm(linker: Option<&BpfLinker>) -> Row {
    let rustc = toolchain::find(None)
        .ok()
        .map(|toolchain| toolchain.llvm.major);
    let known = linker.and_then(|linker| linker.llvm_major);
    let found = match (linker, known) {
        (None, _) => String::from("no linker"),
        (Some(_), None) => String::from("linked statically, unknown"),
        (Some(_), Some(major)) => format!("LLVM {major}"),
    };
    let needed = rustc.map_or_else(
        || format!("LLVM {} or newer", pins::LLVM_MAJOR),
        |rustc| format!("LLVM {rustc} or newer, as rustc's"),
    );
    let good =
        linker.is_some() && known.is_none_or(|known| rustc.is_none_or(|rustc| known >= rustc));
    Row::new("bpf-linker's LLVM", found, needed).require(good, SETUP)
}

fn at_least(version: Version) -> String {
    format!("{version} or newer")
}
