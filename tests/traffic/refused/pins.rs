//! Pins that another serin, or this one under another config, has made.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use lb_common::maps::{ABI_VERSION, name};
use serin_tests::{
    config::{Attach, Config},
    unique,
};

use super::Refusal;
use crate::{
    crowd::{Crowd, Users},
    stage::{Stage, Way},
};

/// A data plane whose daemon is gone, with a share out and users on it.
struct Orphan {
    crowd: Crowd,
    users: Users,
    stage: Stage,
}

impl Orphan {
    fn make() -> Result<Self> {
        let mut stage = Stage::set(Way::Nat, Attach::Native)?;
        let crowd = Crowd::gather(&stage.lab)?;
        stage.serin("share shop 30%")?;
        let users = crowd.round()?;
        stage.daemon.kill()?;
        Ok(Self {
            crowd,
            users,
            stage,
        })
    }

    fn pins(&self) -> PathBuf {
        Path::new(&self.stage.daemon.config.node.pins).join(format!("v{ABI_VERSION}"))
    }

    /// A daemon with a changed config is refused.
    fn refusal(&mut self, change: impl FnOnce(&mut Config)) -> Result<Refusal> {
        let before = self.stage.daemon.config.clone();
        change(&mut self.stage.daemon.config);
        let refusal = Refusal::of(&self.stage.daemon, &self.stage.lab);
        self.stage.daemon.config = before;
        self.stage.daemon.write_config()?;
        refusal
    }

    /// Everybody is where they were, and a right start takes over.
    fn assert_untouched(mut self) -> Result<()> {
        assert_eq!(self.crowd.round()?, self.users);
        self.stage.daemon.start(&self.stage.lab)?;
        assert_eq!(self.crowd.round()?, self.users);
        assert_eq!(self.stage.status()?["share_ppm"], 300_000);
        self.crowd.disperse()?.assert_unharmed();
        Ok(())
    }
}

#[test]
fn pins_of_a_newer_abi_are_left_alone() -> Result<()> {
    let mut orphan = Orphan::make()?;
    let other = orphan
        .pins()
        .with_file_name(format!("v{}", ABI_VERSION + 1));
    fs::create_dir(&other)?;

    let refusal = orphan.refusal(|_| ())?;
    fs::remove_dir(&other)?;

    let (place, named) = (
        format!("/v{}", ABI_VERSION + 1),
        format!("ABI {}", ABI_VERSION + 1),
    );
    refusal.assert(1, &[&place, &named, "serin detach"]);
    orphan.assert_untouched()
}

#[test]
fn a_flow_table_that_can_t_be_read_is_left_alone() -> Result<()> {
    let mut orphan = Orphan::make()?;
    let pin = |name| orphan.pins().join(name);
    let (flows, counters, aside) = (pin(name::FLOWS), pin(name::COUNTERS), pin("aside"));

    fs::rename(&flows, &aside)?;
    fs::rename(&counters, &flows)?;
    let kind = orphan.refusal(|_| ())?;
    fs::rename(&flows, &counters)?;
    fs::rename(&aside, &flows)?;

    kind.assert(1, &[name::FLOWS, "PerCpuArray", "LruHash", "serin detach"]);
    orphan.assert_untouched()
}

#[test]
fn pins_of_the_abi_before_but_of_another_seed_are_left_alone() -> Result<()> {
    let mut orphan = Orphan::make()?;
    let old = orphan
        .pins()
        .with_file_name(format!("v{}", ABI_VERSION - 1));
    fs::rename(orphan.pins(), &old)?;

    let refusal = orphan.refusal(|config| config.node.hash_seed.push('x'))?;

    refusal.assert(1, &["pins at", "node.hash_seed", "serin detach"]);
    assert!(!orphan.pins().exists(), "nothing is left of the attempt");
    orphan.assert_untouched()
}

#[test]
fn pins_made_with_another_seed_are_left_alone() -> Result<()> {
    let mut orphan = Orphan::make()?;

    let refusal = orphan.refusal(|config| config.node.hash_seed.push('x'))?;

    refusal.assert(1, &["pins at", "node.hash_seed", "serin detach"]);
    orphan.assert_untouched()
}

#[test]
fn pins_must_be_on_a_bpffs() -> Result<()> {
    let mut orphan = Orphan::make()?;

    let elsewhere = env::temp_dir().join(unique::name());

    let refusal = orphan.refusal(|config| config.node.pins = elsewhere.display().to_string())?;

    assert!(!elsewhere.exists());
    refusal.assert(1, &["no bpffs", "mount -t bpf"]);
    orphan.assert_untouched()
}

#[test]
fn detach_removes_everything_with_and_without_a_daemon() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let pins = PathBuf::from(&stage.daemon.config.node.pins);
    let config = stage.daemon.config_path().display().to_string();

    for kill_first in [false, true] {
        if kill_first {
            stage.daemon.start(&stage.lab)?;
            stage.daemon.kill()?;
        }
        let detached = stage.daemon.output(&["detach", "--config", &config])?;

        assert!(
            detached.status.success(),
            "{}",
            String::from_utf8_lossy(&detached.stderr)
        );
        assert!(!pins.exists());
        for link in stage.lab.edge.links()? {
            assert!(link["xdp"].is_null(), "a program is still there: {link}");
        }
    }
    Ok(())
}
