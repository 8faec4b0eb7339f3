//! What is on the screen, whatever its size.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{feed::Told, keys::Asked, series::Series};
use crate::{
    api::{
        client::ClientError,
        model::Status,
        stream::{Detail, Summary},
    },
    cli::watch::Style,
    journal::Entry,
};

/// Entries of the log that are kept.
const KEPT: usize = 100;

/// Which plot is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plot {
    /// The share asked for and the one measured.
    #[default]
    Share,
    /// Connections a second by pool.
    Pools,
    /// The same by backend.
    Backends,
}

impl Plot {
    pub const fn next(self) -> Self {
        match self {
            Self::Share => Self::Pools,
            Self::Pools => Self::Backends,
            Self::Backends => Self::Share,
        }
    }
}

pub struct View {
    pub style: Style,
    pub services: Vec<Summary>,
    pub detail: Option<Detail>,
    /// The status one second earlier, and how much earlier: what rates are measured by.
    pub before: Option<(Status, Duration)>,
    pub series: Series,
    /// The newest last.
    pub events: VecDeque<Entry>,
    pub plot: Plot,
    /// Lines of the tree that are above the screen.
    pub scrolled: usize,
    /// What is to be ordered, if it is wanted.
    pub question: Option<Asked>,
    /// What has come of the last order.
    pub said: Option<Result<String, String>>,
    /// Why there is nothing new.
    pub trouble: Option<String>,
    taken: Option<Instant>,
}

impl View {
    pub fn new(style: Style) -> Self {
        Self {
            style,
            services: Vec::new(),
            detail: None,
            before: None,
            series: Series::default(),
            events: VecDeque::new(),
            plot: Plot::default(),
            scrolled: 0,
            question: None,
            said: None,
            trouble: None,
            taken: None,
        }
    }

    /// Takes another second in.
    pub fn take(&mut self, told: Told) {
        self.trouble = told.problem;
        if let Some(services) = told.services {
            self.services = services;
        }
        let passed = self.taken.map(|taken| taken.elapsed());
        self.taken = Some(Instant::now());
        if let Some(detail) = told.detail {
            self.series.take(told.at_ms, &detail.status);
            let before = self.detail.replace(detail).map(|before| before.status);
            self.before = before.zip(passed);
        } else if self.trouble.is_none() {
            let gone = self.service().unwrap_or_default();
            self.trouble = Some(format!("service `{gone}` is no longer configured"));
        }
        self.events.extend(told.events);
        let spare = self.events.len().saturating_sub(KEPT);
        self.events.drain(..spare);
    }

    /// The daemon does not answer, or not well.
    pub fn lost(&mut self, error: &ClientError) {
        self.trouble = Some(match error {
            ClientError::Unreachable { .. } | ClientError::Broken { .. } => {
                "the daemon does not answer; it is tried again each second".to_owned()
            }
            ClientError::Refused { .. } => format!("{error}; it is tried again each second"),
        });
    }

    /// Nothing of the service before is left.
    pub fn turn_to(&mut self, service: &str) {
        let (style, plot) = (self.style, self.plot);
        let services = std::mem::take(&mut self.services);
        let trouble = Some(format!("waiting for what is told of service `{service}`"));
        *self = Self {
            plot,
            services,
            trouble,
            ..Self::new(style)
        };
    }

    /// The service that is looked at.
    pub fn service(&self) -> Option<&str> {
        Some(&self.detail.as_ref()?.status.service)
    }

    /// The service so many places on in the list, which has no end.
    pub fn neighbour(&self, places: isize) -> Option<String> {
        let names: Vec<&str> = self
            .services
            .iter()
            .map(|s| s.line.service.as_str())
            .collect();
        let here = names.iter().position(|name| Some(*name) == self.service());
        let count = isize::try_from(names.len())
            .ok()
            .filter(|&count| count > 1)?;
        let next = isize::try_from(here.unwrap_or(0)).ok()? + places;
        let next = usize::try_from(next.rem_euclid(count)).ok()?;
        Some(names[next].to_owned())
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    /// Two pools of one backend each that have so many connections.
    pub fn status([blue, green]: [u64; 2], asked_ppm: u32) -> Status {
        let pool = |name: &str, role: &str, backend: &str, connections: u64| {
            let traffic = json!({ "packets": 9, "bytes": 900, "connections": connections,
                "reply_packets": 9, "reply_bytes": 900 });
            let mut of_backend = json!({ "name": backend, "address": ["10.0.0.1:80"], "weight": 1,
                "configured_weight": 1, "effective_weight": 1.0, "state": "ready", "health": "up",
                "leaving": false, "next_hop": "resolved" });
            let fields = of_backend.as_object_mut().expect("an object");
            fields.extend(traffic.as_object().expect("an object").clone());
            json!({ "name": name, "role": role, "dropped": 0, "dead": false, "stand_in": null,
                "traffic": traffic, "backends": [of_backend] })
        };
        serde_json::from_value(json!({
            "service": "shop", "forward": "nat", "active": "blue", "candidate": "green",
            "share_ppm": asked_ppm, "settled": true, "pinned": false, "settles_in_s": null,
            "release": { "number": 3, "candidate": "green", "state": "holding", "under_way": true,
                "reason": null, "step": 2, "steps": 4, "audience": null,
                "asked_share_ppm": asked_ppm, "hold_s": 60, "left_s": 41,
                "deadline_left_s": null },
            "epoch": 7, "listeners": ["tcp://192.0.2.80:80"],
            "measured": { "connections": 0, "candidate_connections": 0, "share_ppm": null },
            "pools": [pool("blue", "active", "b1", blue), pool("green", "candidate", "g1", green)]
        }))
        .expect("a status")
    }

    /// A second of a service, among two.
    pub fn told(at_ms: u64, counts: [u64; 2]) -> Told {
        let line = |service: &str| {
            json!({ "service": service, "active": "blue", "candidate": "green",
                "share_ppm": 100_000, "settled": true, "listeners": [], "measured": null,
                "release": null })
        };
        let event = json!({ "seq": at_ms, "time": "2026-11-30T12:00:00.000Z", "service": "shop",
            "event": "step", "actor": { "uid": 0, "name": "root" }, "cause": "time", "release": 3,
            "step": 2, "steps": 4, "active": "blue", "candidate": "green", "share_ppm": 100_000,
            "epoch": 7 });
        let latency = json!({ "handshake": { "candidate": [[128, 5]], "baseline": [[128, 9]] },
            "first_byte": { "candidate": [[2048, 5]], "baseline": [[1024, 9]] } });
        let detail = json!({ "status": status(counts, 100_000), "judged": null,
            "latency": latency });
        serde_json::from_value(json!({ "at_ms": at_ms, "problem": null,
            "services": [line("mail"), line("shop")], "detail": detail, "events": [event] }))
        .expect("a second")
    }

    /// Of some seconds, without colour.
    pub fn seen(unicode: bool) -> View {
        let colour = false;
        let mut view = View::new(Style { colour, unicode });
        for second in 0..30 {
            view.take(told(second * 1000, [second * 90, second * 10]));
        }
        view
    }

    #[test]
    fn neighbours_are_those_of_the_list_which_has_no_end() {
        let view = seen(true);
        assert_eq!(view.neighbour(1).as_deref(), Some("mail"));
        assert_eq!(view.neighbour(-1).as_deref(), Some("mail"));
        assert_eq!(view.neighbour(2).as_deref(), Some("shop"));
    }

    #[test]
    fn of_another_service_nothing_is_shown_that_was_of_this_one() {
        let mut view = seen(true);
        view.question = Asked::new(super::super::keys::Verb::Abort, &view);
        view.turn_to("mail");
        assert!(view.detail.is_none() && view.events.is_empty() && view.question.is_none());
        assert_eq!(view.series.measured(1), [None]);
    }
}
