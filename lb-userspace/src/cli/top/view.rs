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
    /// The service that is looked at, told of yet or not.
    pub service: String,
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
    /// What is to be ordered, if it is wanted, and since when that is asked.
    pub question: Option<(Asked, Instant)>,
    /// What has come of the last order.
    pub said: Option<Result<String, String>>,
    /// Why there is nothing new.
    pub trouble: Option<String>,
    taken: Option<Instant>,
}

impl View {
    pub fn new(style: Style, service: &str) -> Self {
        Self {
            style,
            service: service.to_owned(),
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
            self.detail = None;
            let gone = format!("service `{}` is not configured any more", self.service);
            self.trouble = Some(gone);
        }
        if self.trouble.is_some() {
            self.said = None;
        }
        let asked = self.question.as_ref().map(|(asked, _)| asked);
        if asked.is_some_and(|asked| asked.is_outdated(self)) {
            let why = "the release has gone on meanwhile; nothing was ordered";
            (self.question, self.said) = (None, Some(Err(why.to_owned())));
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
        self.said = None;
    }

    /// Nothing of the service before is left.
    pub fn turn_to(&mut self, service: &str) {
        let (style, plot) = (self.style, self.plot);
        let services = std::mem::take(&mut self.services);
        let trouble = Some(format!("waiting for what is told of service `{service}`"));
        *self = Self {
            services,
            plot,
            trouble,
            ..Self::new(style, service)
        };
    }

    /// The service so many places on in the list, which has no end.
    pub fn neighbour(&self, places: isize) -> Option<String> {
        let names: Vec<&str> = self
            .services
            .iter()
            .map(|s| s.line.service.as_str())
            .collect();
        let here = names.iter().position(|name| *name == self.service);
        let count = isize::try_from(names.len())
            .ok()
            .filter(|&count| count > 0)?;
        let next = match here {
            Some(here) => isize::try_from(here).ok()? + places,
            // From before the first, or beyond the last.
            None if places > 0 => places - 1,
            None => places,
        };
        let next = names[usize::try_from(next.rem_euclid(count)).ok()?];
        (next != self.service).then(|| next.to_owned())
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
        let mut view = View::new(Style { colour, unicode }, "shop");
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
        assert_eq!(view.neighbour(2), None, "that is this one");
    }

    #[test]
    fn from_a_service_that_is_gone_one_comes_to_those_that_are_there() {
        let mut view = seen(true);
        view.services.remove(1);
        assert_eq!(view.neighbour(1).as_deref(), Some("mail"));
        assert_eq!(view.neighbour(-1).as_deref(), Some("mail"));
    }

    #[test]
    fn what_was_said_does_not_hide_that_nothing_is_told_any_more() {
        let mut view = seen(true);
        view.said = Some(Ok("done".to_owned()));
        view.take(Told {
            detail: None,
            ..told(99_000, [0, 0])
        });
        assert_eq!(view.said, None);
        let gone = "service `shop` is not configured any more";
        assert_eq!(view.trouble.as_deref(), Some(gone));
    }

    #[test]
    fn of_another_service_nothing_is_shown_that_was_of_this_one() {
        let mut view = seen(true);
        let asked = Asked::new(super::super::keys::Verb::Abort, &view);
        view.question = asked.map(|asked| (asked, Instant::now()));
        view.turn_to("mail");
        assert!(view.detail.is_none() && view.events.is_empty() && view.question.is_none());
        assert!(view.series.is_empty());
        assert_eq!(view.neighbour(1).as_deref(), Some("shop"), "told of or not");
    }
}
