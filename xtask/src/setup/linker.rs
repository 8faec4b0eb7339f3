//! The linker for BPF, built on Debian's LLVM where no fitting one is installed.

use std::path::Path;

use xtask::{linker, pins};

use super::apt::Apt;
use super::{Lack, Provided, run, say};
use crate::cargo;

/// Takes what is installed, else builds the pinned version.
pub fn provide(apt: &mut Apt) -> Provided {
    if linker::find().is_none() {
        llvm(apt).and_then(|()| build()).map_err(lack)?;
    }
    let linker = linker::find().ok_or_else(|| lack(String::from("it was built and can't run")))?;
    Ok(format!("{} {}", linker::NAME, linker.version))
}

/// The library to link against marks the development package; `llvm-config` is in another one.
fn llvm(apt: &mut Apt) -> Result<(), String> {
    if Path::new(pins::LLVM_PREFIX).join("lib/libLLVM.so").exists() {
        return Ok(());
    }
    apt.install(&pins::LLVM_PACKAGES, "LLVM, for bpf-linker")
}

/// `--force` because a linker whose LLVM was upgraded away is installed, and yet does not run.
fn build() -> Result<(), String> {
    let version = pins::BPF_LINKER.to_string();
    say(&format!(
        "cargo install {} {version} (links lb-ebpf; takes a minute)",
        linker::NAME
    ));
    let mut install = cargo::command();
    install
        .args([
            "install",
            linker::NAME,
            "--version",
            &version,
            "--locked",
            "--force",
            "--quiet",
        ])
        .args(["--no-default-features", "--features", pins::LLVM_FEATURE])
        .envs(pins::LLVM_PREFIX_VARIABLES.map(|variable| (variable, pins::LLVM_PREFIX)))
        // The linker is not part of the workspace's build.
        .env_remove("CARGO_TARGET_DIR");
    run(&mut install).map_err(|cause| format!("`cargo install {}`: {cause}", linker::NAME))
}

fn lack(cause: String) -> Lack {
    let crate_version = format!("{}@{}", linker::NAME, pins::BPF_LINKER);
    Lack {
        what: format!("{} {}", linker::NAME, pins::BPF_LINKER),
        cause,
        remedy: format!(
            "take a prebuilt one: `cargo install cargo-binstall && cargo binstall {crate_version}`"
        ),
    }
}
