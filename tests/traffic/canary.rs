//! A release that goes by its plan, under load: nobody notices, and nobody is moved back.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use serin_tests::{config::Attach, deadline};

use crate::{
    audience::{assert_staff_alone, audience, staff, table},
    crowd::{Crowd, USERS},
    stage::{Stage, Way},
};

in_both_modes!(a_canary_goes_from_its_staff_to_all_and_breaks_nothing,);

/// Users of both families.
const ALL: usize = 2 * USERS as usize;
/// Longer than all holds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Staff until approved, then 1%, 25% and all, each for two seconds.
fn stage(attach: Attach) -> Result<Stage> {
    Stage::with(Way::Nat, attach, 4, |shop| {
        let share = |share: &str| table([("share", share.into()), ("hold", "2s".into())]);
        let first = table([
            ("audience", "staff".into()),
            ("hold", "1s".into()),
            ("approve", true.into()),
        ]);
        let steps = vec![first, share("1%"), share("25%"), share("100%")];
        shop.audience = vec![audience(&staff())];
        shop.release = Some(table([("steps", steps.into())]));
    })
}

fn release(stage: &Stage) -> Result<Value> {
    Ok(stage.status()?["release"].take())
}

fn until(stage: &Stage, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    deadline::until(
        what,
        PATIENCE,
        || Ok(wanted(&release(stage)?).then_some(())),
    )
}

/// Event, step and share of everything that moved the release. Whether it is told to wait for a person
/// before that person has let it go on is the machine's to say.
fn history(stage: &Stage) -> Result<Vec<Value>> {
    let history = stage.serin("history shop")?;
    let entries = history.as_array().cloned().unwrap_or_default();
    let made = entries
        .iter()
        .filter(|entry| entry["event"] != "awaits-approval");
    let told = made.map(|entry| json!([entry["event"], entry["step"], entry["share_ppm"]]));
    Ok(told.collect())
}

fn a_canary_goes_from_its_staff_to_all_and_breaks_nothing(attach: Attach) -> Result<()> {
    let stage = stage(attach)?;
    let crowd = Crowd::gather(&stage.lab)?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());

    stage.serin("start shop")?;
    assert_staff_alone(&crowd.round()?);
    until(&stage, "the end of the hold", |r| {
        r["state"] == "awaits-approval"
    })?;
    stage.serin("promote shop --expect-step 1")?;
    let ended = stage.serin("wait shop --timeout 30s")?;
    let users = crowd.round()?;

    assert_eq!(ended["state"], "promoted");
    assert_eq!(users.on("v2").len(), ALL);
    let expected = [
        json!(["started", 1, 0]),
        json!(["step", 2, 10_000]),
        json!(["step", 3, 250_000]),
        json!(["step", 4, 1_000_000]),
        json!(["promoted", null, 0]),
    ];
    assert_eq!(history(&stage)?, expected);
    let story = crowd.disperse()?;
    story.assert_unharmed();
    assert_eq!(story.moved_back_to("v1"), BTreeSet::new());
    println!("{} requests, 0 failed, 0 moved back", story.requests());
    Ok(())
}

#[test]
fn an_abort_in_the_middle_brings_all_new_connections_back() -> Result<()> {
    let stage = stage(Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("start shop")?;
    stage.serin("promote shop")?;
    until(&stage, "25%", |release| release["step"] == 3)?;
    stage.serin("pause shop")?;
    let on_v2 = crowd.round()?.on("v2");
    assert!(on_v2.len() > ALL / 8, "{} users", on_v2.len());

    stage.serin("abort shop --reason errors")?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());
    // Twice as long as any hold.
    thread::sleep(Duration::from_secs(4));
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new(), "for good");
    let waited = stage.daemon.output(&["wait", "shop"])?;
    assert_eq!(waited.status.code(), Some(1));

    stage.serin("retry shop")?;
    stage.serin("promote shop")?;
    until(&stage, "25%", |release| release["step"] == 3)?;
    stage.serin("pause shop")?;
    assert_eq!(crowd.round()?.on("v2"), on_v2, "the same users");
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// What an abort may take in the daemon until its record is stored: the state file, whose disk may be
/// slow, is written after that.
const ABORT: Duration = Duration::from_millis(1);

#[test]
fn an_abort_is_stored_within_a_millisecond_of_its_order() -> Result<()> {
    let stage = stage(Attach::Native)?;
    let mut took = Vec::new();
    stage.serin("start shop")?;
    for _ in 0..10 {
        stage.serin("promote shop")?;
        let aborted = stage.serin("abort shop --reason errors")?;
        let stored = aborted["stored_us"].as_u64().context("a store")?;
        took.push(Duration::from_micros(stored));
        stage.serin("retry shop")?;
    }
    println!("aborts were stored after {took:.0?}");
    // A busy machine makes some of them late, and none of them fast.
    let least = took.iter().min().context("ten of them")?;
    assert!(*least < ABORT, "{took:?}");
    Ok(())
}

#[test]
fn a_daemon_killed_at_each_step_leaves_a_release_that_goes_on() -> Result<()> {
    let mut stage = stage(Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("start shop")?;
    let waiting = stage.daemon.spawn(&["wait", "shop", "--timeout", "2m"])?;
    // It is a pipeline's step, and must have found the daemon once.
    thread::sleep(Duration::from_secs(1));
    stage.daemon.kill()?;
    assert_staff_alone(&crowd.round()?);
    stage.daemon.start(&stage.lab)?;
    stage.serin("promote shop --expect-step 1")?;
    for step in 2..=4 {
        until(&stage, "the step", |release| release["step"] == step)?;
        stage.daemon.kill()?;
        // A hold that ends meanwhile waits for the next daemon.
        thread::sleep(Duration::from_secs(3));
        stage.daemon.start(&stage.lab)?;
    }
    let waited = waiting.wait_with_output()?;

    assert_eq!(waited.status.code(), Some(0), "{waited:?}");
    assert_eq!(crowd.round()?.on("v2").len(), ALL);
    let mut told = history(&stage)?;
    told.retain(|entry| entry[0] != "continued");
    let expected = [
        json!(["started", 1, 0]),
        json!(["step", 2, 10_000]),
        json!(["step", 3, 250_000]),
        json!(["step", 4, 1_000_000]),
        json!(["promoted", null, 0]),
    ];
    assert_eq!(told, expected);
    let story = crowd.disperse()?;
    story.assert_unharmed();
    assert_eq!(story.moved_back_to("v1"), BTreeSet::new());
    Ok(())
}
