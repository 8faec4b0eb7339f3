//! wrk as a client.

use anyhow::{Context, Result};

use crate::{command::run, netns::Namespace};

/// How hard wrk works.
#[derive(Clone, Copy, Debug)]
pub struct WrkPlan {
    /// Connections that are open at once.
    pub connections: u32,
    /// For how long, in seconds.
    pub seconds: u32,
    /// One request a connection, instead of as many as fit.
    pub short: bool,
}

/// What wrk found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wrked {
    /// Requests answered.
    pub requests: u64,
    /// Of these, in a second.
    pub per_s: f64,
    /// Connections, reads and writes that failed or took too long.
    pub socket_errors: u64,
    /// Answers whose status is neither 2xx nor 3xx.
    pub bad_statuses: u64,
}

/// Runs wrk with one thread to its end. Its connections come from the namespace's own address.
pub fn wrk(from: &Namespace, url: &str, plan: WrkPlan) -> Result<Wrked> {
    let mut command = from.command("wrk");
    command.arg("--threads=1");
    command.arg(format!("--connections={}", plan.connections));
    command.arg(format!("--duration={}s", plan.seconds));
    if plan.short {
        command.args(["--header", "Connection: close"]);
    }
    let text = run(command.arg(url))?;
    parse(&text).with_context(|| format!("wrk wrote: {text}"))
}

fn parse(text: &str) -> Option<Wrked> {
    let lines = || text.lines().map(str::trim);
    let after = |label: &str| {
        lines()
            .find_map(|line| line.strip_prefix(label))
            .map(str::trim)
    };
    let requests = lines().find_map(|line| line.split_once(" requests in "))?.0;
    let socket_errors = after("Socket errors:").unwrap_or_default();
    Some(Wrked {
        requests: requests.parse().ok()?,
        per_s: after("Requests/sec:")?.parse().ok()?,
        socket_errors: socket_errors
            .split([' ', ','])
            .filter_map(|word| word.parse::<u64>().ok())
            .sum(),
        bad_statuses: match after("Non-2xx or 3xx responses:") {
            Some(count) => count.parse().ok()?,
            None => 0,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_summed_and_their_absence_is_none() {
        let clean = "  1 threads and 8 connections\n  1234 requests in 2.00s, 1MB read\nRequests/sec:    617.00\nTransfer/sec: 1MB\n";
        let dirty = format!(
            "{clean}  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"
        );

        let clean = parse(clean).expect("wrk's own words");
        let dirty = parse(&dirty).expect("wrk's own words");

        assert_eq!(
            (clean.requests, clean.socket_errors, clean.bad_statuses),
            (1234, 0, 0)
        );
        assert_eq!((dirty.socket_errors, dirty.bad_statuses), (10, 5));
    }
}
