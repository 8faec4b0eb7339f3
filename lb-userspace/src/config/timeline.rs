//! How a configured release goes in time, as `serin check` tells it.

use std::{collections::BTreeMap, time::Duration};

use humantime::format_duration;
use serde::Serialize;

use super::{
    colours::{Colour, colours},
    judge,
    model::{Config, Connections, Datagram, Service},
};
use crate::{
    release::engine::{Gate, Plan, Point, Probe, Step, Strategy},
    share::whom,
};

/// A release in time, for programs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Timeline {
    strategy: Strategy,
    /// As many backends, as strong and as well checked? Warnings say where not.
    pools: Vec<Colour>,
    steps: Vec<Line>,
    /// Seconds from the start to the promotion, if nobody and nothing stops it.
    earliest_end_s: u64,
    /// Seconds for which it is watched after the promotion, and taken back by itself.
    bake_s: u64,
    /// Seconds until it is aborted; null if never.
    deadline_s: Option<u64>,
    rollback: Rollback,
    gates: Vec<GateLine>,
}

/// One gate.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct GateLine {
    name: String,
    /// `exec`, `http`, `prometheus` or `approval`.
    kind: &'static str,
    /// `before start`, `before 2`, `before promote`, `during 2` or `after promote`.
    point: String,
}

/// One step.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    audience: Option<String>,
    share_ppm: u32,
    hold_s: u64,
    approve: bool,
    /// It ends sooner, as soon as the judge says that the candidate is no worse.
    evidence: bool,
    /// The step is passed over while it is off.
    toggle: Option<String>,
}

/// How long it takes until users are back.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Rollback {
    /// Seconds until new connections go to the active pool again: one store, unless sessions are
    /// pinned first.
    new_connections_s: u64,
    /// Seconds until the change has settled. Connections that the candidate has may live longer.
    settled_s: u64,
}

/// The timelines of all services that have a release.
pub fn timelines(config: &Config) -> BTreeMap<String, Timeline> {
    let services = config.services.iter();
    let releases = services.filter_map(|service| {
        let plan = service.release.as_ref()?;
        Some((service.name.clone(), timeline(service, plan)))
    });
    releases.collect()
}

fn timeline(service: &Service, plan: &Plan) -> Timeline {
    let steps = plan.steps.iter().map(|step| Line {
        audience: step.audience.clone(),
        share_ppm: step.share_ppm,
        hold_s: step.hold.as_secs(),
        approve: step.approve,
        evidence: step.evidence,
        toggle: step.toggle.clone(),
    });
    let gates = plan.gates.iter().map(|gate| GateLine {
        name: gate.name.clone(),
        kind: gate.probe.kind(),
        point: gate.point.text(plan),
    });
    Timeline {
        strategy: plan.strategy,
        pools: colours(service),
        bake_s: plan.bake.as_secs(),
        steps: steps.collect(),
        gates: gates.collect(),
        earliest_end_s: earliest_end(service, plan).as_secs(),
        deadline_s: plan.deadline.map(|deadline| deadline.as_secs()),
        rollback: Rollback {
            new_connections_s: pinning(service).as_secs(),
            settled_s: (pinning(service) + service.drain).as_secs(),
        },
    }
}

/// Lines for each step, the end and the way back; empty for a service without a release.
pub(super) fn outline(service: &Service) -> String {
    let Some(plan) = &service.release else {
        return String::new();
    };
    // Sessions are pinned before each step, and before the promotion.
    let mut begins = pinning(service);
    let mut steps = String::new();
    for (number, step) in (1..).zip(&plan.steps) {
        steps += &outline_step(number, begins, step);
        begins += step.shortest() + pinning(service);
    }
    let by_gate = plan.gates.iter().any(|gate| gate.probe == Probe::Approval);
    let approval = by_gate || plan.steps.iter().any(|step| step.approve);
    let approval = if approval { " and all approvals" } else { "" };
    let gates: String = plan
        .gates
        .iter()
        .map(|gate| outline_gate(plan, gate))
        .collect();
    let deadline = plan.deadline.map_or(String::new(), |deadline| {
        format!("; aborted after {}", format_duration(deadline))
    });
    let end = format_duration(earliest_end(service, plan));
    let (head, promotion) = match plan.strategy {
        Strategy::Canary => (
            format!("canary: {} steps, then promotion", plan.steps.len()),
            "promotion",
        ),
        Strategy::BlueGreen => ("blue-green: all users in one store".to_owned(), "cutover"),
    };
    format!(
        "  release {head}\n{}{steps}    {promotion} after {end}{approval} at the \
         earliest{deadline}\n{gates}{}{}    rollback: {}\n",
        outline_colours(service, plan),
        plan.judge
            .as_ref()
            .map_or_else(String::new, |judging| judge::outline(
                judging,
                &plan.steps,
                service.forward
            )),
        outline_bake(plan),
        outline_rollback(service)
    )
}

/// The two that users are moved between at once.
fn outline_colours(service: &Service, plan: &Plan) -> String {
    if plan.strategy == Strategy::Canary {
        return String::new();
    }
    let lines = colours(service).into_iter();
    lines.fold(String::new(), |lines, colour| {
        lines + "    pool " + &colour.to_string() + "\n"
    })
}

fn outline_bake(plan: &Plan) -> String {
    if plan.bake == Duration::ZERO {
        return String::new();
    }
    let bake = format_duration(plan.bake);
    format!("    bake: watched for {bake}, and taken back by itself\n")
}

fn outline_gate(plan: &Plan, gate: &Gate) -> String {
    let Gate { name, probe, .. } = gate;
    let point = gate.point.text(plan);
    let (kind, interval) = (probe.kind(), format_duration(gate.interval));
    let rhythm = match (probe, gate.point) {
        (Probe::Approval, _) => String::new(),
        (_, Point::Before(_)) => format!(", every {interval} until it passes"),
        (_, Point::During(_) | Point::After) => format!(", every {interval}"),
    };
    format!("    gate {name} ({kind}): {point}{rhythm}\n")
}

fn outline_step(number: u32, begins: Duration, step: &Step) -> String {
    let who = whom(step.audience.as_deref(), step.share_ppm);
    let hold = format_duration(step.hold);
    let hold = match step.hold {
        Duration::ZERO => String::new(),
        _ if step.evidence => format!(", until it is no worse, or for {hold}"),
        _ => format!(", held for {hold}"),
    };
    let approve = if step.approve { ", until approved" } else { "" };
    let guard = guard(step.toggle.as_deref());
    format!(
        "    step {number} after {}: {who}{hold}{approve}{guard}\n",
        format_duration(begins)
    )
}

/// What follows a part that a toggle guards.
pub(super) fn guard(toggle: Option<&str>) -> String {
    toggle.map_or_else(String::new, |toggle| {
        format!(", while toggle {toggle} is on")
    })
}

fn outline_rollback(service: &Service) -> String {
    let new = match pinning(service) {
        Duration::ZERO => "new connections in one store".to_owned(),
        idle => format!(
            "new connections in one store, once sessions were pinned for {}",
            format_duration(idle)
        ),
    };
    let old = match service.connections {
        Connections::Cut => "older ones are reset".to_owned(),
        Connections::Drain => format!(
            "older ones end by themselves, settled after {}",
            format_duration(service.drain)
        ),
    };
    format!("{new}; {old}")
}

/// From the start to the promotion, if nothing stops it.
fn earliest_end(service: &Service, plan: &Plan) -> Duration {
    let changes = u32::try_from(plan.steps.len() + 1).unwrap_or(u32::MAX);
    plan.shortest() + pinning(service).saturating_mul(changes)
}

/// How long sessions are pinned before a change.
fn pinning(service: &Service) -> Duration {
    match service.datagram {
        Datagram::Session => service.idle,
        Datagram::Stateless => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::shop;
    use super::*;

    const RELEASE: &str = "[[service.audience]]\nname = \"staff\"\nvlan = 7\npool = \
                           \"candidate\"\n[service.release]\ndeadline = \"1h\"\nsteps = [{ audience \
                           = \"staff\", hold = \"10m\" }, { share = \"1%\", hold = \"5m\" }, { share \
                           = \"25%\", approve = true }]\n";

    fn config(line: &str) -> Config {
        Config::parse(&format!("{}{RELEASE}", shop(line))).expect("valid")
    }

    #[test]
    fn steps_are_shown_with_when_they_begin_the_end_and_the_way_back() {
        let expected = "  release canary: 3 steps, then promotion
    step 1 after 0s: audience staff, held for 10m
    step 2 after 10m: 1%, held for 5m
    step 3 after 15m: 25%, until approved
    promotion after 15m and all approvals at the earliest; aborted after 1h
    rollback: new connections in one store; older ones end by themselves, settled after 15m
";
        assert_eq!(outline(&config("").services[0]), expected);
    }

    #[test]
    fn an_audience_beside_a_share_is_shown_with_both() {
        let text = RELEASE.replace("{ share = \"25%\",", "{ audience = \"beta\",");
        let beta = "[[service.audience]]\nname = \"beta\"\nvlan = 8\npool = \"candidate\"\n";
        let config = Config::parse(&format!("{}{beta}{text}", shop(""))).expect("valid");
        let shown = outline(&config.services[0]);
        let expected = "step 3 after 15m: audience beta beside 1%, until approved\n";
        assert!(shown.contains(expected), "{shown}");
    }

    #[test]
    fn gates_are_shown_with_when_and_how_often_they_are_asked() {
        let gates = "[[service.release.gate]]\nname = \"smoke\"\nbefore = \"start\"\nexec = \
                     [\"/x\"]\n[[service.release.gate]]\nname = \"errors\"\nduring = 2\nhttp = \
                     \"http://x/\"\ninterval = \"10s\"\n[[service.release.gate]]\nname = \
                     \"boss\"\nbefore = \"promote\"\napproval = true\n";
        let text =
            format!("{}{RELEASE}{gates}", shop("")).replace("approve = true", "hold = \"1m\"");
        let config = Config::parse(&text).expect("valid");
        let shown = outline(&config.services[0]);
        let expected = "    promotion after 16m and all approvals at the earliest; aborted after 1h
    gate smoke (exec): before start, every 30s until it passes
    gate errors (http): during 2, every 10s
    gate boss (approval): before promote
    rollback:";
        assert!(shown.contains(expected), "{shown}");
        let all = timelines(&config);
        let points: Vec<_> = all["shop"]
            .gates
            .iter()
            .map(|gate| gate.point.as_str())
            .collect();
        assert_eq!(points, ["before start", "during 2", "before promote"]);
    }

    #[test]
    fn sessions_and_cut_connections_change_the_way_back() {
        let config = config("datagram = \"session\"\nidle = \"10s\"\nconnections = \"cut\"");
        let shown = outline(&config.services[0]);
        assert!(shown.contains("step 2 after 10m 20s: 1%"), "{shown}");
        assert!(shown.contains("promotion after 15m 40s"), "{shown}");
        let expected = "rollback: new connections in one store, once sessions were pinned for 10s; \
                        older ones are reset\n";
        assert!(shown.ends_with(expected), "{shown}");
        let all = timelines(&config);
        let timeline = &all["shop"];
        assert_eq!(
            (timeline.earliest_end_s, timeline.deadline_s),
            (900 + 4 * 10, Some(3600))
        );
        let rollback = Rollback {
            new_connections_s: 10,
            settled_s: 910,
        };
        assert_eq!(timeline.rollback, rollback);
    }

    #[test]
    fn a_blue_green_release_shows_its_preview_its_cutover_its_bake_and_both_colours() {
        let text = format!(
            "{}[[service.audience]]\nname = \"staff\"\nvlan = 7\npool = \"candidate\"\n\
             [service.release]\nstrategy = \"blue-green\"\nbake = \"10m\"\nsteps = [{{ audience = \
             \"staff\", hold = \"5m\", approve = true }}]\n",
            shop("")
        );
        let config = Config::parse(&text).expect("valid");
        let expected = "  release blue-green: all users in one store
    pool blue has 1 backends, weight 100, not checked
    pool green has 1 backends, weight 100, not checked
    step 1 after 0s: audience staff, held for 5m, until approved
    cutover after 5m and all approvals at the earliest
    bake: watched for 10m, and taken back by itself
    rollback: new connections in one store; older ones end by themselves, settled after 15m
";
        assert_eq!(outline(&config.services[0]), expected);
        let told = serde_json::to_value(&timelines(&config)["shop"]).expect("JSON");
        assert_eq!(
            (&told["strategy"], &told["bake_s"]),
            (&"blue-green".into(), &600.into())
        );
        assert_eq!(told["pools"][1]["backends"], 1);
    }

    #[test]
    fn a_service_without_a_release_has_no_timeline() {
        let config = Config::parse(&shop("")).expect("valid");
        assert_eq!(outline(&config.services[0]), "");
        assert!(timelines(&config).is_empty());
    }
}
