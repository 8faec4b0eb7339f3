//! The judge, on what the loaded program has counted of real connections.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;
use serin_tests::{config::Attach, deadline, scenes, serial};

use crate::{
    audience::table,
    crowd::Crowd,
    stage::{Stage, Way},
};

/// Longer than any verdict here takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// Releases of each kind.
const SEEDS: u64 = 2;
/// Dead candidates.
const ROUNDS: u64 = 11;
/// Scenes.
const SILENT: &str = "is silent";
const RESETS: &str = "resets all";
const GENERIC: [&str; 4] = ["serves well", SILENT, "resets 20%", "good, SYN flood"];
const PAST: [&str; 5] = [
    "serves well",
    SILENT,
    "good, SYN flood",
    "good, one bad client",
    "no traffic",
];

/// A quarter of all users, judged; the last step lasts as it is said.
fn stage(way: Way, signals: &[&str], step: &[(&str, &str)]) -> Result<Stage> {
    Stage::with(way, Attach::Native, 4, |shop| {
        let mut quarter = table([("share", "25%".into())]);
        for (key, value) in step {
            quarter.insert((*key).to_owned(), (*value).into());
        }
        let steps = vec![quarter];
        shop.release = Some(table([
            ("steps", steps.into()),
            (
                "judge",
                // A quarter of all users is about a hundred.
                table([
                    ("signals", signals.to_vec().into()),
                    ("min_clients", 50.into()),
                ])
                .into(),
            ),
        ]));
    })
}

fn release(stage: &Stage) -> Result<Value> {
    Ok(stage.status()?["release"].take())
}

/// What the release says once it is over, and after how long.
fn ended(stage: &Stage, since: Instant) -> Result<(Value, Duration)> {
    let ended = deadline::until("the release's end", PATIENCE, || {
        let release = release(stage)?;
        Ok((release["under_way"] == false).then_some(release))
    })?;
    Ok((ended, since.elapsed()))
}

fn explain(stage: &Stage) -> Result<String> {
    let output = stage.daemon.output(&["explain", "shop"])?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_good_release_is_promoted_as_soon_as_it_is_no_worse() -> Result<()> {
    let _alone = serial::alone()?;
    let mut stage = stage(
        Way::Nat,
        // Of latencies, of which each client counts once, so few clients tell too little.
        &["connect", "early-reset", "reset"],
        &[("hold", "evidence"), ("at_most", "5m")],
    )?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    let begun = Instant::now();
    stage.serin("start shop")?;
    let (release, took) = ended(&stage, begun)?;
    let explained = explain(&stage)?;
    println!("after {took:?}:\n{explained}");

    assert_eq!(release["state"], "promoted", "{release}\n{explained}");
    assert!(explained.contains("no worse, after"), "{explained}");
    stage.daemon.kill()?;
    stage.daemon.start(&stage.lab)?;
    let kept = explain(&stage)?;
    assert!(kept.contains("no worse, after"), "after a restart: {kept}");
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// Each kind of release several times, each time under another salt: what harms users is taken back,
/// and nothing else is. `cargo xtask bench scenes` plays more of them.
#[test]
fn bad_releases_are_taken_back_and_no_good_one_is() -> Result<()> {
    let _alone = serial::alone()?;
    let mut stage = scenes::Stage::set()?;
    let scenes: Vec<_> = scenes::ALL.iter().map(|scene| (scene, SEEDS)).collect();
    let rows = scenes::play_all(&mut stage, &scenes)?;

    for row in &rows {
        assert!(row.is_right(), "{}: see above", row.scene.name);
    }
    let runs = |name: &str| {
        let row = rows.iter().find(|row| row.scene.name == name);
        row.expect("one of the scenes").runs.as_slice()
    };
    for run in runs("is silent") {
        assert!(run.reason.starts_with("the breaker: "), "{}", run.reason);
    }
    for run in runs("leaks, dies at 25%") {
        assert!(
            run.took > Duration::from_secs(2),
            "in its first step: {run:?}"
        );
    }
    for run in runs("one of 3 resets 50%") {
        assert!(run.explained.contains("1` stands out"), "{}", run.explained);
    }
    for run in runs("resets 20%") {
        assert!(!run.explained.contains("stands out"), "{}", run.explained);
    }
    Ok(())
}

/// Of each kind that shows there, one: in `nat` all does, whichever hook the program is attached by.
#[test]
fn nor_in_generic_mode_nor_where_servers_answer_past_the_edge() -> Result<()> {
    let _alone = serial::alone()?;
    for (way, attach, kinds) in [
        (scenes::Way::Nat, Attach::Generic, &GENERIC[..]),
        (scenes::Way::L2, Attach::Native, &PAST[..]),
    ] {
        let mut stage = scenes::Stage::set_in(way, attach)?;
        let scenes: Vec<_> = kinds.iter().map(|name| (scenes::named(name), 1)).collect();
        for row in scenes::play_all(&mut stage, &scenes)? {
            assert!(row.is_right(), "{way:?}: {}: see above", row.scene.name);
        }
    }
    Ok(())
}

#[test]
fn users_are_off_a_dead_candidate_in_100_ms_and_the_release_over_in_a_second() -> Result<()> {
    let _alone = serial::alone()?;
    let mut stage = scenes::Stage::set()?;
    let rounds = scenes::at_five_percent(&mut stage, SILENT, ROUNDS)?;
    scenes::print_dead(SILENT, &rounds);

    // When users call is chance, so this is of most rounds.
    let left = scenes::median(&rounds, |dead| dead.left.as_millis());
    assert!(left <= 100, "{left} ms: {rounds:?}");
    let over = rounds.iter().map(|dead| dead.over).max();
    assert!(over < Some(Duration::from_secs(1)), "{rounds:?}");
    Ok(())
}

/// A candidate that answers each call, and then resets it, is none of the breaker's.
#[test]
fn they_are_off_one_that_the_breaker_does_not_see_in_a_second() -> Result<()> {
    let _alone = serial::alone()?;
    let mut stage = scenes::Stage::set()?;
    let rounds = scenes::at_five_percent(&mut stage, RESETS, ROUNDS)?;
    scenes::print_dead(RESETS, &rounds);

    for round in &rounds {
        assert!(!round.reason.contains("breaker"), "{round:?}");
        assert!(round.over < Duration::from_secs(1), "{rounds:?}");
    }
    Ok(())
}

#[test]
fn without_traffic_the_judge_can_not_tell_and_the_release_waits() -> Result<()> {
    let stage = stage(Way::L2, &["connect", "handshake"], &[("hold", "1s")])?;
    stage.serin("start shop")?;
    deadline::until("the judge to be waited for", PATIENCE, || {
        Ok((release(&stage)?["state"] == "awaits-evidence").then_some(()))
    })?;
    let explained = explain(&stage)?;
    assert!(explained.contains("can't tell yet"), "{explained}");
    assert!(
        explained.contains("what servers send is not seen"),
        "{explained}"
    );
    stage.serin("promote shop")?;
    assert_eq!(release(&stage)?["state"], "promoted");
    Ok(())
}
