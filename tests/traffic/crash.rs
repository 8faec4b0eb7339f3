//! The daemon may die at any moment: packets fare as before, and its successor goes on from there.

use std::{
    process::Output,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;
use serin_tests::{config::Attach, deadline};

use crate::{
    crowd::Crowd,
    report::{assert_counters_grew, find},
    stage::{Stage, Way, words},
};

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
        "cutover shop" => (other(&active), 0, weight),
        _ => ("blue".to_owned(), 0, weight),
    }
}

/// The pool that a cutover goes to when none is named.
fn other(active: &str) -> String {
    let other = if active == "blue" { "green" } else { "blue" };
    other.to_owned()
}

fn share_of_v2(status: &Value) -> u64 {
    match (status["active"].as_str(), status["share_ppm"].as_u64()) {
        (Some("green"), Some(share)) => 1_000_000 - share,
        (_, share) => share.unwrap_or(0),
    }
}
