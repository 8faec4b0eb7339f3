//! `drain`, `maint` and `ready`: what a backend's operator may ask, under live connections.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serin_tests::{client::Connection, config::Attach, failure::Failure, syns::SynRecorder};

use crate::{
    crowd::Crowd,
    report::find,
    stage::{Stage, VIPS, Way, user, words},
};

in_both_modes!(
    a_drained_backend_keeps_its_connections_and_gets_no_new_ones,
    a_nat_backend_in_maint_resets_its_live_connections_at_once,
    an_l2_backend_in_maint_resets_its_live_connections_at_once,
);

fn a_drained_backend_keeps_its_connections_and_gets_no_new_ones(attach: Attach) -> Result<()> {
    let stage = Stage::set(Way::Nat, attach)?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    stage.serin("drain shop b1")?;
    let syns = SynRecorder::start(&stage.lab.backends[0].namespace)?;
    let drained = crowd.spread()?;
    let late = syns.seen();
    stage.serin("ready shop b1")?;
    let ready = crowd.spread()?;

    assert_eq!(drained.keys().collect::<Vec<_>>(), ["b2"]);
    assert_eq!(late, []);
    assert_eq!(ready.keys().collect::<Vec<_>>(), ["b1", "b2"]);
    let story = crowd.disperse()?;
    story.assert_unharmed();
    let kept = story.all().filter(|request| request.keep_alive);
    let homes: BTreeSet<_> = kept
        .filter_map(|request| Some(request.outcome.as_ref().ok()?.backend.as_str()))
        .collect();
    assert_eq!(homes, ["b1", "b2"].into(), "long connections on both");
    Ok(())
}

fn a_nat_backend_in_maint_resets_its_live_connections_at_once(attach: Attach) -> Result<()> {
    maint_resets(Way::Nat, attach)
}

fn an_l2_backend_in_maint_resets_its_live_connections_at_once(attach: Attach) -> Result<()> {
    maint_resets(Way::L2, attach)
}

fn maint_resets(way: Way, attach: Attach) -> Result<()> {
    let stage = Stage::set(way, attach)?;
    for vip in VIPS {
        let mut on_b1 = connection_to(&stage, "b1", vip)?;
        let mut on_b2 = connection_to(&stage, "b2", vip)?;

        stage.serin("maint shop b1")?;
        let asked = Instant::now();
        let cut = on_b1.ask();
        let took = asked.elapsed();
        let other = on_b2.ask();
        stage.serin("ready shop b1")?;

        assert_eq!(cut, Err(Failure::Reset));
        assert!(took < Duration::from_millis(500), "silence for {took:?}");
        assert_eq!(other.map(|answer| answer.backend), Ok("b2".to_owned()));
        assert!(connection_to(&stage, "b1", vip).is_ok(), "ready again");
    }
    Ok(())
}

/// A connection that this backend has answered already.
fn connection_to(stage: &Stage, backend: &str, vip: SocketAddr) -> Result<Connection> {
    let mut candidates = (0..200).filter_map(|number| {
        let source = SocketAddr::new(user(number, vip), 0);
        let mut connection = Connection::open(&stage.lab.clients, source, vip).ok()?;
        let answer = connection.ask().ok()?;
        (answer.backend == backend).then_some(connection)
    });
    let found = candidates.next();
    found.with_context(|| format!("none of 200 connections came to {backend}"))
}

#[test]
fn maint_cuts_connections_that_an_earlier_change_has_pinned() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let vip = VIPS[0];
    let mut connection = connection_to(&stage, "b1", vip)?;
    stage.serin("cutover shop")?;
    let pinned = connection.ask();

    stage.serin("maint shop b1")?;
    let cut = connection.ask();

    assert_eq!(pinned.map(|answer| answer.backend), Ok("b1".to_owned()));
    assert_eq!(cut, Err(Failure::Reset));
    Ok(())
}

#[test]
fn the_last_ready_backend_of_a_serving_pool_is_not_given_up() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("drain shop b2")?;
    let before = stage.status()?;

    for order in ["drain shop b1", "maint shop b1", "weight shop b1 0"] {
        let refused = stage.daemon.output(&words(order))?;
        let said = String::from_utf8_lossy(&refused.stderr);

        assert_eq!(refused.status.code(), Some(1), "{order}: {said}");
        assert!(said.contains("`b1`") && said.contains("`blue`"), "{said}");
    }
    let after = stage.status()?;
    assert_eq!(find(&after, "b1"), find(&before, "b1"));
    assert_eq!(after["epoch"], before["epoch"]);
    Ok(())
}

#[test]
fn a_pool_without_ready_backends_is_given_no_users() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("drain shop g1")?;
    stage.serin("maint shop g2")?;

    for order in ["share shop 5%", "cutover shop"] {
        let refused = stage.daemon.output(&words(order))?;
        let said = String::from_utf8_lossy(&refused.stderr);

        assert_eq!(refused.status.code(), Some(1), "{order}: {said}");
        assert!(
            said.contains("pool `green`") && said.contains("serin ready"),
            "{said}"
        );
    }
    Ok(())
}
