//! `serin decap` on a backend.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    command::{checked, run},
    config::Attach,
    daemon,
    netns::Namespace,
    topology::UPLINK,
    unique,
};

/// A decapsulator on a namespace's [`UPLINK`]; taken off on drop.
#[derive(Debug)]
pub struct Decap {
    binary: PathBuf,
    pins: PathBuf,
}

impl Decap {
    /// Puts it there; the command has ended when this returns.
    pub fn start(namespace: &Namespace, attach: Attach) -> Result<Self> {
        let decap = Self {
            binary: daemon::binary()?,
            pins: PathBuf::from("/sys/fs/bpf").join(unique::name()),
        };
        let attach = match attach {
            Attach::Native => "native",
            Attach::Generic => "generic",
            Attach::Auto => "auto",
        };
        let mut command = namespace.command(&decap.binary);
        command.args(["decap", UPLINK, "--attach", attach, "--pins"]);
        run(command.arg(&decap.pins))?;
        Ok(decap)
    }

    /// How many packets have left it in the way of this name.
    pub fn exits(&self, name: &str) -> Result<u64> {
        let mut command = self.command();
        command.args(["-o", "json"]);
        let output = command.output().context("running `serin decap`")?;
        let counts: Value = serde_json::from_str(&checked(&command, output)?)?;
        let mut counts = counts.as_array().into_iter().flatten();
        let count = counts.find(|count| count["reason"] == name);
        let count = count.and_then(|count| count["packets"].as_u64());
        count.with_context(|| format!("`serin decap` counts no {name}"))
    }

    /// Takes it off.
    pub fn off(&self) -> Result<()> {
        let mut command = self.command();
        run(command.arg("--off")).map(drop)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["decap", "--pins"]).arg(&self.pins);
        command
    }
}

impl Drop for Decap {
    fn drop(&mut self) {
        if let Err(error) = self.off() {
            eprintln!("{error:#}; its pins are removed by hand");
        }
        // Without its pins the kernel frees what there was. After `off` there are none.
        let _ = fs::remove_dir_all(&self.pins);
    }
}
