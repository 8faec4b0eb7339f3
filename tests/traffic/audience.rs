//! Audiences and protection, with real clients.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serin_tests::{client, config::Attach, failure::Failure};

use crate::{
    crowd::{Crowd, Users},
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(staff_get_the_candidate_and_nobody_else_notices,);

/// Thirty-one users of each family.
const STAFF: [&str; 2] = ["10.71.1.0/27", "fd71::/59"];

pub fn is_staff(user: &IpAddr) -> bool {
    match user {
        IpAddr::V4(v4) => v4.octets()[..3] == [10, 71, 1] && v4.octets()[3] < 32,
        IpAddr::V6(v6) => v6.segments()[3] < 32,
    }
}

pub fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Table {
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

pub fn audience(sources: &[String]) -> toml::Table {
    table([
        ("name", "staff".into()),
        ("pool", "candidate".into()),
        ("sources", sources.to_vec().into()),
    ])
}

pub fn staff() -> Vec<String> {
    STAFF.map(str::to_owned).to_vec()
}

pub fn assert_staff_alone(users: &Users) {
    let (old, new) = (users.on("v1"), users.on("v2"));
    let expected: BTreeSet<IpAddr> = old.union(&new).copied().filter(is_staff).collect();
    assert_eq!(new, expected);
    assert!(
        expected.len() >= 60,
        "only {} users are staff",
        expected.len()
    );
}

fn staff_get_the_candidate_and_nobody_else_notices(attach: Attach) -> Result<()> {
    let mut stage = Stage::set(Way::Nat, attach)?;
    stage.serin("share shop 0%")?;
    let crowd = Crowd::gather(&stage.lab)?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());

    stage.shop().audience = vec![audience(&staff())];
    stage.apply()?;
    assert_staff_alone(&crowd.round()?);
    let status = stage.status()?;
    let counted = &status["audiences"][0];
    assert_eq!(counted["name"], "staff");
    assert!(counted["connections"].as_u64() >= Some(60), "{counted}");

    stage.shop().audience.clear();
    stage.apply()?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());
    // The kept connections of staff began at v1, and some of them while staff were on v2.
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn a_rollback_takes_the_staff_off_the_candidate_as_well() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.shop().audience = vec![audience(&staff())];
    stage.apply()?;
    let crowd = Crowd::gather(&stage.lab)?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new(), "no candidate yet");

    stage.serin("share shop 0%")?;
    assert_staff_alone(&crowd.round()?);
    stage.serin("rollback shop")?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new());
    stage.serin("share shop 0%")?;
    assert_staff_alone(&crowd.round()?);
    stage.serin("cutover shop")?;
    assert_eq!(crowd.round()?.on("v1"), BTreeSet::new(), "staff included");
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn a_hundred_thousand_prefixes_are_applied_without_losing_a_packet() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("share shop 0%")?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    let mut sources = staff();
    sources.extend((0..100_000_u32).map(|number| {
        let [_, a, b, c] = number.to_be_bytes();
        if number.is_multiple_of(2) {
            format!("{}.{b}.{c}.0/24", 20 + a)
        } else {
            format!("2400:{a:x}:{b:x}{c:02x}::/48")
        }
    }));
    stage.shop().audience = vec![audience(&sources)];

    let began = Instant::now();
    stage.apply()?;
    let took = began.elapsed();

    assert_staff_alone(&crowd.round()?);
    crowd.disperse()?.assert_unharmed();
    println!(
        "serin apply with 100 000 prefixes took {} ms",
        took.as_millis()
    );
    assert!(took < Duration::from_secs(15), "{took:?}");
    Ok(())
}

#[test]
fn audiences_outlast_the_daemon() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.shop().audience = vec![audience(&staff())];
    stage.apply()?;
    stage.serin("share shop 0%")?;
    let crowd = Crowd::gather(&stage.lab)?;
    assert_staff_alone(&crowd.round()?);
    let connections = |stage: &Stage| -> Result<u64> {
        let status = stage.status()?;
        status["audiences"][0]["connections"]
            .as_u64()
            .context("a count")
    };
    let before = connections(&stage)?;
    stage.daemon.kill()?;
    assert_staff_alone(&crowd.round()?);
    stage.daemon.start(&stage.lab)?;
    assert_staff_alone(&crowd.round()?);
    assert!(connections(&stage)? > before);
    let dry = stage.serin("apply --dry-run")?;
    assert_eq!(
        dry["writes"],
        serde_json::json!([]),
        "the maps are as the file says"
    );
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// How often packets left by a reason.
fn counted(stage: &Stage, reason: &str) -> Result<u64> {
    let status = stage.serin("status")?;
    status["reasons"][reason].as_u64().context("a counter")
}

fn get(stage: &Stage, number: u32, vip: SocketAddr) -> Result<(), Failure> {
    client::get(&stage.lab.clients, user(number, vip), vip).map(drop)
}

#[test]
fn a_denied_client_meets_silence_until_it_is_no_more() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let deny = VIPS.map(|vip| user(7, vip).to_string());
    stage.daemon.config.node.protect = Some(table([("deny", deny.to_vec().into())]));
    stage.apply()?;
    for vip in VIPS {
        assert_eq!(get(&stage, 7, vip), Err(Failure::TimedOut), "{vip}");
        assert_eq!(get(&stage, 8, vip), Ok(()), "{vip}");
    }
    assert!(counted(&stage, "denied")? >= 2);
    stage.daemon.config.node.protect = None;
    stage.apply()?;
    for vip in VIPS {
        assert_eq!(get(&stage, 7, vip), Ok(()), "{vip}");
    }
    Ok(())
}

#[test]
fn a_client_that_connects_too_often_is_slowed_down_and_others_are_not() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let limit = [("syn_per_second", 1.into()), ("syn_burst", 3.into())];
    stage.daemon.config.node.protect = Some(table(limit));
    stage.apply()?;
    for vip in VIPS {
        let before = counted(&stage, "syn_limited")?;
        for _ in 0..3 {
            assert_eq!(get(&stage, 7, vip), Ok(()));
        }
        assert_eq!(counted(&stage, "syn_limited")?, before, "within its burst");
        // The kernel repeats a SYN after a second, by when one more is earned.
        let began = Instant::now();
        assert_eq!(get(&stage, 7, vip), Ok(()));
        assert!(
            began.elapsed() > Duration::from_millis(500),
            "{:?}",
            began.elapsed()
        );
        assert!(counted(&stage, "syn_limited")? > before);
        let others = Instant::now();
        for number in 20..30 {
            assert_eq!(get(&stage, number, vip), Ok(()));
        }
        assert!(others.elapsed() < Duration::from_millis(900));
    }
    Ok(())
}
