//! Finding programs, and reading what they print.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Directories that a user's `PATH` may lack although the tests' programs live there.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The first executable file called `name` that a test could start.
pub fn find(name: &str) -> Option<PathBuf> {
    find_all(name).next()
}

/// Every executable file called `name`: on the `PATH`, where `cargo install` puts programs, and
/// in the system's own directories.
pub fn find_all(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = env::split_paths(&path).collect();
    on_path
        .into_iter()
        .chain(cargo_directories())
        .chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
        .map(move |directory| directory.join(name))
        .filter(|file| is_executable(file))
}

/// What `command` prints on standard output; nothing where it can't start or fails.
pub fn stdout(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where `cargo install` may have put a program; a shell without rustup's profile lacks these.
fn cargo_directories() -> impl Iterator<Item = PathBuf> {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    ["CARGO_INSTALL_ROOT", "CARGO_HOME"]
        .into_iter()
        .filter_map(|variable| env::var_os(variable).map(PathBuf::from))
        .chain(home)
        .map(|root| root.join("bin"))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_shell_and_nothing_that_is_not_there() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-program-has-this-name"), None);
    }

    #[test]
    fn output_of_a_failing_program_is_not_taken() {
        assert_eq!(
            stdout(Command::new("sh").args(["-c", "echo yes"])).as_deref(),
            Some("yes\n")
        );
        assert_eq!(
            stdout(Command::new("sh").args(["-c", "echo no; exit 1"])),
            None
        );
    }
}
