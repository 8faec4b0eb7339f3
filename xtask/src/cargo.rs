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
    let mut targets = programs.map(|program| format!("--bin={program}")).to_vec();
    if profile == Profile::Release {
        targets.push("--release".to_owned());
    }
    build_targets(&targets, &programs.join(", "))?;
    let directory = target_directory()?.join(profile.directory());
    Ok(programs.map(|program| directory.join(program)))
}

/// Builds every program and every test once, so that no tier's time holds another's compilation, and
/// gives the path of `program`.
///
/// One command for both: without tests cargo leaves out what only they want of dependencies, and would
/// compile those a second time with it.
pub fn build_with_tests(program: &str) -> Result<PathBuf> {
    let targets = ["--bins", "--tests"].map(str::to_owned);
    build_targets(&targets, "programs and tests")?;
    Ok(target_directory()?
        .join(Profile::Dev.directory())
        .join(program))
}

fn build_targets(targets: &[String], what: &str) -> Result<()> {
    let mut cargo = command();
    // Standard output belongs to the program that is built.
    let status = cargo
        .args(["build", "--workspace"])
        .args(targets)
        .stdout(Stdio::from(io::stderr()))
        .status()
        .context("can't start cargo")?;
    if !status.success() {
        bail!("{what} can't be built ({status}); the compiler's messages are above");
    }
    Ok(())
}

/// Builds these test binaries of the test harness as `cargo xtask test` does; names and paths.
pub fn test_binaries<const N: usize>(names: [&str; N]) -> Result<Vec<(String, PathBuf)>> {
    let output = command()
        .args(["test", "--workspace", "--no-run", "--message-format=json"])
        .args(names.map(|name| format!("--test={name}")))
        .stderr(Stdio::inherit())
        .output()
        .context("can't start cargo")?;
    if !output.status.success() {
        bail!(
            "{} can't be built ({}); the compiler's messages are above",
            names.join(", "),
            output.status
        );
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let find = |name: &str| {
        let path = messages.lines().find_map(|line| executable(line, name));
        let path = path.with_context(|| format!("cargo built no test {name}"))?;
        Ok((name.to_owned(), path))
    };
    names.into_iter().map(find).collect()
}

/// The path in a message of cargo that the test `name` was built.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let target = format!(r#""kind":["test"],"crate_types":["bin"],"name":"{name}""#);
    let (_before, path) = message
        .contains(&target)
        .then(|| message.split_once(r#""executable":""#))??;
    Some(PathBuf::from(path.split('"').next()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_binary_is_found_by_its_name() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"crate_types":["bin"],"name":"vm","src_path":"/x"},"executable":"/t/debug/deps/vm-1","fresh":true}"#;
        assert_eq!(executable(message, "vm"), Some("/t/debug/deps/vm-1".into()));
        assert_eq!(executable(message, "packet"), None);
        let library = message.replace(
            r#""executable":"/t/debug/deps/vm-1""#,
            r#""executable":null"#,
        );
        assert_eq!(executable(&library, "vm"), None);
    }
}
