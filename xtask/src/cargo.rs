//! Running cargo, and finding what it built.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The environment variable that tells tests, demo and benchmark where the daemon is.
pub const SERIN_BIN: &str = "SERIN_BIN";

/// The daemon's executable.
pub const SERIN: &str = "serin";

/// How a build is optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What tests run.
    Dev,
    /// What users run, and so what the demo and the benchmark show.
    Release,
}

impl Profile {
    fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// The cargo that runs this program, in a clean environment.
pub fn command() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_this_package(&mut cargo);
    cargo
}

/// Keeps cargo's variables on *this* package from a child, which would read them as its own.
pub fn forget_this_package(child: &mut Command) {
    for (name, _value) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            child.env_remove(&name);
        }
    }
}

/// Builds `programs` and gives their absolute paths.
///
/// The whole workspace is named so that every command resolves the same features, and none
/// compiles a dependency a second time.
pub fn build<const N: usize>(profile: Profile, programs: [&str; N]) -> Result<[PathBuf; N]> {
    let mut cargo = command();
    cargo
        .args(["build", "--workspace"])
        .args(programs.map(|program| format!("--bin={program}")));
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    // Standard output belongs to the program that is built.
    let status = cargo
        .stdout(Stdio::from(io::stderr()))
        .status()
        .context("can't start cargo")?;
    if !status.success() {
        bail!(
            "{} can't be built ({status}); the compiler's messages are above",
            programs.join(", ")
        );
    }
    let directory = target_directory()?.join(profile.directory());
    Ok(programs.map(|program| directory.join(program)))
}

/// Cargo put this executable into `TARGET/PROFILE/` as well, whatever is configured.
fn target_directory() -> Result<PathBuf> {
    let executable = env::current_exe().context("the running xtask has no path")?;
    let directory = executable.ancestors().nth(2);
    directory.map(PathBuf::from).with_context(|| {
        format!(
            "{} is in no target directory; start it by `cargo xtask`",
            executable.display()
        )
    })
}
