//! `serin events` and `serin history`: the audit log, for people and for programs.

use std::time::Duration;

use tokio::time::sleep;

use super::{Failure, Format, end_with_the_reader};
use crate::{api::client::Client, journal::Entry, share::Share};

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
    }
}
