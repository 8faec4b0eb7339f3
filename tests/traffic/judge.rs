//! The judge, on what the loaded program has counted of real connections.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;
use serin_tests::{config::Attach, deadline, topology::UPLINK};

use crate::{
    audience::table,
    crowd::Crowd,
    stage::{Stage, Way},
};

/// Longer than any verdict here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A quarter of all users, judged; the last step lasts as it is said.
fn stage(way: Way, step: &[(&str, &str)]) -> Result<Stage> {
    Stage::with(way, Attach::Native, 4, |shop| {
        let mut quarter = table([("share", "25%".into())]);
        for (key, value) in step {
            quarter.insert((*key).to_owned(), (*value).into());
        }
        let steps = vec![quarter];
        shop.release = Some(table([
            ("steps", steps.into()),
            ("judge", table([]).into()),
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
    let mut stage = stage(Way::Nat, &[("hold", "evidence"), ("at_most", "5m")])?;
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

#[test]
fn a_candidate_that_refuses_everybody_is_taken_back_at_once() -> Result<()> {
    let mut stage = stage(Way::Nat, &[("hold", "10m")])?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    // Nobody listens at v2 any more.
    stage.servers.truncate(2);
    let begun = Instant::now();
    stage.serin("start shop")?;
    let (release, took) = ended(&stage, begun)?;
    let explained = explain(&stage)?;
    println!("after {took:?}: {}\n{explained}", release["reason"]);

    assert_eq!(release["state"], "aborted", "{release}\n{explained}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());
    Ok(())
}

#[test]
fn a_candidate_that_is_silent_is_left_by_the_breaker() -> Result<()> {
    let stage = stage(Way::Nat, &[("hold", "10m")])?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    for backend in &stage.lab.backends[2..] {
        backend.namespace.ip(&format!("link set {UPLINK} down"))?;
    }
    let begun = Instant::now();
    stage.serin("start shop")?;
    let (release, took) = ended(&stage, begun)?;
    println!("after {took:?}: {}", release["reason"]);

    let reason = release["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("the breaker: "), "{release}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    Ok(())
}

#[test]
fn without_traffic_the_judge_can_not_tell_and_the_release_waits() -> Result<()> {
    let stage = stage(Way::L2, &[("hold", "1s")])?;
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
