//! Countries and AS numbers of a configuration, out of database files.

use std::{fs, path::Path};

use anyhow::Result;
use ipnet::IpNet;
use lb_userspace::config::Config;
use serin_tests::mmdb::{Fact, database};

fn net(text: &str) -> IpNet {
    text.parse().expect("a literal prefix")
}

/// Two databases, as `MaxMind` sells them: one of countries, one of AS numbers.
fn databases(directory: &Path) -> Result<()> {
    let countries = [
        (net("198.51.100.0/24"), Fact::Country("DE")),
        (net("198.51.100.128/25"), Fact::Country("FR")),
        (net("203.0.113.0/24"), Fact::Country("FR")),
        (net("2001:db8:1::/48"), Fact::Country("DE")),
    ];
    let asns = [
        (net("198.51.100.0/26"), Fact::Asn(64_500)),
        (net("192.0.2.0/24"), Fact::Asn(64_501)),
        (net("2001:db8::/32"), Fact::Asn(64_500)),
    ];
    fs::write(directory.join("country.mmdb"), database(&countries))?;
    fs::write(directory.join("asn.mmdb"), database(&asns))?;
    Ok(())
}

/// Loads a configuration with an audience of these lines.
fn load(directory: &Path, lines: &str) -> Result<Vec<String>, String> {
    let text = format!(
        r#"
[node]
interfaces = ["eth0"]
hash_seed = "sixteen-or-longer"
geoip = ["{0}/country.mmdb", "{0}/asn.mmdb"]
[[service]]
name = "shop"
listen = ["tcp://192.0.2.80:443"]
[[service.pool]]
name = "blue"
backends = [{{ name = "b1", address = "10.0.1.1" }}]
[[service.pool]]
name = "green"
backends = [{{ name = "g1", address = "10.0.2.1" }}]
[[service.audience]]
name = "there"
pool = "candidate"
{lines}
"#,
        directory.display()
    );
    let file = directory.join("serin.toml");
    fs::write(&file, text).map_err(|error| error.to_string())?;
    let config = Config::load(&file).map_err(|error| error.to_string())?;
    let located = config.services[0].audiences[0].located.clone();
    let mut located: Vec<IpNet> = located.expect("it asks for a place").to_vec();
    located.sort();
    Ok(located.iter().map(ToString::to_string).collect())
}

#[test]
fn a_country_is_its_networks_of_both_versions() -> Result<()> {
    let directory = tempfile::tempdir()?;
    databases(directory.path())?;
    let located = load(directory.path(), "country = [\"DE\"]");
    assert_eq!(
        located.expect("valid"),
        ["198.51.100.0/25", "2001:db8:1::/48"]
    );
    let both = load(directory.path(), "country = [\"FR\", \"DE\"]").expect("valid");
    assert_eq!(both.len(), 4);
    Ok(())
}

#[test]
fn country_and_as_number_hold_together() -> Result<()> {
    let directory = tempfile::tempdir()?;
    databases(directory.path())?;
    let both = load(directory.path(), "country = [\"DE\"]\nasn = 64500").expect("valid");
    assert_eq!(both, ["198.51.100.0/26", "2001:db8:1::/48"]);
    Ok(())
}

#[test]
fn a_place_that_no_database_has_is_refused() -> Result<()> {
    let directory = tempfile::tempdir()?;
    databases(directory.path())?;
    for (line, what) in [("country = [\"XX\"]", "country XX"), ("asn = [1]", "AS 1")] {
        let error = load(directory.path(), line).expect_err("nowhere");
        let expected =
            format!("service `shop`: audience `there`: no database has a network of {what}");
        assert!(error.contains(&expected), "{error}");
    }
    Ok(())
}

#[test]
fn a_database_that_is_missing_or_cut_off_is_refused_by_its_name() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let error = load(directory.path(), "country = [\"DE\"]").expect_err("nothing there");
    let named = format!(
        "database {}/country.mmdb: can't be used",
        directory.path().display()
    );
    assert!(error.contains(&named), "{error}");

    databases(directory.path())?;
    let file = directory.path().join("country.mmdb");
    let whole = fs::read(&file)?;
    for length in [0, 1, 100, whole.len() / 2, whole.len() - 40] {
        fs::write(&file, &whole[..length])?;
        let error = load(directory.path(), "country = [\"DE\"]").expect_err("cut off");
        assert!(error.contains(&named), "{length} bytes: {error}");
    }
    Ok(())
}

#[test]
fn databases_are_not_opened_for_audiences_that_ask_for_no_place() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let text = "[node]\ninterfaces = [\"eth0\"]\nhash_seed = \"sixteen-or-longer\"\n\
                geoip = [\"/nowhere/country.mmdb\"]\n";
    let file = directory.path().join("serin.toml");
    fs::write(&file, text)?;
    assert!(Config::load(&file).is_ok());
    Ok(())
}
