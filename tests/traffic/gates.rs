//! Gates that the real daemon asks: commands, a real server and a real Prometheus.

use std::{fs, net::SocketAddr, path::Path, process, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use serin_tests::{
    config::Attach,
    daemon::Daemon,
    deadline,
    real::{Nginx, Prometheus},
    topology::Lab,
};

use crate::{
    audience::table,
    stage::{Stage, Way},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A release of one long step, with these gates. Each is asked every second, and holds.
fn stage(gates: impl FnOnce(&Lab) -> Result<Vec<toml::Table>>) -> Result<Stage> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let gates = gates(&stage.lab)?;
    let step = table([("share", "1%".into()), ("hold", "10m".into())]);
    let steps = vec![step];
    let release = table([("steps", steps.into()), ("gate", gates.into())]);
    stage.shop().release = Some(release);
    stage.apply()?;
    Ok(stage)
}

fn gate(name: &str, point: (&str, toml::Value), probe: (&str, toml::Value)) -> toml::Table {
    let (point, at) = point;
    let (probe, what) = probe;
    let mut gate = table([("name", name.into()), ("interval", "1s".into())]);
    gate.insert(point.to_owned(), at);
    gate.insert(probe.to_owned(), what);
    gate.insert("on_failure".to_owned(), "hold".into());
    gate
}

fn shell(name: &str, script: &str) -> toml::Table {
    let command = vec!["/bin/sh", "-c", script];
    gate(name, ("before", "start".into()), ("exec", command.into()))
}

fn status(daemon: &Daemon) -> Result<Value> {
    Ok(daemon.serin(&["status", "shop"])?["release"].take())
}

/// Why a gate has this outcome, as soon as it has.
fn wait_for(stage: &Stage, name: &str, outcome: &str) -> Result<String> {
    deadline::until(&format!("gate {name} to be {outcome}"), PATIENCE, || {
        let release = status(&stage.daemon)?;
        let gates = release["gates"].as_array().context("a list")?;
        let gate = gates.iter().find(|gate| gate["name"] == name);
        let gate = gate.with_context(|| format!("{name} in {release}"))?;
        let why = gate["why"].as_str().unwrap_or_default().to_owned();
        Ok((gate["outcome"] == outcome).then_some(why))
    })
}

#[test]
fn commands_run_as_nobody_with_their_environment_and_are_killed_with_their_children() -> Result<()>
{
    let stage = stage(|_| {
        let about = "id -u; id -G; echo $SERIN_SERVICE $SERIN_CANDIDATE $SERIN_ACTIVE $SERIN_STEP \
                     $SERIN_SHARE_PPM $HOME; exit 1";
        let mut hanging = shell("hanging", "sleep 600 & echo $!; wait");
        hanging.insert("timeout".to_owned(), "500ms".into());
        Ok(vec![shell("about", about), hanging])
    })?;
    stage.serin("start shop")?;

    let said = wait_for(&stage, "about", "failed")?;
    assert_eq!(said, "exit status 1: 65534\n65534\nshop green blue 0 0");
    let killed = wait_for(&stage, "hanging", "inconclusive")?;
    let child = killed.strip_prefix("killed, since it had not ended within 500ms: ");
    let child = child.with_context(|| killed.clone())?;
    let path = Path::new("/proc").join(child);
    deadline::until("the child's end", PATIENCE, || {
        Ok((!path.exists()).then_some(()))
    })?;
    let release = status(&stage.daemon)?;
    assert_eq!(
        (&release["state"], &release["step"]),
        (&"awaits-gates".into(), &Value::Null)
    );
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_leaves_no_command_behind() -> Result<()> {
    // An argument that no other process has.
    let forever = format!("600.{}", process::id());
    let mut stage = stage(|_| {
        let command = vec!["/bin/sleep", &forever];
        let point = ("before", "start".into());
        let mut lasting = gate("lasting", point, ("exec", command.into()));
        lasting.insert("timeout".to_owned(), "10m".into());
        Ok(vec![lasting])
    })?;
    stage.serin("start shop")?;
    let runs = || {
        let found = fs::read_dir("/proc")?.flatten().find(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line == format!("/bin/sleep\0{forever}\0").as_bytes()
        });
        Ok(found.map(|entry| entry.path()))
    };
    let command = deadline::until("the command", PATIENCE, runs)?;
    stage.daemon.kill()?;
    deadline::until("the command's end", PATIENCE, || {
        Ok((!command.exists()).then_some(()))
    })?;
    stage.daemon.start(&stage.lab)
}

#[test]
fn a_url_that_answers_lets_a_release_begin_and_one_that_fails_later_ends_it() -> Result<()> {
    let port = 9000;
    let mut stage = stage(|lab| {
        let at = lab.backends[2].v4;
        let url = |path: &str| format!("http://{at}:{port}{path}").into();
        let first = gate("smoke", ("before", "start".into()), ("http", url("/")));
        let mut then = gate("missing", ("during", 1.into()), ("http", url("/missing")));
        then.insert("on_failure".to_owned(), "abort".into());
        Ok(vec![first, then])
    })?;
    stage.serin("start shop")?;
    let why = wait_for(&stage, "smoke", "inconclusive")?;
    assert!(why.contains("refused"), "{why}");
    // A daemon that comes anew asks again.
    stage.daemon.kill()?;
    stage.daemon.start(&stage.lab)?;

    let _nginx = Nginx::start(&stage.lab.backends[2], "v2", "g1", port)?;
    let waited = stage.daemon.output(&["wait", "shop", "--timeout", "20s"])?;
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
    let release = status(&stage.daemon)?;
    assert_eq!(release["state"], "aborted");
    let why = "gate `missing` failed: HTTP status 404 Not Found";
    assert_eq!(release["reason"], why);
    let history = stage.serin("history shop")?;
    let history = history.as_array().context("a list")?;
    let told: Vec<_> = history.iter().map(|entry| entry["event"].clone()).collect();
    assert!(
        told.ends_with(&["step".into(), "aborted".into()]),
        "{told:?}"
    );
    Ok(())
}

#[test]
fn a_real_prometheus_passes_fails_and_tells_nothing() -> Result<()> {
    let port = 9090;
    let stage = stage(|lab| {
        let url = format!("http://{}:{port}/", lab.backends[2].v4);
        let ask = |name: &str, query: &str, condition: &str| {
            let probe = table([
                ("url", url.clone().into()),
                ("query", query.into()),
                ("condition", condition.into()),
            ]);
            gate(name, ("during", 1.into()), ("prometheus", probe.into()))
        };
        Ok(vec![
            ask("true", "up{job=\"itself\"}", "== 1"),
            ask("false", "up{job=\"itself\"}", "< 1"),
            ask("scalar", "scalar(up)", ">= 1"),
            ask("nothing", "no_such_metric", "< 1"),
            ask("nan", "up / 0 - up / 0", "< 1"),
            ask("wrong", "rate(", "< 1"),
        ])
    })?;
    stage.serin("start shop")?;
    let why = wait_for(&stage, "true", "inconclusive")?;
    assert!(why.contains("refused"), "{why}");

    let backend = &stage.lab.backends[2];
    let at = SocketAddr::new(backend.v4, port);
    let prometheus = Prometheus::start(&backend.namespace, at, &[])?;
    wait_for(&stage, "true", "passed")?;
    wait_for(&stage, "scalar", "passed")?;
    let why = wait_for(&stage, "false", "failed")?;
    assert!(
        why.contains("job=\"itself\"") && why.ends_with("1 is not < 1"),
        "{why}"
    );
    for (name, words) in [
        ("nothing", "no data: the query's answer is empty"),
        ("nan", "NaN is no number"),
        ("wrong", "400 Bad Request: invalid parameter"),
    ] {
        deadline::until(words, PATIENCE, || {
            let why = wait_for(&stage, name, "inconclusive")?;
            Ok(why.contains(words).then_some(()))
        })?;
    }

    drop(prometheus);
    let why = wait_for(&stage, "true", "inconclusive")?;
    assert!(why.contains("Prometheus gave no answer"), "{why}");
    wait_for(&stage, "false", "inconclusive")?;
    Ok(())
}
