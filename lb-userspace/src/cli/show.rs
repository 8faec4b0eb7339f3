//! Answers, for people and for programs.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{Format, events, explain, release, replay, toggle, whois};
use crate::{
    api::judged::Judged,
    api::model::{
        Applied, BackendStatus, Done, Line, NodeStatus, NotifyStatus, PoolStatus, ReleaseStatus,
        Status, Together, Whois,
    },
    api::replayed::Replayed,
    api::toggles::{ToggleStatus, Toggled},
    config::{
        Config, Finding,
        timeline::{Timeline, timelines},
    },
    journal::Entry,
    share::Share,
    state::Admin,
};

/// `serin check -o json`.
#[derive(Serialize)]
pub struct Checked {
    file: String,
    services: Vec<String>,
    releases: BTreeMap<String, Timeline>,
    warnings: Vec<String>,
}

impl Checked {
    /// What is to be said of a good file.
    pub fn new(file: &Path, config: &Config, findings: &[Finding]) -> Self {
        Self {
            file: file.display().to_string(),
            services: config
                .services
                .iter()
                .map(|service| service.name.clone())
                .collect(),
            releases: timelines(config),
            warnings: findings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// One value, indented.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("serin: the answer can't be printed: {error}"),
    }
}

/// What the daemon has answered.
pub enum Answer {
    List(Vec<Line>),
    Node(NodeStatus),
    Status(Box<Status>),
    Applied(Applied),
    Whois(Box<Whois>),
    Done(Done),
    Together(Together),
    Release(ReleaseStatus),
    Toggles(Vec<ToggleStatus>),
    Toggled(Toggled),
    Events(Vec<Entry>),
    Judged(Judged),
    Replayed(Box<Replayed>),
}

impl Answer {
    pub fn show(&self, output: Format) {
        match self {
            Self::List(lines) => list(lines, output),
            Self::Node(status) => node(status, output),
            Self::Status(shown) => status(shown, output),
            Self::Applied(shown) => applied(shown, output),
            Self::Whois(shown) if output == Format::Json => json(shown),
            Self::Whois(shown) => print!("{}", whois::text(shown)),
            Self::Done(shown) => done(shown, output),
            Self::Together(shown) if output == Format::Json => json(shown),
            Self::Together(shown) => {
                shown.services.iter().for_each(|shown| done(shown, output));
                if let Some(gap_ns) = shown.gap_ns {
                    println!("all in one: {gap_ns} ns from the first store to the last");
                }
            }
            Self::Judged(shown) if output == Format::Json => json(shown),
            Self::Judged(shown) => print!("{}", explain::text(shown)),
            Self::Replayed(shown) if output == Format::Json => json(shown),
            Self::Replayed(shown) => print!("{}", replay::text(shown)),
            Self::Release(shown) if output == Format::Json => json(shown),
            Self::Release(shown) => println!("release {}", release::text(shown)),
            Self::Toggles(shown) if output == Format::Json => json(shown),
            Self::Toggles(shown) => toggle::table(shown),
            Self::Toggled(shown) if output == Format::Json => json(shown),
            Self::Toggled(shown) => println!("{}", toggle::turned(shown)),
            Self::Events(shown) if output == Format::Json => json(shown),
            Self::Events(shown) => {
                for entry in shown {
                    println!("{}", events::text(entry));
                    print!("{}", events::evidence(entry));
                }
            }
        }
    }
}

fn done(done: &Done, output: Format) {
    if output == Format::Json {
        return json(done);
    }
    let share = Share {
        ppm: done.share_ppm,
    };
    let candidate = match &done.candidate {
        Some(candidate) if done.share_ppm > 0 => format!(", {candidate} has {share}"),
        _ => String::new(),
    };
    let Done {
        service,
        active,
        epoch,
        took_us,
        ..
    } = done;
    println!("{service}: {active} is active{candidate} (epoch {epoch}, {took_us} us)");
    for note in &done.notes {
        println!("note: {note}");
    }
}

fn list(lines: &[Line], output: Format) {
    if output == Format::Json {
        return json(&lines);
    }
    let rows = lines.iter().map(|line| {
        let candidate = match &line.candidate {
            Some(candidate) if line.share_ppm > 0 => candidate.as_str(),
            _ => "-",
        };
        [
            line.service.clone(),
            line.active.clone(),
            candidate.to_owned(),
            Share {
                ppm: line.share_ppm,
            }
            .to_string(),
            line_state(line),
            line.listeners.join(" "),
            line.audiences.join(" "),
        ]
    });
    table(
        [
            "SERVICE",
            "ACTIVE",
            "CANDIDATE",
            "SHARE",
            "STATE",
            "LISTENERS",
            "AUDIENCES",
        ],
        rows,
    );
}

fn line_state(line: &Line) -> String {
    let state = if line.settled { "settled" } else { "draining" };
    match line.dead[..] {
        [] => state.to_owned(),
        [..] => format!("{state}, {} dead", line.dead.join(" and ")),
    }
}

fn status(status: &Status, output: Format) {
    if output == Format::Json {
        return json(status);
    }
    println!(
        "{}  {} on {}",
        status.service,
        status.forward,
        status.listeners.join(" ")
    );
    println!("  active    {}", status.active);
    if let Some(candidate) = status.candidate.as_ref().filter(|_| status.share_ppm > 0) {
        println!("  candidate {candidate}");
    }
    if let Some(shown) = &status.release {
        println!("  release   {}", release::text(shown));
        for gate in &shown.gates {
            println!("  gate      {}", release::gate_text(gate));
        }
        if let Some(unseen) = &shown.unseen {
            println!("  judge     {unseen}");
        }
    }
    println!(
        "  share     asked {}, measured {}",
        Share {
            ppm: status.share_ppm
        },
        measured(status)
    );
    println!("  state     {} (epoch {})", condition(status), status.epoch);
    if let Some(pending) = &status.pending {
        let left = status.arming_s.unwrap_or(0);
        println!("  pending   {pending}, in {left} s, once the sessions that are there are pinned");
    }
    if status.cut + status.orphaned > 0 {
        println!(
            "  drained   {} cut, {} orphaned",
            status.cut, status.orphaned
        );
    }
    for audience in &status.audiences {
        let share = Share {
            ppm: audience.share_ppm,
        };
        let from = if audience.hidden {
            " from its step on"
        } else {
            ""
        };
        println!(
            "  audience  {}: {share} to the candidate{from}; {} connections, {} packets, {} bytes",
            audience.name, audience.connections, audience.packets, audience.bytes
        );
    }
    for shown in &status.toggles {
        println!("  toggle    {}", toggle::of_service(shown));
    }
    for pool in &status.pools {
        print_pool(pool);
    }
}

fn node(status: &NodeStatus, output: Format) {
    if output == Format::Json {
        return json(status);
    }
    let interfaces = status
        .interfaces
        .iter()
        .map(|(name, said)| [name.clone(), said.clone()]);
    table(["INTERFACE", "STATE"], interfaces);
    println!();
    let counters = status.reasons.iter().chain(&status.flows);
    let seen = counters.filter(|(_, count)| **count > 0);
    table(
        ["COUNTER", "EVENTS"],
        seen.map(|(name, count)| [name.clone(), count.to_string()]),
    );
    notify(&status.notify);
}

fn notify(targets: &BTreeMap<String, NotifyStatus>) {
    if targets.is_empty() {
        return;
    }
    println!();
    let rows = targets.iter().map(|(name, target)| {
        let counts = [
            target.delivered,
            target.pending,
            target.refused,
            target.lost,
        ];
        let [delivered, pending, refused, lost] = counts.map(|count| count.to_string());
        let error = target.error.clone().unwrap_or_else(|| "-".to_owned());
        [name.clone(), delivered, pending, refused, lost, error]
    });
    let header = [
        "NOTIFY",
        "DELIVERED",
        "PENDING",
        "REFUSED",
        "LOST",
        "LAST ERROR",
    ];
    table(header, rows);
}

fn applied(applied: &Applied, output: Format) {
    if output == Format::Json {
        return json(applied);
    }
    for write in applied.writes.iter().filter(|_| applied.dry_run) {
        println!("would {write}");
    }
    let verb = if applied.dry_run { "would be" } else { "were" };
    if applied.orders.is_empty() {
        println!("{} writes {verb} made", applied.writes.len());
    } else {
        println!("it is in force, and no session has moved");
    }
    for note in &applied.notes {
        println!("note: {note}");
    }
}

fn measured(status: &Status) -> String {
    let measured = &status.measured;
    match measured.share_ppm {
        Some(ppm) => format!(
            "{} of {} connections since the last change",
            Share { ppm },
            measured.connections
        ),
        None => "nothing yet: no connections since the last change".to_owned(),
    }
}

fn condition(status: &Status) -> String {
    match (status.settled, status.pinned, status.settles_in_s) {
        (true, false, _) => "settled".to_owned(),
        (true, true, _) => "settled, older connections still live".to_owned(),
        (false, _, Some(left)) => format!("draining, settles in {left} s"),
        (false, _, None) => "draining".to_owned(),
    }
}

fn print_pool(pool: &PoolStatus) {
    println!();
    let dropped = match pool.dropped {
        0 => String::new(),
        dropped => format!(", {dropped} packets dropped for want of a backend"),
    };
    let dead = match &pool.stand_in {
        Some(other) => format!(", dead, its users go to {other}"),
        None if pool.dead => ", dead".to_owned(),
        None => String::new(),
    };
    println!("  pool {} ({}{dead}{dropped})", pool.name, pool.role);
    let header = [
        "  BACKEND",
        "ADDRESS",
        "WEIGHT",
        "EFFECTIVE",
        "STATE",
        "HEALTH",
        "NEXT HOP",
        "CONNS",
        "LIVE",
        "PACKETS",
        "REPLIES",
    ];
    table(header, pool.backends.iter().map(row));
    for backend in &pool.backends {
        let why = backend
            .checks
            .as_ref()
            .and_then(|checks| checks.why.as_ref());
        if let Some(why) = why {
            println!("    {}: last check: {why}", backend.name);
        }
    }
}

fn row(backend: &BackendStatus) -> [String; 11] {
    let weight = if backend.weight == backend.configured_weight {
        backend.weight.to_string()
    } else {
        format!(
            "{} (configured {})",
            backend.weight, backend.configured_weight
        )
    };
    let state = match backend.state {
        _ if backend.leaving => "leaving",
        Admin::Ready => "ready",
        Admin::Drain => "drain",
        Admin::Maint => "maint",
    };
    [
        format!("  {}", backend.name),
        backend.address.join(" "),
        weight,
        effective(backend.effective_weight),
        state.to_owned(),
        health(backend),
        backend.next_hop.clone(),
        backend.traffic.connections.to_string(),
        backend
            .live
            .map_or_else(|| "-".to_owned(), |live| live.to_string()),
        backend.traffic.packets.to_string(),
        backend.traffic.reply_packets.to_string(),
    ]
}

/// A weight, or a tenth of one.
fn effective(weight: f64) -> String {
    let text = format!("{weight:.1}");
    text.trim_end_matches(".0").to_owned()
}

/// Operational state, and how far the checks are from changing it.
fn health(backend: &BackendStatus) -> String {
    let state = &backend.health;
    let Some(checks) = &backend.checks else {
        return state.clone();
    };
    let kind = if state == "up" { "bad" } else { "good" };
    let progress = if checks.against > 0 || state == "down" {
        format!(", {}/{} {kind}", checks.against, checks.needed)
    } else {
        String::new()
    };
    let flapping = if checks.flapping { ", flapping" } else { "" };
    format!("{state}{progress}{flapping}")
}

/// Columns as wide as their widest cell.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<[String; N]> = std::iter::once(header.map(str::to_owned))
        .chain(rows)
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn backend(health: &str, checks: &serde_json::Value) -> BackendStatus {
        serde_json::from_value(json!({
            "name": "b1", "address": ["10.0.1.1"], "weight": 7, "configured_weight": 100,
            "effective_weight": 0.7, "state": "drain", "health": health, "checks": checks,
            "leaving": false, "next_hop": "resolved", "packets": 0, "bytes": 0, "connections": 0,
            "reply_packets": 0, "reply_bytes": 0
        }))
        .expect("a backend")
    }

    fn checks(against: u32, flapping: bool) -> serde_json::Value {
        json!({ "against": against, "needed": 8, "flapping": flapping, "why": null })
    }

    #[test]
    fn weights_and_states_stand_apart() {
        let cells = row(&backend("up", &serde_json::Value::Null));
        assert_eq!(cells[2..6], ["7 (configured 100)", "0.7", "drain", "up"]);
    }

    #[test]
    fn connections_that_live_are_told_where_they_are_measured() {
        let usual = backend("up", &serde_json::Value::Null);
        assert_eq!(row(&usual)[7..9], ["0", "-"]);
        let measured = BackendStatus {
            live: Some(12),
            ..usual
        };
        assert_eq!(row(&measured)[7..9], ["0", "12"]);
    }

    #[test]
    fn health_tells_how_far_the_checks_are() {
        for (state, checks, expected) in [
            ("up", checks(0, false), "up"),
            ("up", checks(2, true), "up, 2/8 bad, flapping"),
            ("down", checks(0, false), "down, 0/8 good"),
            ("down", checks(3, true), "down, 3/8 good, flapping"),
        ] {
            assert_eq!(health(&backend(state, &checks)), expected);
        }
        assert_eq!(effective(100.0), "100");
    }
}
