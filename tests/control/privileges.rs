//! `serin run` where it can't: without privileges, and where something else has its place.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
};

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::{
    program::{Said, binary},
    site::Site,
};

/// The user `nobody`, on Debian as elsewhere.
const NOBODY: u32 = 65_534;

/// A user without privileges, who may read the binary and the configuration.
struct Nobody {
    directory: TempDir,
}

impl Nobody {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let open = |path: PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o777));
        open(directory.path().to_owned()).expect("ours");
        fs::copy(binary(), directory.path().join("serin")).expect("copied");
        let nobody = Self { directory };
        nobody.write(&Site::new(&[&[2, 2]]).text(nobody.directory.path()));
        nobody
    }

    fn write(&self, text: &str) {
        fs::write(self.path("serin.toml"), text).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn serin(&self, words: &[&str]) -> Said {
        let mut command = Command::new(self.path("serin"));
        command
            .args(words)
            .arg("--config")
            .arg(self.path("serin.toml"));
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().expect("the binary runs").into()
    }
}

#[test]
fn run_without_privileges_says_which_and_touches_nothing() {
    let nobody = Nobody::new();
    let before = fs::read_dir(nobody.directory.path())
        .expect("a directory")
        .count();

    let said = nobody.serin(&["run"]);

    let error = said.error(1);
    assert_eq!(
        error,
        "`serin run` needs CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF, which this process lacks; run it \
         as root, or give it these capabilities (AmbientCapabilities= in a systemd unit)\n"
    );
    let after = fs::read_dir(nobody.directory.path())
        .expect("a directory")
        .count();
    assert_eq!(before, after);
}

#[test]
fn run_with_a_bad_file_ends_with_2_before_anything_else() {
    let nobody = Nobody::new();
    nobody.write("[node]\nnope = 1\n");
    let said = nobody.serin(&["run"]);
    assert!(
        said.error(2).contains("[node] has the unknown key `nope`"),
        "{said:?}"
    );
}

#[test]
fn check_needs_no_privileges() {
    let nobody = Nobody::new();
    let mut command = Command::new(nobody.path("serin"));
    command.arg("check").arg(nobody.path("serin.toml"));
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let said = Said::from(command.output().expect("the binary runs"));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}
