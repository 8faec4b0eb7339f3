//! h2load as a client that speaks HTTP/2.

use anyhow::{Context, Result};

use crate::{command::run, netns::Namespace};

/// What h2load found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H2Loaded {
    /// Requests answered by 2xx or 3xx.
    pub succeeded: u64,
    /// Requests that failed, broke off or took too long.
    pub failed: u64,
}

/// Runs it with so many connections, each with ten requests at a time, for some seconds. They come
/// from the namespace's own address.
pub fn h2load(from: &Namespace, url: &str, connections: u32, seconds: u32) -> Result<H2Loaded> {
    let mut command = from.command("h2load");
    command.arg(format!("--clients={connections}"));
    command.arg(format!("--duration={seconds}"));
    command.args(["--threads=1", "--max-concurrent-streams=10"]);
    let text = run(command.arg(url))?;
    parse(&text).with_context(|| format!("h2load wrote: {text}"))
}

/// The line reads `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout`.
fn parse(text: &str) -> Option<H2Loaded> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))?;
    let count = |what: &str| {
        let mut parts = line.split(", ").filter_map(|part| part.split_once(' '));
        let (count, _) = parts.find(|(_, name)| *name == what)?;
        count.parse::<u64>().ok()
    };
    Some(H2Loaded {
        succeeded: count("succeeded")?,
        failed: count("failed")? + count("errored")? + count("timeout")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_fail_is_counted() {
        let text = "x\nrequests: 20 total, 20 started, 17 done, 14 succeeded, 3 failed, 2 errored, 1 timeout\n";
        let loaded = parse(text).expect("h2load's own words");
        assert_eq!((loaded.succeeded, loaded.failed), (14, 6));
    }
}
