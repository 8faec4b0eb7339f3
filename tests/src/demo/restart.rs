//! What the daemon says of a service, and whether it still says so after a crash.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::daemon::Daemon;

/// What must be the same after a crash.
const STATE: [&str; 5] = ["active", "candidate", "share_ppm", "epoch", "forward"];
const BACKEND_STATE: [&str; 4] = ["weight", "configured_weight", "state", "address"];
/// What may only have grown.
const BACKEND_COUNTERS: [&str; 5] = [
    "packets",
    "bytes",
    "connections",
    "reply_packets",
    "reply_bytes",
];

/// The JSON of `serin status`.
pub(super) struct Reported(Value);

impl Reported {
    pub(super) fn by(daemon: &Daemon, service: &str) -> Result<Self> {
        daemon.serin(&["status", service]).map(Self)
    }

    /// What has changed or been lost since `before`, in sentences.
    pub(super) fn differences_from(&self, before: &Self) -> Vec<String> {
        let mut found = changed("service", &STATE, &before.0, &self.0);
        match (before.backends(), self.backends()) {
            (Ok(before), Ok(after)) if before.len() == after.len() => {
                for (before, after) in before.into_iter().zip(after) {
                    let name = format!("backend {}", before["name"]);
                    found.extend(changed(&name, &BACKEND_STATE, before, after));
                    found.extend(shrunk(&name, before, after));
                }
            }
            (Ok(_), Ok(_)) => found.push("the restarted daemon reports other backends".to_owned()),
            (Err(error), _) | (_, Err(error)) => found.push(format!("{error:#}")),
        }
        found
    }

    fn backends(&self) -> Result<Vec<&Value>> {
        let pools = self.0["pools"].as_array();
        let backends = pools.into_iter().flatten().map(|pool| {
            pool["backends"]
                .as_array()
                .context("a pool without backends")
        });
        let nested: Result<Vec<_>> = backends.collect();
        let flat: Vec<_> = nested?.into_iter().flatten().collect();
        anyhow::ensure!(
            !flat.is_empty(),
            "`serin status` reports no backends: {}",
            self.0
        );
        Ok(flat)
    }
}

fn changed(what: &str, names: &[&str], before: &Value, after: &Value) -> Vec<String> {
    names
        .iter()
        .filter(|name| before[**name] != after[**name])
        .map(|name| {
            format!(
                "{what}: {name} was {} before the daemon was killed and is {} after its start",
                before[*name], after[*name]
            )
        })
        .collect()
}

fn shrunk(what: &str, before: &Value, after: &Value) -> Vec<String> {
    BACKEND_COUNTERS
        .iter()
        // A counter that is missing afterwards has shrunk, too.
        .filter(|name| after[**name].as_u64() < before[**name].as_u64())
        .map(|name| {
            format!(
                "{what}: counter {name} was {} before the daemon was killed and is only {} after its start",
                before[*name], after[*name]
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reported(share_ppm: u32, connections: u32) -> Reported {
        Reported(json!({
            "active": "blue", "share_ppm": share_ppm,
            "pools": [{"backends": [{"name": "b1", "connections": connections}]}],
        }))
    }

    #[test]
    fn counters_may_grow_and_nothing_else_may_change() {
        let before = reported(300_000, 10);

        assert_eq!(reported(300_000, 11).differences_from(&before), [""; 0]);
        assert_eq!(reported(300_000, 9).differences_from(&before).len(), 1);
        assert_eq!(reported(0, 10).differences_from(&before).len(), 1);
    }

    #[test]
    fn a_status_without_backends_is_a_difference() {
        let after = Reported(json!({"active": "blue", "share_ppm": 300_000}));

        assert!(!after.differences_from(&reported(300_000, 10)).is_empty());
    }
}
