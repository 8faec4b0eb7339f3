//! Audiences while a release ramps, while the file changes, and over a take-over.

use std::{collections::BTreeSet, fs, net::IpAddr, path::PathBuf};

use anyhow::{Context, Error, Result};
use lb_common::maps::ABI_VERSION;
use serde_json::Value;
use serin_tests::{
    client::{self, Connection},
    config::Attach,
};

use crate::{
    audience::{audience, is_staff, staff, table},
    crowd::{Crowd, Users},
    stage::{Stage, VIPS, Way, user},
};

/// All users of both families.
const EVERYBODY: [&str; 2] = ["10.71.0.0/16", "fd71::/48"];

/// An audience with an answer of its own.
fn named(name: &str, answer: (&str, toml::Value), sources: &[&str]) -> toml::Table {
    let sources: Vec<String> = sources.iter().map(|&source| source.to_owned()).collect();
    table([("name", name.into()), answer, ("sources", sources.into())])
}

fn on_staff(users: &Users, version: &str) -> BTreeSet<IpAddr> {
    users.on(version).into_iter().filter(is_staff).collect()
}

fn off_staff(users: &Users, version: &str) -> BTreeSet<IpAddr> {
    let others = users.on(version).into_iter();
    others.filter(|user| !is_staff(user)).collect()
}

#[test]
fn a_ramp_goes_on_beside_its_audiences() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("share shop 30%")?;
    let crowd = Crowd::gather(&stage.lab)?;
    let before = crowd.round()?;
    let drawn = off_staff(&before, "v2");
    assert!(drawn.len() > 50, "{}", drawn.len());

    stage.shop().audience = vec![audience(&staff())];
    stage.apply()?;
    let judged = crowd.round()?;
    assert_eq!(on_staff(&judged, "v1"), BTreeSet::new());
    assert_eq!(off_staff(&judged, "v2"), drawn);

    stage.serin("share shop 60%")?;
    let wider = crowd.round()?;
    assert_eq!(on_staff(&wider, "v1"), BTreeSet::new());
    assert!(off_staff(&wider, "v2").is_superset(&drawn));
    assert!(off_staff(&wider, "v2").len() > drawn.len());

    stage.shop().audience = vec![named("staff", ("pool", "active".into()), &EVERYBODY)];
    stage.apply()?;
    assert_eq!(crowd.round()?.on("v2"), BTreeSet::new(), "nobody gets it");
    stage.shop().audience = vec![];
    stage.apply()?;
    let again = crowd.round()?;
    assert_eq!(off_staff(&again, "v2"), off_staff(&wider, "v2"));
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn the_first_audience_wins_in_whatever_order_they_are() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("share shop 0%")?;
    let crowd = Crowd::gather(&stage.lab)?;
    let everybody = || named("everybody", ("share", "20%".into()), &EVERYBODY);

    stage.shop().audience = vec![audience(&staff()), everybody()];
    stage.apply()?;
    let staff_first = crowd.round()?;
    assert_eq!(on_staff(&staff_first, "v1"), BTreeSet::new());
    let drawn = off_staff(&staff_first, "v2");
    assert!((20..140).contains(&drawn.len()), "{}", drawn.len());

    stage.shop().audience = vec![everybody(), audience(&staff())];
    stage.apply()?;
    let all_alike = crowd.round()?;
    assert_ne!(on_staff(&all_alike, "v1"), BTreeSet::new());
    assert_eq!(off_staff(&all_alike, "v2"), drawn);

    stage.shop().audience = vec![audience(&staff()), everybody()];
    stage.apply()?;
    assert_eq!(crowd.round()?, staff_first);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// The counted connections of each audience.
fn counted(stage: &Stage) -> Result<Vec<(String, u64)>> {
    let status = stage.status()?;
    let audiences = status["audiences"].as_array().context("audiences")?;
    let of = |audience: &Value| {
        let name = audience["name"].as_str().context("a name")?;
        let connections = audience["connections"].as_u64().context("a count")?;
        Ok((name.to_owned(), connections))
    };
    audiences.iter().map(of).collect()
}

#[test]
fn each_audience_counts_its_own_connections_and_no_others() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let everybody = named("everybody", ("share", "20%".into()), &EVERYBODY);
    stage.shop().audience = vec![audience(&staff()), everybody];
    stage.apply()?;
    stage.serin("share shop 0%")?;
    let at = |staff: u64, everybody: u64| {
        [
            ("staff".to_owned(), staff),
            ("everybody".to_owned(), everybody),
        ]
    };
    assert_eq!(counted(&stage)?, at(0, 0));
    for vip in VIPS {
        // The first three are staff.
        for number in [0, 7, 29, 40, 100, 150, 199] {
            let answer = client::get(&stage.lab.clients, user(number, vip), vip);
            answer.map_err(Error::msg)?;
        }
    }
    assert_eq!(counted(&stage)?, at(6, 8));
    Ok(())
}

/// Makes the data plane one of the ABI before, and starts this build on it.
fn take_over(stage: &mut Stage) -> Result<()> {
    stage.daemon.terminate()?;
    let pins = PathBuf::from(&stage.daemon.config.node.pins);
    let version = |abi| pins.join(format!("v{abi}"));
    fs::rename(version(ABI_VERSION), version(ABI_VERSION - 1))?;
    stage.daemon.start(&stage.lab)
}

#[test]
fn a_take_over_carries_what_audiences_and_sources_have_had() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let limit = [("syn_per_second", 1.into()), ("syn_burst", 60.into())];
    stage.daemon.config.node.protect = Some(table(limit));
    stage.shop().audience = vec![audience(&staff())];
    stage.apply()?;
    stage.serin("share shop 0%")?;
    let vip = VIPS[0];
    for _ in 0..60 {
        client::get(&stage.lab.clients, user(7, vip), vip).map_err(Error::msg)?;
    }
    assert_eq!(counted(&stage)?, [("staff".to_owned(), 60)]);

    take_over(&mut stage)?;

    assert_eq!(counted(&stage)?, [("staff".to_owned(), 60)]);
    // As many as it may have within a new burst.
    for _ in 0..50 {
        if is_one_too_many(&stage)? {
            return Ok(());
        }
    }
    panic!("the source has its burst again");
}

/// Whether the source's next connection is more than it may have.
fn is_one_too_many(stage: &Stage) -> Result<bool> {
    let limited = |stage: &Stage| -> Result<u64> {
        let status = stage.serin("status")?;
        status["reasons"]["syn_limited"].as_u64().context("a count")
    };
    let before = limited(stage)?;
    let _answer = client::get(&stage.lab.clients, user(7, VIPS[0]), VIPS[0]);
    Ok(limited(stage)? > before)
}

#[test]
fn connections_that_were_silent_since_an_audience_came_outlast_a_take_over() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.shop().audience = vec![named(
        "few",
        ("pool", "candidate".into()),
        &["10.71.9.0/24"],
    )];
    stage.apply()?;
    stage.serin("share shop 0%")?;
    let mut silent = Vec::new();
    for vip in VIPS {
        for number in 0..10 {
            let source = (user(number, vip), 0).into();
            let opened = Connection::open(&stage.lab.clients, source, vip);
            let mut connection = opened.map_err(Error::msg)?;
            let answer = connection.ask().map_err(Error::msg)?;
            assert_eq!(answer.version, "v1");
            silent.push((connection, answer.backend));
        }
    }
    stage.shop().audience.push(audience(&staff()));
    stage.apply()?;

    take_over(&mut stage)?;

    for (connection, backend) in &mut silent {
        assert_eq!(connection.ask().map_err(Error::msg)?.backend, *backend);
    }
    for vip in VIPS {
        let new = client::get(&stage.lab.clients, user(3, vip), vip);
        assert_eq!(new.map_err(Error::msg)?.version, "v2");
    }
    Ok(())
}
