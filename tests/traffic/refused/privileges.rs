//! A daemon without privileges.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::Result;
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    topology::Lab,
};

use super::{Refusal, assert_clean};

/// Another user, who may not even look into /sys/fs/bpf.
const NOBODY: &[&str] = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--no-new-privs",
];
/// Root by name only, who may write wherever root's files are.
const POWERLESS_ROOT: &[&str] = &[
    "setpriv",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--no-new-privs",
];

#[test]
fn without_privileges_it_is_said_which_are_missing() -> Result<()> {
    let lab = Lab::routed(2)?;
    let shop = Service::shop(&lab, "nat", 8080);
    let mut daemon = Daemon::prepare(&lab, Attach::Native, vec![shop])?;
    open_to_nobody(&daemon)?;

    for (who, words) in [
        (NOBODY, ["needs CAP_", "run it as root"]),
        (POWERLESS_ROOT, ["CAP_BPF", "CAP_NET_ADMIN"]),
    ] {
        let refusal = Refusal::read(daemon.attempt(&lab, &daemon.config_path(), who)?)?;

        refusal.assert(1, &words);
        assert_clean(&daemon, &lab)?;
    }
    daemon.start(&lab)
}

/// The config may be read, and files may be made beside it.
fn open_to_nobody(daemon: &Daemon) -> Result<()> {
    let file = daemon.config_path();
    let directory = file.parent().unwrap_or(Path::new("/"));
    Ok(fs::set_permissions(
        directory,
        Permissions::from_mode(0o777),
    )?)
}
