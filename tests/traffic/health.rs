//! Health checks: what users notice when servers die and return.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;
use serin_tests::{
    client::Connection,
    clock,
    config::{Attach, Service},
    daemon::Daemon,
    deadline,
    failure::Failure,
    load::{Load, Log, Plan},
    server::Server,
    topology::Backend,
};

use crate::{
    report::find,
    stage::{Stage, VIPS, Way, names, user},
};

const HEALTH: &str = "http = \"/\", interval = \"500ms\", timeout = \"250ms\"";
/// Interval times `fall`, and a second: how long users may notice a dead backend.
const NOTICED: Duration = Duration::from_millis(3 * 500 + 1000);
/// Longer than any change of health takes, a damped one too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A stage whose daemon checks all backends, with a line more in the service.
pub fn checked(way: Way, attach: Attach, backends: u8, line: &str) -> Result<Stage> {
    checked_by(HEALTH, way, attach, backends, line)
}

/// The same with other checks.
pub fn checked_by(
    health: &str,
    way: Way,
    attach: Attach,
    backends: u8,
    line: &str,
) -> Result<Stage> {
    let lab = way.lab(backends)?;
    let named = lab.backends.iter().zip(names(lab.backends.len()));
    let servers =
        named.map(|(backend, (version, name))| Server::start(backend, version, &name, way.port()));
    let servers = servers.collect::<Result<_>>()?;
    let shop = Service::shop(&lab, way.word(), way.port());
    let mut daemon = Daemon::prepare(&lab, attach, vec![shop])?;
    let mut text = daemon.config.text();
    for pool in ["blue", "green"] {
        let name = format!("name = \"{pool}\"\n");
        text = text.replace(&name, &format!("{name}health = {{ {health} }}\n"));
    }
    text = text.replace(
        "active = \"blue\"\n",
        &format!("active = \"blue\"\n{line}\n"),
    );
    fs::write(daemon.config_path(), text)?;
    daemon.start(&lab)?;
    Ok(Stage {
        daemon,
        servers,
        lab,
    })
}

pub fn wait_for(stage: &Stage, backend: &str, health: &str) -> Result<Value> {
    let what = format!("{backend} to be {health}");
    deadline::until(&what, PATIENCE, || {
        let status = stage.status()?;
        let found = find(&status, backend).context("a backend")?;
        Ok((found["health"] == health).then_some(status))
    })
}

fn pool<'a>(status: &'a Value, name: &str) -> &'a Value {
    let mut pools = status["pools"].as_array().into_iter().flatten();
    let found = pools.find(|pool| pool["name"] == name);
    found.unwrap_or(&Value::Null)
}

/// Requests over connections of their own, by many users at once.
pub fn load(stage: &Stage) -> Result<Load> {
    let plan = Plan {
        users: 400,
        short_per_s: 800,
        keep_alive: 100,
        keep_alive_per_s: 400,
        ..Plan::thousand(VIPS[0])
    };
    Load::start(&stage.lab.clients, plan)
}

/// New connections by backend.
pub fn spread(load: &Load) -> Result<BTreeMap<String, usize>> {
    let (mark, now) = (load.mark(), clock::now_ns());
    load.whole_round(PATIENCE)?;
    load.whole_round(PATIENCE)?;
    let log = load.since(mark);
    let mut counts = BTreeMap::new();
    for (request, answer) in log.new_connections() {
        if request.began_ns > now {
            *counts.entry(answer.backend.clone()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Asserts that nobody but the dead backend's users noticed, and that for so long at most.
fn assert_others_unharmed(log: &Log, dead: &str, died_ns: u64) {
    let homes: BTreeMap<u64, &str> = log
        .requests
        .iter()
        .filter_map(|r| Some((r.connection, r.outcome.as_ref().ok()?.backend.as_str())))
        .collect();
    let end = died_ns + u64::try_from(NOTICED.as_nanos()).expect("seconds");
    let failed: Vec<_> = log.requests.iter().filter(|r| r.outcome.is_err()).collect();
    for request in &failed {
        assert!(
            request.began_ns < end,
            "failed {} ms after the death: {request:?}",
            (request.began_ns - died_ns) / 1_000_000
        );
        let home = homes.get(&request.connection);
        assert!(
            home.is_none_or(|home| *home == dead),
            "{home:?} {request:?}"
        );
    }
    let last = failed.iter().map(|request| request.began_ns).max();
    let lasted = last.map_or(0, |last| last.saturating_sub(died_ns) / 1_000_000);
    println!(
        "{} requests failed, the last {lasted} ms after the death",
        failed.len()
    );
    assert_eq!(log.moved_connections(), [0; 0]);
    assert!(!failed.is_empty(), "the backend had users");
}

fn restart(backend: &Backend, version: &str, name: &str, way: Way) -> Result<Server> {
    Server::start(backend, version, name, way.port())
}

in_both_modes!(
    a_dead_nat_backends_users_go_to_the_others_and_come_back,
    a_dead_l2_backends_users_go_to_the_others_and_come_back,
);

fn a_dead_nat_backends_users_go_to_the_others_and_come_back(attach: Attach) -> Result<()> {
    death_and_return(Way::Nat, attach)
}

fn a_dead_l2_backends_users_go_to_the_others_and_come_back(attach: Attach) -> Result<()> {
    death_and_return(Way::L2, attach)
}

/// Blue has b1, b2 and b3; b1 dies under load, and returns.
fn death_and_return(way: Way, attach: Attach) -> Result<()> {
    let mut stage = checked(way, attach, 6, "")?;
    wait_for(&stage, "b1", "up")?;
    let load = load(&stage)?;
    let before = spread(&load)?;

    let died_ns = clock::now_ns();
    drop(stage.servers.remove(0));
    let status = wait_for(&stage, "b1", "down")?;
    let during = spread(&load)?;
    let server = restart(&stage.lab.backends[0], "v1", "b1", way)?;
    stage.servers.insert(0, server);
    wait_for(&stage, "b1", "up")?;
    let after = spread(&load)?;
    let log = load.stop()?;

    assert_eq!(find(&status, "b1").context("b1")?["state"], "ready");
    assert_eq!(pool(&status, "blue")["dead"], false);
    assert_eq!(during.keys().collect::<Vec<_>>(), ["b2", "b3"]);
    for spread in [&before, &after] {
        let whole: usize = spread.values().sum();
        let share = spread["b1"] * 100 / whole;
        assert!((24..=43).contains(&share), "b1 has {share}%: {spread:?}");
    }
    assert_others_unharmed(&log, "b1", died_ns);
    Ok(())
}

#[test]
fn a_server_that_vanishes_without_a_word_is_followed_by_a_reset_and_not_by_silence() -> Result<()> {
    let stage = checked(Way::Nat, Attach::Native, 4, "")?;
    let vip = VIPS[0];
    let mut on_b1 = (0..200)
        .find_map(|number| {
            let source = (user(number, vip), 0).into();
            let mut connection = Connection::open(&stage.lab.clients, source, vip).ok()?;
            let answer = connection.ask().ok()?;
            (answer.backend == "b1").then_some(connection)
        })
        .context("no connection came to b1")?;

    stage.lab.backends[0].namespace.ip("link set uplink down")?;
    wait_for(&stage, "b1", "down")?;
    let asked = Instant::now();
    let cut = on_b1.ask();

    assert_eq!(cut, Err(Failure::Reset));
    assert!(asked.elapsed() < Duration::from_millis(500));
    Ok(())
}

/// Green, of g1 and g2, gets half of the users, and dies.
fn dead_candidate(line: &str) -> Result<(Stage, Value)> {
    let mut stage = checked(Way::Nat, Attach::Native, 4, line)?;
    stage.serin("share shop 50%")?;
    stage.servers.truncate(2);
    wait_for(&stage, "g1", "down")?;
    let status = wait_for(&stage, "g2", "down")?;
    Ok((stage, status))
}

#[test]
fn a_wholly_dead_candidate_falls_back_to_the_active_pool_until_it_returns() -> Result<()> {
    let (mut stage, status) = dead_candidate("")?;
    assert_eq!(pool(&status, "green")["stand_in"], "blue");
    let text = stage.daemon.output(&["status", "shop"])?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("dead, its users go to blue"), "{text}");
    let load = load(&stage)?;
    let fallen = spread(&load)?;
    let refused = stage.daemon.output(&["cutover", "shop"])?;

    let server = restart(&stage.lab.backends[2], "v2", "g1", Way::Nat)?;
    stage.servers.push(server);
    wait_for(&stage, "g1", "up")?;
    let risen = spread(&load)?;
    let log = load.stop()?;

    assert_eq!(fallen.keys().collect::<Vec<_>>(), ["b1", "b2"]);
    assert_eq!(
        refused.status.code(),
        Some(1),
        "nobody is sent to a dead pool"
    );
    let whole: usize = risen.values().sum();
    let share = risen["g1"] * 100 / whole;
    assert!((40..=60).contains(&share), "g1 has {share}%: {risen:?}");
    assert_eq!(log.failures(), BTreeMap::new());
    assert_eq!(log.moved_connections(), [0; 0]);
    Ok(())
}

#[test]
fn with_drop_the_packets_to_a_dead_candidate_are_dropped_and_counted() -> Result<()> {
    let (stage, status) = dead_candidate("on_dead_pool = \"drop\"")?;
    let green = pool(&status, "green");
    assert_eq!(
        (&green["dead"], &green["stand_in"]),
        (&true.into(), &Value::Null)
    );
    let plan = Plan {
        users: 100,
        short_per_s: 200,
        keep_alive: 0,
        patience: Duration::from_millis(500),
        ..Plan::thousand(VIPS[0])
    };

    let log = Load::run(&stage.lab.clients, plan, Duration::from_secs(2))?;

    assert!(log.latest().values().all(|answer| answer.version == "v1"));
    assert_eq!(
        log.failures().keys().collect::<Vec<_>>(),
        [&Failure::TimedOut]
    );
    let after = stage.status()?;
    assert!(
        pool(&after, "green")["dropped"].as_u64() > Some(0),
        "{after}"
    );
    Ok(())
}

#[test]
fn a_restart_keeps_a_dead_backend_dead() -> Result<()> {
    let mut stage = checked(Way::Nat, Attach::Native, 4, "")?;
    stage.servers.remove(0);
    wait_for(&stage, "b1", "down")?;

    stage.daemon.kill()?;
    stage.daemon.start(&stage.lab)?;
    let status = stage.status()?;

    assert_eq!(find(&status, "b1").context("b1")?["health"], "down");
    assert_eq!(find(&status, "b2").context("b2")?["health"], "up");
    Ok(())
}
