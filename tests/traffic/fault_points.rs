//! The daemon dies between any two of its writes, of each transition of a canary and of a cutover, under
//! load: nobody notices, and its successor goes on from where users are.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use serin_tests::config::Attach;

use crate::{
    audience::{audience, staff, table},
    crowd::Crowd,
    stage::{Stage, Way, words},
};

/// More than any transition takes.
const MANY: u64 = 60;

/// Also where one is under way.
const START: &str = "start shop --replace";

/// A transition: from the place that the orders before it lead to, to another.
struct Case {
    before: &'static [&'static str],
    order: &'static str,
    from: Value,
    to: Value,
}

/// Active pool, step, and share: all that users can tell.
fn place(stage: &Stage) -> Result<Value> {
    let status = stage.status()?;
    Ok(json!([
        status["active"],
        status["release"]["step"],
        status["share_ppm"]
    ]))
}

fn cases() -> Vec<Case> {
    let rest = json!(["blue", null, 0]);
    vec![
        Case {
            before: &[],
            order: START,
            from: rest.clone(),
            to: json!(["blue", 1, 0]),
        },
        Case {
            before: &[START],
            order: "promote shop",
            from: json!(["blue", 1, 0]),
            to: json!(["blue", 2, 250_000]),
        },
        Case {
            before: &[START, "promote shop"],
            order: "abort shop",
            from: json!(["blue", 2, 250_000]),
            to: rest.clone(),
        },
        Case {
            before: &[START, "promote shop"],
            order: "promote shop",
            from: json!(["blue", 2, 250_000]),
            to: json!(["green", null, 0]),
        },
        Case {
            before: &[],
            order: "cutover shop",
            from: rest,
            to: json!(["green", null, 0]),
        },
    ]
}

/// Back to the active pool's users all on blue, with no release under way.
fn rest(stage: &Stage) -> Result<()> {
    let status = stage.status()?;
    if status["release"]["under_way"] == true {
        stage.serin("abort shop")?;
    }
    if status["active"] == "green" {
        stage.serin("cutover shop --to blue")?;
    }
    Ok(())
}

fn reach(stage: &Stage, case: &Case) -> Result<()> {
    rest(stage)?;
    for order in case.before {
        stage.serin(order)?;
    }
    let found = place(stage)?;
    ensure!(found == case.from, "{found} before {}", case.order);
    Ok(())
}

/// How many of the order's writes the daemon has died before, from the first until it got through.
fn deaths(stage: &mut Stage, case: &Case, crowd: &Crowd) -> Result<u64> {
    reach(stage, case)?;
    for writes in 0..MANY {
        stage.daemon.die_after(writes)?;
        let given = stage.daemon.output(&words(case.order))?;
        let died = stage.daemon.has_died(&given)?;
        if died {
            stage.daemon.start(&stage.lab)?;
        }
        let found = place(stage)?;
        let story = format!("{} ended before write {writes}: {found}", case.order);
        ensure!(found == case.from || found == case.to, "{story}");
        if given.status.success() {
            ensure!(found == case.to, "{story}, although it had returned");
            crowd.round()?;
            return Ok(writes);
        }
        if found == case.to {
            reach(stage, case)?;
        }
    }
    bail!("{} never ends", case.order)
}

#[test]
fn a_daemon_killed_between_any_two_writes_of_a_canary_and_a_cutover_harms_nobody() -> Result<()> {
    let mut stage = Stage::with(Way::Nat, Attach::Native, 4, |shop| {
        let first = table([("audience", "staff".into()), ("hold", "1h".into())]);
        let then = table([("share", "25%".into()), ("hold", "1h".into())]);
        shop.audience = vec![audience(&staff())];
        shop.release = Some(table([("steps", vec![first, then].into())]));
    })?;
    let crowd = Crowd::gather(&stage.lab)?;
    let mut all = 0;
    for case in cases() {
        let deaths = deaths(&mut stage, &case, &crowd).context(case.order)?;
        ensure!(deaths >= 3, "{} took {deaths} writes", case.order);
        println!("{}: {deaths} deaths", case.order);
        all += deaths;
    }
    let story = crowd.disperse()?;
    story.assert_unharmed();
    println!("{all} deaths, {} requests, 0 failed", story.requests());
    Ok(())
}
