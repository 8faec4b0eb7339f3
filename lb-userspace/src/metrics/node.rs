//! Of the host.

use std::time::Duration;

use super::{Page, names};
use crate::api::{model::NodeStatus, toggles::ToggleStatus};

/// What is known of the host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Interfaces, exits and targets.
    pub status: NodeStatus,
    /// All toggles.
    pub toggles: Vec<ToggleStatus>,
    /// How often the program has run, and how long in all, where the kernel counts it.
    pub runs: Option<(u64, Duration)>,
}

impl Page {
    /// Adds what is known of the host.
    pub fn add_host(&mut self, host: &Host) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.count(&names::BUILD, vec![("version", version)], 1);
        for (reason, packets) in &host.status.reasons {
            self.count(&names::PACKETS, vec![("reason", reason.clone())], *packets);
        }
        for (event, count) in &host.status.flows {
            self.count(&names::FLOW_EVENTS, vec![("event", event.clone())], *count);
        }
        if let Some((runs, time)) = host.runs {
            self.count(&names::RUNS, Vec::new(), runs);
            self.number(&names::RUN_TIME, Vec::new(), time.as_secs_f64());
        }
        for (interface, state) in &host.status.interfaces {
            let attached = state.starts_with("attached");
            let labels = vec![("interface", interface.clone())];
            self.count(&names::INTERFACE, labels, attached.into());
        }
        for toggle in &host.toggles {
            let labels = vec![("toggle", toggle.toggle.clone())];
            self.count(&names::TOGGLE, labels, toggle.on.into());
        }
        for (target, status) in &host.status.notify {
            let labels = || vec![("target", target.clone())];
            self.count(&names::NOTIFY_DELIVERED, labels(), status.delivered);
            self.count(&names::NOTIFY_LOST, labels(), status.refused + status.lost);
            self.count(&names::NOTIFY_PENDING, labels(), status.pending);
        }
    }
}
