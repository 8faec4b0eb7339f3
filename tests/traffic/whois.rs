//! What `serin whois` says of a client is what happens to it.

use std::net::SocketAddr;

use anyhow::{Context as _, Error, Result};
use serin_tests::{client::Connection, config::Attach};

use crate::{
    audience,
    stage::{Stage, VIPS, Way, user, words},
};

/// Clients of each family.
const CLIENTS: u32 = 20;
const PORT: u16 = 40_000;

in_both_modes!(
    a_client_reaches_the_backend_that_whois_names,
    a_kept_connection_is_told_from_a_new_one,
);

fn a_client_reaches_the_backend_that_whois_names(attach: Attach) -> Result<()> {
    for way in [Way::Nat, Way::L2] {
        let stage = Stage::set(way, attach)?;
        stage.serin("share shop 40%")?;
        let before = stage.status()?;
        for vip in VIPS {
            for number in 0..CLIENTS {
                let client = SocketAddr::new(user(number, vip), PORT);
                let told = whois(&stage, client, vip, "--syn")?;
                let mut connection = open(&stage, client, vip)?;
                assert_eq!(ask(&mut connection)?, told, "{client}");
            }
        }
        let (before, after) = (connections(&before), connections(&stage.status()?));
        assert_eq!(
            after - before,
            u64::from(CLIENTS) * 2,
            "questions don't count"
        );
    }
    Ok(())
}

fn a_kept_connection_is_told_from_a_new_one(attach: Attach) -> Result<()> {
    let stage = Stage::set(Way::Nat, attach)?;
    for vip in VIPS {
        let client = SocketAddr::new(user(7, vip), PORT);
        let mut kept = open(&stage, client, vip)?;
        let name = ask(&mut kept)?;
        stage.serin("cutover shop")?;
        assert_eq!(whois(&stage, client, vip, "--established")?, name);
        assert_ne!(whois(&stage, client, vip, "--syn")?, name);
        assert_eq!(ask(&mut kept)?, name);
        stage.serin("rollback shop")?;
    }
    Ok(())
}

fn open(stage: &Stage, client: SocketAddr, vip: SocketAddr) -> Result<Connection> {
    Connection::open(&stage.lab.clients, client, vip).map_err(Error::msg)
}

/// The backend that answers.
fn ask(connection: &mut Connection) -> Result<String> {
    Ok(connection.ask().map_err(Error::msg)?.backend)
}

/// The backend's name.
fn whois(stage: &Stage, client: SocketAddr, vip: SocketAddr, packet: &str) -> Result<String> {
    let line = format!("whois shop {client} --listener tcp://{vip} {packet}");
    let answer = stage.serin(&line)?;
    let name = answer["backend"]["name"].as_str();
    Ok(name.with_context(|| answer.to_string())?.to_owned())
}

fn connections(status: &serde_json::Value) -> u64 {
    let pools = status["pools"].as_array().into_iter().flatten();
    let backends = pools.flat_map(|pool| pool["backends"].as_array().into_iter().flatten());
    backends
        .filter_map(|backend| backend["connections"].as_u64())
        .sum()
}

#[test]
fn an_audience_is_told_by_name_and_share() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("share shop 0%")?;
    stage.shop().audience = vec![
        audience::audience(&audience::staff()),
        audience::table([
            ("name", "probes".into()),
            ("share", "50%".into()),
            (
                "source_ports",
                vec![toml::Value::from(i64::from(PORT))].into(),
            ),
        ]),
        audience::table([
            ("name", "marked".into()),
            ("pool", "candidate".into()),
            ("dscp", "ef".into()),
            ("vlan", 12.into()),
            ("ttl", 57.into()),
            ("mss", 1200.into()),
        ]),
    ];
    stage.apply()?;
    let asked = |number, port, vip: SocketAddr, marks: &str| -> Result<_> {
        let client = SocketAddr::new(user(number, vip), port);
        let line = format!("whois shop {client} --listener tcp://{vip} --syn {marks}");
        let answer = stage.serin(line.trim_end())?;
        Ok((answer["audience"].clone(), answer["share_ppm"].clone()))
    };
    let told = |number, port, vip| asked(number, port, vip, "");
    for vip in VIPS {
        assert_eq!(told(7, PORT, vip)?, ("staff".into(), 1_000_000.into()));
        assert_eq!(told(100, PORT, vip)?, ("probes".into(), 500_000.into()));
        assert_eq!(
            told(100, PORT + 1, vip)?,
            (serde_json::Value::Null, 0.into())
        );
        let marked = |rest| asked(100, PORT + 1, vip, &format!("--dscp ef --ttl 57 {rest}"));
        assert_eq!(
            marked("--vlan 12 --mss 1200")?,
            ("marked".into(), 1_000_000.into())
        );
        assert_eq!(marked("--vlan 12")?, (serde_json::Value::Null, 0.into()));
        let client = SocketAddr::new(user(7, vip), PORT);
        let line = format!("whois shop {client} --listener tcp://{vip}");
        let said = stage.daemon.output(&words(&line))?.stdout;
        let said = String::from_utf8_lossy(&said);
        let line = "  audience  staff: 100% to the candidate\n";
        assert!(said.contains(line), "{said}");
    }
    Ok(())
}
