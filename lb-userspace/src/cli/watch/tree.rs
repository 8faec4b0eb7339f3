//! A service as a tree: its release, the share, the evidence, then pools with their backends.

use std::time::Duration;

use super::line::{Line, Sign, Tone};
use crate::{
    api::{
        judged::{Judged, SignalEvidence},
        model::{BackendStatus, PoolStatus, ReleaseStatus, Status},
    },
    cli::release,
    share::{Share, interval},
    state::Admin,
};

/// What is shown.
pub struct Seen<'a> {
    pub status: &'a Status,
    pub judged: Option<&'a Judged>,
    /// What was seen before, and how long ago: what rates are measured by.
    pub before: Option<(&'a Status, Duration)>,
}

/// What makes a status worth another look, where nobody looks at it all the time.
pub fn news(status: &Status) -> (String, u64) {
    let release = status.release.as_ref();
    let state = release.map(|release| format!("{} {:?}", release.state, release.step));
    (state.unwrap_or_default(), status.epoch)
}

/// The tree.
pub fn lines(seen: &Seen<'_>) -> Vec<Line> {
    let status = seen.status;
    let mut lines = vec![
        Line::default()
            .add(Tone::Strong, &status.service)
            .plain(format!("  {}  ", status.forward))
            .add(Tone::Faint, status.listeners.join(" ")),
    ];
    if let Some(release) = &status.release {
        lines.push(stage(release));
        lines.extend(release.gates.iter().map(|gate| {
            let sign = match gate.outcome.as_deref() {
                Some("passed") => Sign::Good,
                Some("failed") => Sign::Bad,
                Some(_) => Sign::Paused,
                None => Sign::Idle,
            };
            named("gate").sign(sign).plain(release::gate_text(gate))
        }));
        let unseen = release.unseen.iter();
        lines.extend(unseen.map(|unseen| named("judge").sign(Sign::Paused).plain(unseen)));
    }
    lines.push(share(status));
    if let Some(settles) = status.settles_in_s {
        let left = release::span(settles);
        lines.push(named("drain").plain(format!("older connections have {left} left")));
    }
    for signal in seen.judged.iter().flat_map(|judged| &judged.signals) {
        lines.push(evidence(signal));
    }
    let last = status.pools.len().saturating_sub(1);
    for (at, pool) in status.pools.iter().enumerate() {
        pool_lines(seen, pool, at < last, &mut lines);
    }
    lines
}

/// A line about one thing, with its name.
fn named(name: &str) -> Line {
    Line::default().add(Tone::Faint, format!("  {name:<9} "))
}

fn stage(release: &ReleaseStatus) -> Line {
    let sign = match release.state.as_str() {
        "promoted" => Sign::Good,
        "aborted" | "rolled-back" => Sign::Bad,
        "paused" | "taken-over" => Sign::Paused,
        _ => Sign::Busy,
    };
    let line = named("release").sign(sign);
    let line = match (release.step, release.hold_s, release.left_s) {
        (Some(_), Some(hold), Some(left)) if hold > 0 => {
            line.bar(Tone::Busy, 1.0 - part(left, hold)).plain(" ")
        }
        _ => line,
    };
    line.plain(release::text(release))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds and connections are fewer"
)]
fn part(of: u64, all: u64) -> f64 {
    of as f64 / all.max(1) as f64
}

fn share(status: &Status) -> Line {
    let asked = Share {
        ppm: status.share_ppm,
    };
    let line = named("share")
        .plain("asked ")
        .add(Tone::Strong, asked.to_string());
    let measured = &status.measured;
    let Some(ppm) = measured.share_ppm else {
        return line.plain(", measured: no connections since the last change");
    };
    let (low, high) = interval(measured.candidate_connections, measured.connections);
    line.plain(", measured ")
        .add(Tone::Strong, Share { ppm }.to_string())
        .plain(format!(
            " ({:.2}% to {:.2}%) of {} connections",
            low * 100.0,
            high * 100.0,
            measured.connections
        ))
}

/// Both sums of evidence against what they have to come to.
fn evidence(signal: &SignalEvidence) -> Line {
    let shown = &signal.evidence;
    let (harm, fine) = (
        shown.harm / shown.harm_limit,
        shown.no_worse / shown.no_worse_limit,
    );
    let tone = if harm >= 1.0 { Tone::Bad } else { Tone::Plain };
    named("evidence")
        .plain(format!("{:<15} harm ", shown.signal.to_string()))
        .bar(tone, harm)
        .plain("  no worse ")
        .bar(Tone::Good, fine)
        .add(Tone::Faint, format!("  {}", signal.sentence))
}

fn pool_lines(seen: &Seen<'_>, pool: &PoolStatus, more: bool, lines: &mut Vec<Line>) {
    let sign = match pool.role.as_str() {
        _ if pool.dead => Sign::Bad,
        "active" => Sign::Good,
        "candidate" => Sign::Busy,
        _ => Sign::Idle,
    };
    let before = seen.before.and_then(|(before, ago)| {
        let mut pools = before.pools.iter();
        Some((pools.find(|old| old.name == pool.name)?, ago))
    });
    let rate = before.map(|(old, ago)| {
        let new = pool.traffic.connections;
        rate(old.traffic.connections, new, ago)
    });
    let dead = if pool.dead { ", all down" } else { "" };
    let rate = rate.map(|rate| format!(", {rate}")).unwrap_or_default();
    lines.push(
        Line::below(&[more])
            .sign(sign)
            .add(Tone::Strong, &pool.name)
            .plain(format!("  {}{dead}{rate}", pool.role)),
    );
    let last = pool.backends.len().saturating_sub(1);
    for (at, backend) in pool.backends.iter().enumerate() {
        let old = before.and_then(|(old, ago)| {
            let mut backends = old.backends.iter();
            Some((backends.find(|old| old.name == backend.name)?, ago))
        });
        lines.push(backend_line(backend, old, &[more, at < last]));
    }
}

fn backend_line(
    backend: &BackendStatus,
    before: Option<(&BackendStatus, Duration)>,
    branches: &[bool],
) -> Line {
    let state = match backend.state {
        _ if backend.leaving => "leaving",
        Admin::Ready => "ready",
        Admin::Drain => "drain",
        Admin::Maint => "maint",
    };
    let sign = match (backend.health.as_str(), backend.state) {
        ("down", _) => Sign::Bad,
        (_, Admin::Drain | Admin::Maint) => Sign::Paused,
        _ if backend.leaving => Sign::Paused,
        ("up", Admin::Ready) => Sign::Good,
        _ => Sign::Idle,
    };
    let rate = before.map(|(old, ago)| {
        let new = backend.traffic.connections;
        format!("  {}", rate(old.traffic.connections, new, ago))
    });
    let live = backend.live.map(|live| format!("  {live} live"));
    Line::below(branches)
        .sign(sign)
        .plain(&backend.name)
        .add(Tone::Faint, format!("  {}", backend.address.join(" ")))
        .plain(format!(
            "  {}, {state}  weight {} (effective {:.0}){}{}",
            backend.health,
            backend.weight,
            backend.effective_weight,
            rate.unwrap_or_default(),
            live.unwrap_or_default(),
        ))
}

/// Connections a second.
fn rate(old: u64, new: u64, ago: Duration) -> String {
    let more = part(new.saturating_sub(old), 1);
    format!("{:.0} connections/s", more / ago.as_secs_f64().max(0.001))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::line::Style, *};

    fn status(connections: u64) -> Status {
        let backend = |name: &str, health: &str, state: &str| -> Value {
            json!({
                "name": name, "address": ["10.0.0.1:80"], "weight": 100, "configured_weight": 100,
                "effective_weight": 50.0, "state": state, "health": health, "leaving": false,
                "next_hop": "resolved", "packets": 0, "bytes": 0, "connections": connections,
                "reply_packets": 0, "reply_bytes": 0
            })
        };
        let pool = |name: &str, role: &str, backends: Value| -> Value {
            json!({
                "name": name, "role": role, "dropped": 0, "dead": false, "stand_in": null,
                "traffic": {
                    "packets": 0, "bytes": 0, "connections": connections, "reply_packets": 0,
                    "reply_bytes": 0
                },
                "backends": backends
            })
        };
        serde_json::from_value(json!({
            "service": "shop", "forward": "nat", "active": "blue", "candidate": "green",
            "share_ppm": 50_000, "settled": true, "pinned": false, "settles_in_s": 61, "epoch": 9,
            "listeners": ["tcp://192.0.2.80:80"],
            "measured": {
                "connections": 1000, "candidate_connections": 50, "share_ppm": 50_000
            },
            "release": {
                "number": 3, "candidate": "green", "state": "holding", "under_way": true,
                "reason": null, "step": 2, "steps": 4, "audience": null, "asked_share_ppm": 50_000,
                "hold_s": 100, "left_s": 60, "deadline_left_s": null
            },
            "pools": [
                pool("blue", "active", json!([backend("b1", "up", "ready"),
                                              backend("b2", "down", "ready")])),
                pool("green", "candidate", json!([backend("g1", "unchecked", "drain")])),
            ]
        }))
        .expect("a status")
    }

    #[test]
    fn a_service_is_a_tree_that_does_without_colour() {
        let (old, new) = (status(100), status(300));
        let seen = Seen {
            status: &new,
            judged: None,
            before: Some((&old, Duration::from_secs(2))),
        };
        let bare = Style {
            colour: false,
            unicode: false,
        };
        let shown: Vec<_> = lines(&seen)
            .iter()
            .map(|line| line.text(bare, None))
            .collect();
        let expected = [
            "shop  nat  tcp://192.0.2.80:80",
            "  release   * ####------ 3, green at step 2 of 4 (5%), holding, 1m of its hold left",
            "  share     asked 5%, measured 5% (3.81% to 6.53%) of 1000 connections",
            "  drain     older connections have 1m 1s left",
            "|- + blue  active, 100 connections/s",
            "|  |- + b1  10.0.0.1:80  up, ready  weight 100 (effective 50)  100 connections/s",
            "|  `- x b2  10.0.0.1:80  down, ready  weight 100 (effective 50)  100 connections/s",
            "`- * green  candidate, 100 connections/s",
            "   `- = g1  10.0.0.1:80  unchecked, drain  weight 100 (effective 50)  \
             100 connections/s",
        ];
        assert_eq!(shown, expected);
    }
}
