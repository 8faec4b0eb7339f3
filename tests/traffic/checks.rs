//! Kinds of checks, against servers that are not ours; backends that flap, and that start slowly.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;
use serin_tests::{
    certificate::{Certificate, HOST},
    config::Attach,
    deadline,
    grpc::{GrpcServer, SERVICE},
    real::Nginx,
    server::Server,
};

use crate::{
    health::{PATIENCE, checked_by, load, spread, wait_for},
    report::{find, of_backend},
    stage::{Stage, Way},
};

/// Where servers answer to checks, beside the one that serves.
const CHECKED: u16 = 9443;
const OFTEN: &str = "interval = \"200ms\", timeout = \"200ms\"";

fn last_words(status: &Value, backend: &str) -> String {
    let why = find(status, backend).map(|backend| &backend["checks"]["why"]);
    why.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn wait_for_words(stage: &Stage, backend: &str, words: &str) -> Result<()> {
    deadline::until(&format!("{backend} to fail by {words}"), PATIENCE, || {
        let said = last_words(&stage.status()?, backend);
        Ok(said.contains(words).then_some(()))
    })
}

#[test]
fn https_checks_of_nginx_follow_its_certificate_and_the_status_that_is_asked_for() -> Result<()> {
    let certificate = Certificate::new()?;
    let authority = certificate.path();
    let health = format!(
        "https = \"/\", host = \"{HOST}\", ca = \"{}\", status = 200, port = {CHECKED}, {OFTEN}",
        authority.display()
    );
    let stage = checked_by(&health, Way::Nat, Attach::Native, 4, "")?;
    let b1 = &stage.lab.backends[0];
    let start = |certificate| Nginx::start_tls(b1, ("v1", "b1"), CHECKED, certificate);
    wait_for_words(&stage, "b1", "refused")?;

    let nginx = start(&certificate)?;
    wait_for(&stage, "b1", "up")?;
    drop(nginx);
    wait_for(&stage, "b1", "down")?;
    let _other = start(&Certificate::new()?)?;
    wait_for_words(&stage, "b1", "invalid peer certificate")?;

    let text = stage.daemon.output(&["status", "shop"])?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    // The address of either family, whichever was asked last.
    let told = ["10.", "[fd72:"].map(|address| format!("b1: last check: {address}"));
    assert!(told.iter().any(|told| text.contains(told)), "{text}");
    assert_eq!(
        find(&stage.status()?, "b1").context("b1")?["health"],
        "down"
    );
    Ok(())
}

#[test]
fn an_unreadable_authority_is_refused_by_name_and_changes_nothing() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let text = stage.daemon.config.text();
    let name = "name = \"blue\"\n";
    let health = "health = { https = \"/\", ca = \"/nonexistent.pem\" }";
    let text = text.replace(name, &format!("{name}{health}\n"));
    std::fs::write(stage.daemon.config_path(), text)?;

    let refused = stage.daemon.output(&["apply"])?;

    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let expected = "pool `blue`: health: /nonexistent.pem: can't be read";
    assert!(said.contains(expected), "{said}");
    assert_eq!(
        find(&stage.status()?, "b1").context("b1")?["health"],
        "unchecked"
    );
    stage.daemon.terminate()
}

#[test]
fn plain_grpc_checks_follow_what_the_server_says_of_its_service() -> Result<()> {
    grpc_checks(None, "")
}

#[test]
fn grpc_checks_over_tls_follow_what_the_server_says_of_its_service() -> Result<()> {
    let certificate = Certificate::new()?;
    let options = format!(
        ", tls = true, host = \"{HOST}\", ca = \"{}\"",
        certificate.path().display()
    );
    grpc_checks(Some(&certificate), &options)
}

fn grpc_checks(certificate: Option<&Certificate>, options: &str) -> Result<()> {
    let health = format!("grpc = \"{SERVICE}\"{options}, port = {CHECKED}, {OFTEN}");
    let stage = checked_by(&health, Way::Nat, Attach::Native, 4, "")?;
    let servers = stage.lab.backends.iter();
    let servers = servers.map(|backend| GrpcServer::start(backend, CHECKED, certificate));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    for name in ["b1", "b2", "g1", "g2"] {
        wait_for(&stage, name, "up")?;
    }
    let load = load(&stage)?;

    servers[0].set_serving(false)?;
    let status = wait_for(&stage, "b1", "down")?;
    let without = spread(&load)?;
    servers[0].set_serving(true)?;
    wait_for(&stage, "b1", "up")?;
    let with = spread(&load)?;
    let log = load.stop()?;

    assert!(
        last_words(&status, "b1").ends_with("gRPC health NOT_SERVING"),
        "{status}"
    );
    assert_eq!(without.keys().collect::<Vec<_>>(), ["b2"]);
    assert_eq!(with.keys().collect::<Vec<_>>(), ["b1", "b2"]);
    // It serves HTTP all along: b2 has reset its connections, few of which were in use just then.
    let short = log.requests.iter().filter(|request| !request.keep_alive);
    assert!(short.filter(|request| request.outcome.is_err()).count() <= 5);
    Ok(())
}

#[test]
fn a_grpc_server_that_does_not_know_the_service_is_down_and_says_why() -> Result<()> {
    let health = format!("grpc = \"shop.Other\", port = {CHECKED}, {OFTEN}");
    let stage = checked_by(&health, Way::Nat, Attach::Native, 4, "")?;
    let _server = GrpcServer::start(&stage.lab.backends[0], CHECKED, None)?;
    wait_for_words(&stage, "b1", "gRPC status 5")
}

#[test]
fn a_flapping_backend_is_held_down_twice_as_long_each_time_and_harms_no_other() -> Result<()> {
    let health = "tcp = true, interval = \"100ms\", timeout = \"100ms\", rise = 2, fall = 2";
    let mut stage = checked_by(health, Way::Nat, Attach::Native, 4, "")?;
    wait_for(&stage, "b1", "up")?;
    let needed = |status: &Value| {
        let checks = &find(status, "b1").expect("b1")["checks"];
        (checks["needed"].as_u64(), checks["flapping"].as_bool())
    };
    let mut held = Vec::new();
    for expected in [2, 4, 8, 16] {
        stage.servers.remove(0);
        let status = wait_for(&stage, "b1", "down")?;
        assert_eq!(needed(&status), (Some(expected), Some(expected > 2)));
        let server = Server::start(&stage.lab.backends[0], "v1", "b1", Way::Nat.port())?;
        let began = Instant::now();
        stage.servers.insert(0, server);
        wait_for(&stage, "b1", "up")?;
        held.push(began.elapsed());
    }
    let text = stage.daemon.output(&["status", "shop"])?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("up, flapping"), "{text}");
    println!("held down for {held:?}");
    assert!(held[3] > Duration::from_millis(16 * 90 - 200), "{held:?}");
    assert!(held[3] > held[0] * 3, "{held:?}");
    Ok(())
}

/// What b1 had between two looks at its effective weight: that weight, and its part of the new
/// connections of its pool.
type Windows = Vec<(f64, f64)>;

#[test]
fn a_backend_with_slow_start_gets_its_part_of_connections_in_steps_that_break_none() -> Result<()> {
    let health = format!("http = \"/\", slow_start = \"12s\", {OFTEN}");
    let mut stage = checked_by(&health, Way::Nat, Attach::Native, 4, "")?;
    stage.servers.remove(0);
    wait_for(&stage, "b1", "down")?;
    let load = load(&stage)?;
    spread(&load)?;
    let server = Server::start(&stage.lab.backends[0], "v1", "b1", Way::Nat.port())?;
    stage.servers.insert(0, server);
    wait_for(&stage, "b1", "up")?;

    let windows = watch(&stage)?;
    let whole = spread(&load)?;
    let log = load.stop()?;

    println!("{windows:.2?}");
    assert!((5..=10).contains(&windows.len()), "{windows:?}");
    assert!(
        windows.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "{windows:?}"
    );
    for (weight, part) in windows {
        assert!(
            (part - weight / 2.0).abs() < 0.08,
            "{part} of the pool at weight {weight}"
        );
    }
    let all: usize = whole.values().sum();
    let share = whole["b1"] * 100 / all;
    assert!((42..=58).contains(&share), "b1 has {share}%: {whole:?}");
    assert_eq!(log.failures(), BTreeMap::new());
    assert_eq!(log.moved_connections(), [0; 0]);
    Ok(())
}

/// Follows b1 from step to step until it has its whole weight, which is 1 here.
fn watch(stage: &Stage) -> Result<Windows> {
    let weight = |status: &Value| find(status, "b1").and_then(|b1| b1["effective_weight"].as_f64());
    let mut windows = Windows::new();
    let mut began = stage.status()?;
    while weight(&began) != Some(1.0) {
        let before = weight(&began);
        let mut last = began.clone();
        let next = deadline::until("the next step", PATIENCE, || {
            let status = stage.status()?;
            let same = weight(&status) == before;
            if same {
                last = status;
                return Ok(None);
            }
            Ok(Some(status))
        })?;
        let new =
            |name| of_backend(&last, name, "connections") - of_backend(&began, name, "connections");
        let (b1, b2) = (new("b1"), new("b2"));
        // Too short a look tells nothing.
        if b1 + b2 > 400 {
            #[expect(clippy::cast_precision_loss, reason = "thousands")]
            windows.push((before.context("a weight")?, b1 as f64 / (b1 + b2) as f64));
        }
        began = next;
    }
    Ok(windows)
}
