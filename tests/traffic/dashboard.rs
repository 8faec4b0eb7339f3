//! The dashboard in a real browser, in the middle of a release.

use std::{env, fs, net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use serin_tests::{deadline, process::Process, real::Browser, serial};

use crate::{
    crowd::Crowd,
    footprint::least_ticks,
    stage::{HTTP, Stage},
};

const DRIVER: &str = "127.0.0.1:9515";
const PATIENCE: Duration = Duration::from_secs(20);
/// By the issue: milliseconds to the first paint, and bytes in all.
const FIRST_PAINT_MS: f64 = 200.0;
const PAGE_BYTES: u64 = 300_000;
/// By the issue: pages that are open at once, and what they may cost of a core.
const PAGES: usize = 20;
const PAGES_PERCENT: u64 = 2;
/// How long they are watched at a time.
const REST: Duration = Duration::from_secs(5);

/// Everything that is compared, as the page shows it.
const SHOWN: &str = r"
    const text = (selector, within = document) =>
        within.querySelector(selector)?.textContent.trim() ?? null;
    const all = (selector) => [...document.querySelectorAll(selector)];
    const fields = (row) => Object.fromEntries(
        [...row.querySelectorAll('[data-field]')].map((it) => [it.dataset.field, it.textContent]));
    return {
        link: document.getElementById('link').dataset.state,
        title: text('#detail-title'),
        asked: text('#asked'), measured: text('#measured'),
        state: text('#state .word'), step: text('#step'),
        services: all('#services tbody tr').map(fields),
        backends: all('#backends tbody tr').map(fields),
        evidence: all('#evidence li').map((it) => it.textContent),
        events: all('#events li').map((it) => it.textContent),
        pictures: all('svg[role=img]').map((it) => it.getAttribute('aria-label')),
        width: document.documentElement.scrollWidth,
        marker: window.marker ?? null,
    };";

/// Waits until the page shows something, and returns all that it shows then.
fn shows(browser: &Browser, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let found = deadline::until(what, PATIENCE, || {
        last = browser.run(SHOWN)?;
        Ok(is(&last).then(|| last.clone()))
    });
    found.with_context(|| format!("the page shows {last:#}"))
}

/// Names and counts of backends, of the page and of the status.
fn counts(rows: &Value) -> Vec<(String, String)> {
    let rows = rows.as_array().into_iter().flatten();
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let pairs = rows.map(|row| (text(&row["name"]), text(&row["connections"])));
    let mut pairs: Vec<(String, String)> = pairs.collect();
    pairs.sort();
    pairs
}

fn backends(status: &Value) -> Value {
    let pools = status["pools"].as_array().into_iter().flatten();
    let backends = pools.filter_map(|pool| pool["backends"].as_array());
    backends.flatten().cloned().collect()
}

/// Asserts that the page and `serin status` agree once nothing is counted any more.
fn assert_equal(stage: &Stage, browser: &Browser) -> Result<()> {
    let status = stage.status()?;
    let (release, wanted) = (&status["release"], counts(&backends(&status)));
    let shown = shows(browser, "the last counts", |shown| {
        counts(&shown["backends"]) == wanted
    })?;
    assert_eq!(release["asked_share_ppm"], 250_000);
    assert_eq!(shown["asked"], "25%");
    let condition = release["state"].as_str().context("a state")?;
    assert_eq!(shown["state"], condition.replace('-', " "));
    assert_eq!(
        shown["step"],
        format!("{} of {}", release["step"], release["steps"])
    );
    let ppm = status["measured"]["share_ppm"]
        .as_f64()
        .context("a share")?;
    let measured = shown["measured"].as_str().context("a share")?;
    let measured: f64 = measured.trim_end_matches('%').parse()?;
    assert!(
        (measured - ppm / 1e4).abs() < 0.006,
        "{measured}% of {ppm} ppm"
    );
    let line = &shown["services"][0];
    assert_eq!(
        (&line["name"], &line["active"], &line["candidate"]),
        (&json!("shop"), &status["active"], &status["candidate"])
    );
    assert_eq!(line["asked"], "25%");
    assert_eq!(line["measured"], shown["measured"]);
    Ok(())
}

/// First paints in milliseconds, the shortest first, and the bytes of one whole load.
fn loads(browser: &Browser) -> Result<(Vec<f64>, u64)> {
    let mut paints = Vec::new();
    let mut bytes = 0;
    for _ in 0..5 {
        browser.open("about:blank")?;
        browser.forget()?;
        browser.open(&format!("http://{HTTP}/"))?;
        let paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
        paints.push(deadline::until("a paint", PATIENCE, || {
            Ok(browser.run(paint)?.as_f64())
        })?);
        let sum = browser.run(
            "return [...performance.getEntriesByType('navigation'), \
             ...performance.getEntriesByType('resource')]\
             .reduce((sum, entry) => sum + entry.transferSize, 0)",
        )?;
        bytes = bytes.max(sum.as_u64().context("bytes")?);
    }
    println!("first paints {paints:.0?} ms with nothing kept; {bytes} bytes");
    paints.sort_by(f64::total_cmp);
    Ok((paints, bytes))
}

/// Where pictures are kept: `SERIN_PICTURES`, or with the daemon's files until the test ends.
fn pictures(stage: &Stage) -> Result<PathBuf> {
    let directory = env::var_os("SERIN_PICTURES").map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| stage.daemon.directory().join("pictures"));
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

#[test]
fn a_browser_shows_a_release_under_way_and_survives_the_daemons_restart() -> Result<()> {
    let _alone = serial::alone()?;
    let mut stage = Stage::watched()?;
    let http: SocketAddr = DRIVER.parse()?;
    let browser = Browser::start(&stage.lab.edge, http)?;
    let (paints, bytes) = loads(&browser)?;
    assert!(paints[paints.len() / 2] < FIRST_PAINT_MS, "{paints:?}");
    assert!(bytes > 10_000 && bytes < PAGE_BYTES, "{bytes}");
    browser.run("window.marker = 'here'")?;

    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("start shop")?;
    crowd.round()?;
    let shown = shows(&browser, "both cohorts' curves and the evidence", |shown| {
        let told = |part: &str| shown[part].as_array().is_some_and(|part| part.len() >= 3);
        let pictures = shown["pictures"].to_string();
        let curves = pictures.matches("candidate: median").count();
        told("evidence") && told("pictures") && curves == 2
    })?;
    println!("{shown:#}");
    assert_eq!(shown["title"], "shop");
    assert!(shown["events"].to_string().contains("started"), "{shown}");
    assert!(shown["events"].to_string().contains("root"), "{shown}");
    crowd.round()?;
    deadline::pass(Duration::from_secs(10))?;

    let pictures = pictures(&stage)?;
    for (name, scheme, width, height) in [
        ("wide", "light", 1280, 800),
        ("wide-dark", "dark", 1280, 800),
        ("phone", "light", 360, 800),
    ] {
        browser.prefer(scheme)?;
        browser.resize(width, height)?;
        let fits = |shown: &Value| shown["width"] == width;
        shows(&browser, "a page as wide as the screen", fits)?;
        deadline::pass(Duration::from_millis(1200))?;
        browser.picture(&pictures.join(format!("{name}.png")))?;
    }
    println!("pictures in {}", pictures.display());

    crowd.disperse()?.assert_unharmed();
    assert_equal(&stage, &browser)?;
    let complaints = browser.complaints()?;
    assert!(complaints.is_empty(), "{complaints:#?}");

    stage.daemon.kill()?;
    shows(&browser, "that the daemon is looked for", |shown| {
        shown["link"] == "reconnecting"
    })?;
    stage.daemon.start(&stage.lab)?;
    let shown = shows(&browser, "the daemon again", |shown| {
        shown["link"] == "live"
    })?;
    assert_eq!(shown["marker"], "here", "the page was loaded anew");
    assert_equal(&stage, &browser)?;
    let status = stage.serin("pause shop")?;
    assert_eq!(status["service"], "shop");
    shows(&browser, "the pause", |shown| {
        shown["state"] == "paused" && shown["events"].to_string().contains("paused")
    })?;
    // That nobody listened for a while is all that there may be to say.
    let mut complaints = browser.complaints()?;
    complaints.retain(|complaint| complaint["source"] != "network");
    assert!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}

#[test]
fn twenty_open_pages_cost_less_than_2_percent_of_a_core() -> Result<()> {
    let _alone = serial::alone()?;
    let mut stage = Stage::watched()?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("start shop")?;
    crowd.round()?;
    crowd.disperse()?.assert_unharmed();
    let alone = least_ticks(&mut stage.daemon, REST)?;

    let edge = &stage.lab.edge;
    let open = |_| {
        let mut curl = edge.command("curl");
        curl.args(["-sSN", &format!("http://{HTTP}/v1/stream?service=shop")]);
        Process::start(curl.stdout(Stdio::null()))
    };
    let mut pages: Vec<Process> = (0..PAGES).map(open).collect::<Result<_>>()?;
    deadline::pass(Duration::from_secs(2))?;
    let watched = least_ticks(&mut stage.daemon, REST)?;

    println!("{alone} ticks of CPU in {REST:?} without, {watched} with {PAGES} pages");
    for page in &mut pages {
        assert_eq!(page.ended()?, None, "a page was not served on");
    }
    // A tick is 10 ms: as many in a second as there are percents.
    let percent = watched.saturating_sub(alone) / REST.as_secs();
    assert!(percent < PAGES_PERCENT, "{percent}%");
    Ok(())
}
