//! What a real Prometheus is told in the middle of a release.

use std::{net::SocketAddr, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use serin_tests::{
    command, deadline,
    real::{Prometheus, check_metrics},
};

use crate::{
    crowd::Crowd,
    stage::{HTTP, Stage},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_alert_rules_that_come_along_pass_their_tests() -> Result<()> {
    let rules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../lb-userspace/package/prometheus"
    );
    let mut promtool = Command::new("promtool");
    promtool.current_dir(rules);
    command::run(promtool.args(["test", "rules", "serin.rules.test.yml"])).map(drop)
}

/// The page as a client gets it who accepts such a type.
fn page(stage: &Stage, accept: &str) -> Result<String> {
    let mut curl = stage.lab.edge.command("curl");
    curl.args(["-sSf", "-D", "-", "-H", &format!("accept: {accept}")]);
    command::run(curl.arg(format!("http://{HTTP}/metrics")))
}

/// What the dashboard for Grafana asks, as it would for this service.
fn dashboard() -> Result<Vec<String>> {
    let text = include_str!("../../lb-userspace/package/grafana/serin.json");
    let dashboard: Value = serde_json::from_str(text)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let asked = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str());
    // Runs are counted where somebody has turned that on for the whole kernel.
    let asked = asked.filter(|query| !query.contains("serin_program_run"));
    let asked: Vec<String> = asked
        .map(|query| {
            let query = query.replace("$service", "shop").replace("$instance", ".*");
            query.replace("$__rate_interval", "5s")
        })
        .collect();
    ensure!(asked.len() > 15, "only {} queries", asked.len());
    Ok(asked)
}

#[test]
fn a_real_prometheus_scrapes_a_release_under_way() -> Result<()> {
    let stage = Stage::watched()?;
    let edge = &stage.lab.edge;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("start shop")?;
    crowd.round()?;
    let http: SocketAddr = HTTP.parse()?;
    let at = SocketAddr::new(http.ip(), 9090);
    let prometheus = Prometheus::start(edge, at, &[http])?;
    let wait_for = |query: &str| {
        deadline::until(query, PATIENCE, || {
            Ok(prometheus.query(edge, query)?.into_iter().next())
        })
    };
    for query in [
        "up{job=\"serin\"} == 1",
        "serin_release_share_ratio{service=\"shop\"} == 0.25",
        "serin_release_step == 1 and serin_release_steps == 1",
        "serin_release_state{state=\"holding\"}",
        "sum by (pool) (rate(serin_backend_connections_total{pool=\"green\"}[5s])) > 10",
        "serin_events_total{service=\"shop\",event=\"started\"} == 1",
        "histogram_quantile(0.5, serin_handshake_seconds_bucket{cohort=\"candidate\"}) < 0.1",
        "serin_signal_trials_total{cohort=\"baseline\",signal=\"connect\"} > 10",
        "serin_packets_total{reason=\"redirected\"} > 100",
    ] {
        wait_for(query).with_context(|| page(&stage, "*/*").unwrap_or_default())?;
    }
    for query in dashboard()? {
        wait_for(&query).with_context(|| format!("the dashboard's `{query}`"))?;
    }
    // What Prometheus has of a counter is what the daemon has, once nothing more is counted.
    crowd.disperse()?.assert_unharmed();
    let counted = |pool: &str| -> Result<f64> {
        let status = stage.status()?;
        let pools = status["pools"].as_array().context("pools")?;
        let found = pools.iter().find(|found| found["name"] == pool);
        let traffic = &found.context("the pool")?["traffic"];
        traffic["connections"].as_f64().context("a count")
    };
    for pool in ["blue", "green"] {
        let count = counted(pool)?;
        assert!(count > 0.0);
        let of_pool = format!("{{service=\"shop\",pool=\"{pool}\"}}");
        wait_for(&format!(
            "sum(serin_backend_connections_total{of_pool}) == {count}"
        ))?;
    }
    Ok(())
}

#[test]
fn both_formats_are_told_by_what_is_accepted_and_the_older_passes_promtool() -> Result<()> {
    let stage = Stage::watched()?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("start shop")?;
    crowd.round()?;
    let open = page(
        &stage,
        "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
    )?;
    assert!(open.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(open.ends_with("# EOF\n"), "{open}");

    let classic = page(&stage, "*/*")?;
    assert!(
        classic.contains("content-type: text/plain; version=0.0.4"),
        "{classic}"
    );
    let (_, page) = classic.split_once("\r\n\r\n").context("a body")?;
    println!("{page}");
    check_metrics(page)?;
    let spoiled = page.replace("# HELP serin_packets_total ", "# HELP serin_other ");
    assert!(
        check_metrics(&spoiled).is_err(),
        "promtool says nothing of a missing help"
    );
    Ok(())
}
