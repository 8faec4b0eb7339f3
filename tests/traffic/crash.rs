//! The daemon may die at any moment: packets fare as before, and its successor goes on from there.

use std::{
    process::Output,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use serin_tests::{config::Attach, deadline};

use crate::{
    crowd::Crowd,
    report::find,
    stage::{Stage, Way, words},
};

in_both_modes!(a_stopped_daemon_leaves_the_data_plane_and_a_new_one_reports_the_same);

/// In turn; each is an order that changes something.
const ORDERS: [&str; 5] = [
    "share shop 30%",
    "weight shop b1 3",
    "share shop 60%",
    "cutover shop",
    "cutover shop --to blue",
];
const KILLS: u64 = 20;
/// An order takes about 4 ms; the moments of death are spread over twice that.
const SPREAD: Duration = Duration::from_millis(8);

const MAPPING: [&str; 4] = ["active", "candidate", "share_ppm", "epoch"];
const COUNTERS: [&str; 5] = [
    "packets",
    "bytes",
    "connections",
    "reply_packets",
    "reply_bytes",
];

#[test]
fn a_daemon_killed_at_any_moment_of_any_order_harms_nobody() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    for (number, order) in (0..KILLS).zip(ORDERS.iter().cycle()) {
        let before = stage.status()?;
        let done = kill_during(&mut stage, order, number)?;
        let orphaned = crowd.round()?;
        stage.daemon.start(&stage.lab)?;
        let after = stage.status()?;
        let adopted = crowd.round()?;

        assert_eq!(orphaned, adopted, "{order}: the new daemon moved users");
        assert_counters_grew(&before, &after);
        assert_old_or_new(order, &done, &before, &after);
        assert_eq!(
            adopted.on("v2").is_empty(),
            share_of_v2(&after) == 0,
            "{order}: {after}"
        );
    }
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// Kills the daemon while it carries an order out, at another moment each time.
fn kill_during(stage: &mut Stage, order: &str, number: u64) -> Result<Output> {
    // A fixed sequence that looks random: multiples of the golden ratio, modulo one.
    let part = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    let moment = SPREAD.mul_f64(f64::from(part) / f64::from(u32::MAX));
    let (daemon, words) = (&mut stage.daemon, words(order));
    let mut asking = daemon.spawn(&words)?;
    let began = Instant::now();
    while began.elapsed() < moment {
        thread::yield_now();
    }
    daemon.kill()?;
    deadline::until("the order to end", Duration::from_secs(5), || {
        Ok(asking.try_wait()?.map(drop))
    })?;
    asking.wait_with_output().context("waiting for an order")
}

/// An order that has succeeded is in force; any other is in force as a whole, or not at all.
fn assert_old_or_new(order: &str, done: &Output, before: &Value, after: &Value) {
    let wanted = wanted(order, before);
    let is = summary(after);
    if done.status.success() {
        assert_eq!(is, wanted, "{order} had returned");
    } else {
        assert!(is == wanted || is == summary(before), "{order}: {is:?}");
    }
}

/// Active pool, share in parts per million, and weight of b1.
type Summary = (String, u64, u64);

fn summary(status: &Value) -> Summary {
    let text = status["active"].as_str().unwrap_or_default().to_owned();
    let weight = find(status, "b1").and_then(|b1| b1["weight"].as_u64());
    let share = status["share_ppm"].as_u64();
    (text, share.unwrap_or(u64::MAX), weight.unwrap_or(u64::MAX))
}

fn wanted(order: &str, before: &Value) -> Summary {
    let (active, share, weight) = summary(before);
    match order {
        "share shop 30%" => (active, 300_000, weight),
        "share shop 60%" => (active, 600_000, weight),
        "weight shop b1 3" => (active, share, 3),
        "cutover shop" => ("green".to_owned(), 0, weight),
        _ => ("blue".to_owned(), 0, weight),
    }
}

fn share_of_v2(status: &Value) -> u64 {
    match (status["active"].as_str(), status["share_ppm"].as_u64()) {
        (Some("green"), Some(share)) => 1_000_000 - share,
        (_, share) => share.unwrap_or(0),
    }
}

fn assert_counters_grew(before: &Value, after: &Value) {
    for name in ["b1", "b2", "g1", "g2"] {
        for key in COUNTERS {
            let count = |status| find(status, name).and_then(|backend| backend[key].as_u64());
            assert!(count(before) <= count(after), "{key} of {name} went back");
        }
    }
}

fn a_stopped_daemon_leaves_the_data_plane_and_a_new_one_reports_the_same(
    attach: Attach,
) -> Result<()> {
    let mut stage = Stage::set(Way::Nat, attach)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("share shop 30%")?;
    stage.serin("weight shop g1 4")?;
    let before = stage.status()?;
    let with_daemon = crowd.round()?;

    stage.daemon.terminate()?;
    let without_daemon = crowd.round()?;
    stage.daemon.start(&stage.lab)?;
    let after = stage.status()?;

    assert_eq!(with_daemon, without_daemon);
    for key in MAPPING {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(
        find(&after, "g1").map(|g1| g1["weight"].clone()),
        Some(4.into())
    );
    assert_counters_grew(&before, &after);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn a_restart_puts_its_own_program_in_place_without_a_gap() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    let first = program_ids(&stage)?;
    for _ in 0..5 {
        stage.daemon.terminate()?;
        stage.daemon.start(&stage.lab)?;
    }
    let last = program_ids(&stage)?;

    crowd.disperse()?.assert_unharmed();
    assert!(
        first.iter().zip(&last).all(|(first, last)| first < last),
        "{first:?} {last:?}"
    );
    assert!(
        last.iter().all(|id| *id == last[0]),
        "one program on all interfaces: {last:?}"
    );
    Ok(())
}

/// The program on each of the edge's interfaces.
fn program_ids(stage: &Stage) -> Result<Vec<u64>> {
    let links = stage.lab.edge.links()?;
    let id = |name: &String| {
        let link = links.iter().find(|link| link["ifname"] == **name);
        link.and_then(|link| link["xdp"]["prog"]["id"].as_u64())
    };
    let ids: Option<Vec<u64>> = stage.lab.edge_interfaces.iter().map(id).collect();
    ids.with_context(|| format!("an interface has no program: {links:?}"))
}

#[test]
fn a_second_daemon_is_refused_and_changes_nothing() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("share shop 30%")?;
    let users = crowd.round()?;
    let (before, programs) = (stage.status()?, program_ids(&stage)?);

    let same = attempt(&stage, |_| ())?;
    let same_pins = attempt(&stage, |config| config.api.socket.push('2'))?;
    let same_socket = attempt(&stage, |config| config.node.pins.push('2'))?;

    for (refused, object) in [
        (same, &stage.daemon.config.api.socket),
        (same_pins, &stage.daemon.config.node.pins),
        (same_socket, &stage.daemon.config.api.socket),
    ] {
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert_eq!(said.matches("serin: ").count(), 1, "{said}");
        assert!(said.contains(object) && said.contains("stop it"), "{said}");
    }
    let after = stage.status()?;
    assert_eq!(
        MAPPING.map(|key| &before[key]),
        MAPPING.map(|key| &after[key])
    );
    assert_eq!(program_ids(&stage)?, programs);
    assert_eq!(crowd.round()?, users);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// Starts another daemon by a changed copy of the config.
fn attempt(stage: &Stage, change: impl FnOnce(&mut serin_tests::config::Config)) -> Result<Output> {
    let mut config = stage.daemon.config.clone();
    change(&mut config);
    let file = stage.daemon.config_path().with_file_name("second.toml");
    std::fs::write(&file, config.text())?;
    let output = stage.daemon.attempt(&stage.lab, &file, &[])?;
    ensure!(!output.status.success());
    Ok(output)
}
