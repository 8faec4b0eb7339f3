//! What a target is told.

use std::fs;

use nix::unistd::gethostname;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    config::NotifyFormat,
    journal::{Entry, Happened},
    share::Share,
};

/// Who speaks.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name, for people.
    name: String,
    /// Tells its entries from those of others.
    id: String,
}

impl Host {
    /// This one.
    pub fn this() -> Self {
        let name = gethostname().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        // The machine's id is not for others (machine-id(5)), but what follows from it is.
        let digest = Sha256::digest(format!("serin {machine} {name}"));
        let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
        Self {
            name,
            id: digits.collect(),
        }
    }

    /// The id of a message: the same at each attempt. A log that was deleted counts from 1 again, so
    /// the number alone would not do.
    pub fn id(&self, entry: &Entry) -> String {
        let time = entry.time.chars().filter(char::is_ascii_digit);
        format!("{}-{}-{}", self.id, entry.seq, time.collect::<String>())
    }
}

/// The media type of a body.
pub const fn kind(format: NotifyFormat) -> &'static str {
    match format {
        NotifyFormat::CloudEvents => "application/cloudevents+json",
        NotifyFormat::Slack => "application/json",
    }
}

/// What is sent of an entry.
pub fn body(format: NotifyFormat, host: &Host, entry: &Entry) -> Vec<u8> {
    let value = match format {
        NotifyFormat::CloudEvents => json!({
            "specversion": "1.0",
            "id": host.id(entry),
            "source": format!("/serin/{}", host.name),
            "type": type_of(entry),
            "time": entry.time,
            "subject": subject(entry),
            "datacontenttype": "application/json",
            "data": entry,
        }),
        NotifyFormat::Slack => json!({ "text": escaped(&text(host, entry)) }),
    };
    value.to_string().into_bytes()
}

/// The service, or the toggle that guards none.
fn subject(entry: &Entry) -> &str {
    let object = entry.object.as_deref().unwrap_or_default();
    match entry.service.as_str() {
        "" => object,
        service => service,
    }
}

/// By what it is about: the release, a backend or the configuration.
fn type_of(entry: &Entry) -> String {
    use Happened::{Applied, Drain, Maint, Ready, Toggled, Weight};
    let about = if matches!(entry.event, Weight | Drain | Maint | Ready) {
        "backend"
    } else if entry.event == Toggled {
        "toggle"
    } else if entry.event == Applied {
        "service"
    } else {
        "release"
    };
    format!("serin.{about}.{}", entry.event)
}

fn text(host: &Host, entry: &Entry) -> String {
    let Entry {
        service,
        event,
        cause,
        actor,
        ..
    } = entry;
    let object = entry.object.iter().map(|object| format!(" {object}"));
    let object: String = object.collect();
    let at = match (entry.step, entry.steps) {
        (Some(step), Some(steps)) => format!(" ({step} of {steps})"),
        _ => String::new(),
    };
    let share = Share {
        ppm: entry.share_ppm,
    };
    let users = match &entry.candidate {
        Some(candidate) => format!("{candidate} has {share}"),
        None => format!("{} has all", entry.active),
    };
    let by = &actor.name;
    let on = &host.name;
    if service.is_empty() {
        return format!("{event}{object}; {cause} (by {by}, on {on})");
    }
    format!("{service}: {event}{object}{at}, {users}; {cause} (by {by}, on {on})")
}

/// The three characters that are markup in a Slack message.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn entry(event: &str) -> Entry {
        serde_json::from_value(json!({
            "seq": 7, "time": "2026-11-27T13:00:00.000Z", "service": "shop", "event": event,
            "actor": { "uid": 0, "name": "root" }, "cause": "a < b & <!channel>", "release": 3,
            "step": 2, "steps": 4, "active": "blue", "candidate": "green", "share_ppm": 10_000,
            "epoch": 9
        }))
        .expect("an entry")
    }

    fn told(format: NotifyFormat, event: &str) -> Value {
        let host = Host {
            name: "edge1".to_owned(),
            id: "ab".to_owned(),
        };
        serde_json::from_slice(&body(format, &host, &entry(event))).expect("JSON")
    }

    #[test]
    fn a_cloud_event_has_what_version_1_asks_for_and_the_entry() {
        let event = told(NotifyFormat::CloudEvents, "step");
        for (key, value) in [
            ("specversion", "1.0"),
            ("id", "ab-7-20261127130000000"),
            ("source", "/serin/edge1"),
            ("type", "serin.release.step"),
            ("time", "2026-11-27T13:00:00.000Z"),
            ("subject", "shop"),
            ("datacontenttype", "application/json"),
        ] {
            assert_eq!(event[key], value, "{key}");
        }
        assert_eq!(event["data"], json!(entry("step")));
        for (event, kind) in [
            ("drain", "serin.backend.drain"),
            ("applied", "serin.service.applied"),
            ("rolled-back", "serin.release.rolled-back"),
        ] {
            assert_eq!(told(NotifyFormat::CloudEvents, event)["type"], kind);
        }
    }

    #[test]
    fn a_toggle_that_guards_nothing_is_the_subject_itself() {
        let host = Host {
            name: "edge1".to_owned(),
            id: "ab".to_owned(),
        };
        let entry = Entry {
            service: String::new(),
            object: Some("idle".to_owned()),
            ..entry("toggled")
        };
        let told = |format| -> Value {
            serde_json::from_slice(&body(format, &host, &entry)).expect("JSON")
        };
        let event = told(NotifyFormat::CloudEvents);
        assert_eq!(event["subject"], "idle");
        assert_eq!(event["type"], "serin.toggle.toggled");
        let text = told(NotifyFormat::Slack)["text"].clone();
        let text = text.as_str().expect("a text");
        assert!(text.starts_with("toggled idle; a &lt; b"), "{text}");
    }

    #[test]
    fn nobody_writes_markup_into_a_slack_message() {
        let message = told(NotifyFormat::Slack, "step");
        let expected = "shop: step (2 of 4), green has 1%; a &lt; b &amp; &lt;!channel&gt; \
                        (by root, on edge1)";
        assert_eq!(message, json!({ "text": expected }));
    }
}
