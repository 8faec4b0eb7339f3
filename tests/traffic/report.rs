//! Reads what `serin status -o json` says.

use anyhow::Result;
use serde_json::Value;
use serin_tests::daemon::Daemon;

/// A backend in the status of its service, if it is there.
pub fn find<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let pools = status["pools"].as_array().into_iter().flatten();
    let mut backends = pools.flat_map(|pool| pool["backends"].as_array().into_iter().flatten());
    backends.find(|backend| backend["name"] == name)
}

/// A number of a backend, such as `connections`.
///
/// # Panics
/// If there is no such backend or number.
pub fn of_backend(status: &Value, name: &str, key: &str) -> u64 {
    let number = find(status, name).and_then(|backend| backend[key].as_u64());
    number.unwrap_or_else(|| panic!("no {key} of backend {name} in {status}"))
}

/// How often packets have left the program for a reason.
pub fn reason(daemon: &Daemon, name: &str) -> Result<u64> {
    node(daemon, "reasons", name)
}

/// How often the flow table has been looked at.
pub fn lookups(daemon: &Daemon) -> Result<u64> {
    node(daemon, "flows", "lookup")
}

/// How often something has happened to the flow table.
pub fn flows(daemon: &Daemon, name: &str) -> Result<u64> {
    node(daemon, "flows", name)
}

fn node(daemon: &Daemon, group: &str, name: &str) -> Result<u64> {
    let status = daemon.serin(&["status"])?;
    let count = status[group][name].as_u64();
    Ok(count.unwrap_or_else(|| panic!("no {name} in {status}")))
}

/// What a backend has served.
const COUNTERS: [&str; 5] = [
    "packets",
    "bytes",
    "connections",
    "reply_packets",
    "reply_bytes",
];

/// Asserts that no counter of a backend has shrunk between two statuses.
pub fn assert_counters_grew(before: &Value, after: &Value) {
    for name in ["b1", "b2", "g1", "g2"] {
        for key in COUNTERS {
            let count = |status| find(status, name).and_then(|backend| backend[key].as_u64());
            assert!(count(before) <= count(after), "{key} of {name} went back");
        }
    }
}
