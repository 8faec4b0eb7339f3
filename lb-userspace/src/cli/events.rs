//! `serin events` and `serin history`: the audit log, for people and for programs.

use std::time::Duration;

use tokio::time::sleep;

use super::{Failure, Format, end_with_the_reader, explain::odds};
use crate::{api::client::Client, journal::Entry, judge::percent, share::Share};

/// How often the daemon is asked for more.
const POLL: Duration = Duration::from_millis(200);

/// Prints each entry as it comes, until the reader has seen enough; one JSON object a line for
/// programs.
pub async fn follow(client: &Client, output: Format) -> Result<(), Failure> {
    end_with_the_reader();
    let mut after = 0;
    loop {
        let entries: Vec<Entry> = client.get(&format!("/v1/events?after={after}")).await?;
        for entry in &entries {
            match output {
                Format::Json => println!("{}", serde_json::to_string(entry).unwrap_or_default()),
                Format::Text => println!("{}", text(entry)),
            }
        }
        after = entries.last().map_or(after, |entry| entry.seq);
        sleep(POLL).await;
    }
}

/// One entry on a line.
pub fn text(entry: &Entry) -> String {
    let Entry {
        time,
        service,
        event,
        actor,
        cause,
        release,
        ..
    } = entry;
    let share = Share {
        ppm: entry.share_ppm,
    };
    let step = match (entry.step, entry.steps) {
        (Some(step), Some(steps)) => format!(" step {step} of {steps},"),
        _ => String::new(),
    };
    let candidate = match &entry.candidate {
        Some(candidate) => format!("{candidate} has {share}"),
        None => format!("{} has all", entry.active),
    };
    let change = match (&entry.before, &entry.after) {
        (Some(before), Some(after)) => {
            let object = entry.object.as_deref().unwrap_or("record");
            format!(" {object} {before} to {after},")
        }
        _ => String::new(),
    };
    // Whoever gave the reason does not write the lines.
    let cause: String = cause
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if service.is_empty() {
        return format!(
            "{time} {event}:{change} no service (by {}: {cause})",
            actor.name
        );
    }
    format!(
        "{time} {service} release {release} {event}:{change}{step} {candidate} (by {}: {cause})",
        actor.name
    )
}

/// What a release was judged by that has ended with it, a line a signal.
pub fn evidence(entry: &Entry) -> String {
    let Some(summary) = &entry.evidence else {
        return String::new();
    };
    let lines = summary.signals.iter().map(|said| {
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), percent);
        let quantile = said.quantile.map_or_else(String::new, |part| {
            format!(" beyond the {:.0}th percentile", part * 100.0)
        });
        format!(
            "    {}: {}{quantile}: {} {} of {} ({}), {} {} of {} ({}); odds of harm {} of \
             {}, of no worse {} of {}\n",
            said.signal,
            said.opinion,
            summary.candidate,
            said.candidate.failures,
            said.candidate.trials,
            rate(said.candidate_rate),
            summary.active,
            said.baseline.failures,
            said.baseline.trials,
            rate(said.baseline_rate),
            odds(said.harm),
            odds(said.harm_limit),
            odds(said.no_worse),
            odds(said.no_worse_limit),
        )
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_a_line_that_names_who_and_why() {
        let entry: Entry = serde_json::from_value(json!({
            "seq": 3, "time": "2026-11-25T01:02:03.004Z", "service": "shop", "event": "step",
            "actor": { "uid": 0, "name": "root" }, "cause": "promote", "release": 2, "step": 2,
            "steps": 3, "active": "blue", "candidate": "green", "share_ppm": 10000, "epoch": 9
        }))
        .expect("an entry");
        assert_eq!(
            text(&entry),
            "2026-11-25T01:02:03.004Z shop release 2 step: step 2 of 3, green has 1% (by root: \
             promote)"
        );
        assert_eq!(evidence(&entry), "");
    }

    #[test]
    fn the_evidence_of_a_release_that_has_ended_is_a_line_a_signal() {
        let entry: Entry = serde_json::from_value(json!({
            "seq": 3, "time": "", "service": "shop", "event": "aborted",
            "actor": { "uid": null, "name": "serin" }, "cause": "v2 resets", "release": 2,
            "step": null, "steps": 3, "active": "blue", "candidate": null, "share_ppm": 0,
            "epoch": 9, "evidence": { "candidate": "v2", "active": "v1", "verdict": { "harm": "reset" }, "judged": 1760, "signals": [{
                "signal": "reset", "opinion": "harm", "quantile": null,
                "candidate": { "trials": 1760, "failures": 37 }, "candidate_rate": 0.021_023,
                "baseline": { "trials": 26400, "failures": 13 }, "baseline_rate": 0.000_492,
                "harm": 3.08, "harm_limit": 2.6, "no_worse": -4.0, "no_worse_limit": 1.3
            }] }
        }))
        .expect("an entry");
        assert_eq!(
            evidence(&entry),
            "    reset: harm: v2 37 of 1760 (2.1%), v1 13 of 26400 (0.05%); odds of harm 1202 \
             of 398, of no worse <0.01 of 20\n"
        );
    }
}
