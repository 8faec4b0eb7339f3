//! The releases that the demo's file describes.

use std::time::Duration;

use anyhow::Result;
use toml::{Table, Value};

use super::stage::{PORT, SERVICE};
use crate::{daemon::Daemon, deadline, topology::Lab};

/// The audience of the first users, and where they are.
const STAFF: &str = "staff";
const STAFF_SOURCES: &str = "10.71.1.0/27";
/// The switch of that audience.
const PREVIEW: &str = "staff-preview";
/// Users whose addresses lie there.
pub(super) const STAFF_USERS: u32 = 31;

/// Longer than all holds and gates before any step.
const PATIENCE: Duration = Duration::from_secs(30);

/// Clients that see a candidate first.
pub(super) fn audience() -> Table {
    table([
        ("name", STAFF.into()),
        ("sources", vec![STAFF_SOURCES].into()),
        ("pool", "candidate".into()),
        ("toggle", PREVIEW.into()),
    ])
}

/// What shows them the candidate.
pub(super) fn toggle() -> Table {
    table([("name", PREVIEW.into()), ("on", true.into())])
}

/// Staff, then 5%, then 25% for as long as green answers, then all if the smoke test passes.
pub(super) fn canary(lab: &Lab) -> Table {
    let green = lab.backends[2].v4;
    let answers = table([
        ("name", "answers".into()),
        ("during", 3.into()),
        ("http", format!("http://{green}:{PORT}/").into()),
        ("interval", "1s".into()),
    ]);
    let smoke = table([
        ("name", "smoke".into()),
        ("before", "promote".into()),
        (
            "exec",
            vec!["/bin/sh", "-c", "test $SERIN_CANDIDATE = green"].into(),
        ),
    ]);
    table([
        (
            "steps",
            vec![staff_step(), share("5%"), share("25%")].into(),
        ),
        ("gate", vec![answers, smoke].into()),
    ])
}

/// Staff have a preview; after the cutover the old colour is kept for a rollback.
pub(super) fn blue_green() -> Table {
    let mut preview = staff_step();
    preview.insert("approve".to_owned(), true.into());
    table([
        ("strategy", "blue-green".into()),
        ("steps", vec![preview].into()),
        ("bake", "10m".into()),
    ])
}

/// Waits until the release has come to a step, counted from 1.
pub(super) fn reach(daemon: &Daemon, step: u32) -> Result<()> {
    deadline::until(&format!("step {step}"), PATIENCE, || {
        let status = daemon.serin(&["status", SERVICE])?;
        Ok((status["release"]["step"] == step).then_some(()))
    })
}

fn staff_step() -> Table {
    table([("audience", STAFF.into()), ("hold", HOLD.into())])
}

fn share(share: &str) -> Table {
    table([("share", share.into()), ("hold", HOLD.into())])
}

/// Long enough for every user to connect anew and be counted.
const HOLD: &str = "6s";

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
