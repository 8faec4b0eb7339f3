//! Starts a program of the test harness in this process's place.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo::{self, Profile, SERIN, SERIN_BIN};
use crate::setup;

/// Builds the daemon and `program` as users run them, and becomes `program`.
///
/// Until then nothing reaches standard output, which is the program's: its JSON may be piped.
pub fn exec(program: &str, args: &[OsString]) -> Result<Infallible> {
    setup::before_build()?;
    let [serin, executable] = cargo::build(Profile::Release, [SERIN, program])?;
    let mut command = Command::new(&executable);
    cargo::forget_this_package(&mut command);
    let error = command.args(args).env(SERIN_BIN, serin).exec();
    Err(error).with_context(|| format!("can't start {}", executable.display()))
}
