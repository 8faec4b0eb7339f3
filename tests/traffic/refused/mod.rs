//! Starts that are refused: one clear error each, and nothing is changed or left behind.

mod interfaces;
mod pins;
mod privileges;
mod state_file;

use std::{path::Path, process::Output, time::Duration};

use anyhow::{Context, Result};
use serin_tests::{daemon::Daemon, deadline, topology::Lab};

const LIMIT: Duration = Duration::from_secs(2);

/// How a start ended that had to be refused.
struct Refusal {
    code: Option<i32>,
    said: String,
}

impl Refusal {
    /// Starts a daemon by the config of this one, which must not run.
    fn of(daemon: &Daemon, lab: &Lab) -> Result<Self> {
        daemon.write_config()?;
        Self::read(daemon.attempt(lab, &daemon.config_path(), &[])?)
    }

    fn read(output: Output) -> Result<Self> {
        Ok(Self {
            code: output.status.code(),
            said: String::from_utf8(output.stderr).context("words of `serin run`")?,
        })
    }

    /// One error, with the words that name its object and its remedy.
    fn assert(&self, code: i32, words: &[&str]) {
        let Self { code: got, said } = self;
        assert_eq!(*got, Some(code), "{said}");
        let errors = said.lines().filter(|line| line.starts_with("serin: "));
        let errors: Vec<_> = errors.collect();
        assert_eq!(errors.len(), 1, "{said}");
        for word in words {
            assert!(errors[0].contains(word), "no `{word}` in: {said}");
        }
    }
}

/// No pin, program, socket or state is there.
fn assert_clean(daemon: &Daemon, lab: &Lab) -> Result<()> {
    let config = &daemon.config;
    for path in [&config.node.pins, &config.node.state, &config.api.socket] {
        assert!(!Path::new(path).exists(), "{path} was left behind");
    }
    // The kernel takes a program of others' off a moment after its link was closed.
    deadline::until("no program to be left behind", LIMIT, || {
        let links = lab.edge.links()?;
        Ok(links.iter().all(|link| link["xdp"].is_null()).then_some(()))
    })
}
