//! What `lb-userspace/build.rs` needs to compile `lb-ebpf`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::linker::{self, BpfLinker};
use crate::toolchain::{self, Toolchain};
use crate::{pins, program};

/// Set in the environment of the build script's second run, to the toolchain's name.
const SECOND_RUN: &str = "SERIN_EBPF_TOOLCHAIN";

/// A compiler and a linker that fit each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EbpfToolchain {
    /// The compiler, with the sources of `core`.
    pub compiler: Toolchain,
    /// The linker, on an LLVM at least as new as the compiler's where that can be known.
    pub linker: BpfLinker,
}

/// Runs `compile` with the name of the toolchain to hand to `aya_build::Toolchain::Custom`, in an
/// environment where aya-build asks for `-Z build-std=core` and rustc finds bpf-linker.
///
/// The environment of a running process can't be changed soundly, so the build script starts
/// itself once more: its output still goes to cargo, and `RUSTC_BOOTSTRAP` stays with that child.
pub fn build(compile: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    if let Ok(name) = env::var(SECOND_RUN) {
        return compile(&name);
    }
    if let Err(error) = prepare_and_run_again() {
        // Cargo fails the build on this and shows it alone; an error that a build script returns
        // comes with all that it printed before.
        println!("cargo::error={error:#}");
    }
    Ok(())
}

fn prepare_and_run_again() -> Result<()> {
    let toolchain = ebpf_toolchain()?;
    rerun_if_changed(&toolchain);
    let status = run_again(&toolchain)?;
    if !status.success() {
        bail!(
            "lb-ebpf does not compile ({status}); the compiler's messages are among the warnings"
        );
    }
    Ok(())
}

/// The toolchain that compiles `lb-ebpf`, or an error that says how to get one.
///
/// Cheap, and without network: it asks the installed programs for their versions.
pub fn ebpf_toolchain() -> Result<EbpfToolchain> {
    let linker = linker::find().with_context(|| {
        format!(
            "{} {} missing; run `cargo xtask setup`",
            linker::NAME,
            pins::BPF_LINKER
        )
    })?;
    let compiler = toolchain::find(linker.llvm_major).map_err(|defects| {
        let name = pins::LINKED_TOOLCHAIN;
        anyhow!("{name} toolchain missing ({defects}); run `cargo xtask setup`")
    })?;
    Ok(EbpfToolchain { compiler, linker })
}

/// A new compiler or linker makes a new object.
fn rerun_if_changed(toolchain: &EbpfToolchain) {
    let rustc = toolchain.compiler.sysroot.join("bin/rustc");
    for file in [&rustc, &toolchain.linker.path] {
        println!("cargo:rerun-if-changed={}", file.display());
    }
}

fn run_again(toolchain: &EbpfToolchain) -> Result<ExitStatus> {
    let script = env::current_exe().context("the running build script has no path")?;
    // Without rustup, aya-build takes the compiler on the PATH and ignores the name.
    let name = toolchain
        .compiler
        .name
        .as_deref()
        .unwrap_or(pins::LINKED_TOOLCHAIN);
    Command::new(&script)
        .env(SECOND_RUN, name)
        .env("RUSTC_BOOTSTRAP", "1")
        // aya-build shows all that the inner cargo prints as warnings, so it must print only those.
        .env("CARGO_TERM_QUIET", "true")
        // The compiler's messages say it all.
        .env("RUST_LIB_BACKTRACE", "0")
        .env("PATH", path_with(&toolchain.linker.path)?)
        .status()
        .with_context(|| format!("can't start {} again", script.display()))
}

/// The `PATH`, led by the directory of `linker` and holding rustup's: a cargo that was started
/// by its full path has neither.
fn path_with(linker: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let rustup = program::find("rustup");
    let directory = |file: &Path| file.parent().map(PathBuf::from);
    let directories = directory(linker)
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(rustup.as_deref().and_then(directory));
    env::join_paths(directories).with_context(|| {
        format!(
            "{} can't go on the PATH; move it to a directory without a colon",
            linker.display()
        )
    })
}
