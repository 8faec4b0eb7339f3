//! Audiences by country, out of a database file: refused whole, and taken again when the file is
//! another.

use std::{collections::BTreeSet, fs, net::IpAddr, path::PathBuf};

use anyhow::Result;
use ipnet::IpNet;
use serin_tests::{
    config::Attach,
    mmdb::{Fact, database},
};

use crate::{
    audience::{is_staff, staff, table},
    crowd::{Crowd, Users},
    stage::{Stage, Way},
};

fn from(country: &str) -> toml::Table {
    table([
        ("name", "there".into()),
        ("pool", "candidate".into()),
        ("country", vec![country.to_owned()].into()),
    ])
}

/// Says that staff are in one country and all others in another.
fn write(file: &PathBuf, of_staff: &str, of_others: &str) -> Result<()> {
    let net = |text: &str| text.parse::<IpNet>();
    let mut facts = vec![
        (net("10.71.0.0/16")?, Fact::Country(of_others)),
        (net("fd71::/48")?, Fact::Country(of_others)),
    ];
    for prefix in staff() {
        facts.push((net(&prefix)?, Fact::Country(of_staff)));
    }
    Ok(fs::write(file, database(&facts))?)
}

fn are_staff(users: &Users) -> [BTreeSet<bool>; 2] {
    let kinds = |version| -> BTreeSet<bool> {
        let users: BTreeSet<IpAddr> = users.on(version);
        users.iter().map(is_staff).collect()
    };
    [kinds("v1"), kinds("v2")]
}

#[test]
fn another_database_counts_from_the_next_apply() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("share shop 0%")?;
    let crowd = Crowd::gather(&stage.lab)?;
    let file = stage.daemon.config_path().with_file_name("places.mmdb");
    write(&file, "DE", "FR")?;
    stage.daemon.config.node.geoip = vec![file.display().to_string()];
    stage.shop().audience = vec![from("DE")];
    stage.apply()?;
    assert_eq!(are_staff(&crowd.round()?), [[false].into(), [true].into()]);

    write(&file, "FR", "DE")?;
    assert_eq!(are_staff(&crowd.round()?), [[false].into(), [true].into()]);
    stage.serin("apply")?;
    assert_eq!(are_staff(&crowd.round()?), [[true].into(), [false].into()]);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn a_bad_prefix_or_database_changes_nothing_and_is_named() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("share shop 0%")?;
    let crowd = Crowd::gather(&stage.lab)?;
    let file = stage.daemon.config_path().with_file_name("places.mmdb");
    write(&file, "DE", "FR")?;
    stage.daemon.config.node.geoip = vec![file.display().to_string()];
    stage.shop().audience = vec![from("DE")];
    stage.apply()?;
    let before = crowd.round()?;

    fs::remove_file(&file)?;
    let database = format!("database {}: can't be used", file.display());
    refuses(
        &stage,
        [&database, "name a readable MaxMind DB file in `geoip`"],
    )?;
    fs::write(&file, "no database")?;
    refuses(
        &stage,
        [&database, "name a readable MaxMind DB file in `geoip`"],
    )?;
    write(&file, "ES", "FR")?;
    let nowhere = "audience `there`: no database has a network of country DE";
    refuses(&stage, [nowhere, "add a database to node.geoip"])?;
    stage.shop().audience = vec![table([
        ("name", "odd".into()),
        ("pool", "candidate".into()),
        ("sources", vec!["10.71.1.0/33".to_owned()].into()),
    ])];
    stage.daemon.write_config()?;
    refuses(&stage, ["audience `odd`", "10.71.1.0/33"])?;

    assert_eq!(crowd.round()?, before);
    assert_eq!(stage.status()?["audiences"][0]["name"], "there");
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

fn refuses(stage: &Stage, words: [&str; 2]) -> Result<()> {
    let refused = stage.daemon.output(&["apply"])?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    Ok(())
}
