//! `serin cutover`, and times of day as people write them.

use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::{Timestamp, ToSpan as _, Zoned, civil::Time};

use super::order::resource;
use crate::api::{
    client::{Client, ClientError},
    model::{CutoverOrder, Done, Together, TogetherOrder},
};

/// Which services, where to and when.
#[derive(Debug, Args)]
pub struct Cutover {
    /// The service; several are cut over all or none
    #[arg(required = true)]
    services: Vec<String>,
    /// The pool, where it is not the only other one
    #[arg(long)]
    to: Option<String>,
    /// Not before this time: RFC 3339, HH:MM of this host, or like 15m from now (blue-green only)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<u64>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// The answer for one service, or for several.
pub enum Answer {
    One(Done),
    Several(Together),
}

impl Cutover {
    /// Sends the order, and waits for the answer.
    pub async fn give(self, client: &Client) -> Result<Answer, ClientError> {
        let Self {
            mut services,
            to,
            at: at_ms,
            reason,
        } = self;
        if services.len() == 1 {
            let order = CutoverOrder { to, at_ms, reason };
            let path = resource(&services.remove(0), "/cutover");
            return Ok(Answer::One(client.post(&path, &order).await?));
        }
        let order = TogetherOrder {
            services,
            to,
            at_ms,
            reason,
        };
        Ok(Answer::Several(client.post("/v1/cutover", &order).await?))
    }
}

/// A time of day, in milliseconds since the epoch.
pub fn moment(text: &str) -> Result<u64, String> {
    let now = Zoned::now();
    let at = from_now(text, &now)
        .or_else(|| next_at(text, &now))
        .or_else(|| text.parse::<Timestamp>().ok());
    at.and_then(|at| u64::try_from(at.as_millisecond()).ok())
        .ok_or_else(|| {
            "no time; write it as 2026-05-04T22:00:00+02:00, as 22:00 (of this host's zone), or as \
             15m from now"
                .to_owned()
        })
}

fn from_now(text: &str, now: &Zoned) -> Option<Timestamp> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let span = humantime::parse_duration(text).ok()?;
    let since = now.timestamp().checked_add(span).ok()?;
    // Whoever writes 0s means now, which is over by the time that the daemon reads it.
    (span > Duration::ZERO).then_some(since)
}

/// The next time that a clock on the wall shows it.
fn next_at(text: &str, now: &Zoned) -> Option<Timestamp> {
    let time = Time::strptime("%H:%M", text).ok()?;
    let today = now.with().time(time).build().ok()?;
    if today.timestamp() > now.timestamp() {
        return Some(today.timestamp());
    }
    let tomorrow = now.checked_add(1.day()).ok()?;
    let tomorrow = tomorrow.with().time(time).build().ok()?;
    Some(tomorrow.timestamp())
}

/// A moment as people read it, in UTC.
pub fn show(at_ms: u64) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at_ms));
    let at = at.and_then(|at| Timestamp::try_from(at).ok());
    at.map_or_else(|| format!("{at_ms} ms"), |at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<String> {
        let now: Zoned = "2026-05-04T21:30:00+02:00[+02:00]".parse().expect("a time");
        let at = from_now(text, &now).or_else(|| next_at(text, &now));
        at.map(|at| at.to_string())
    }

    #[test]
    fn times_are_read_from_now_and_by_the_clock_on_the_wall() {
        for (text, expected) in [
            ("15m", "2026-05-04T19:45:00Z"),
            ("+15m", "2026-05-04T19:45:00Z"),
            ("22:00", "2026-05-04T20:00:00Z"),
            ("21:30", "2026-05-05T19:30:00Z"),
            ("03:00", "2026-05-05T01:00:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(moment("2026-05-04T22:00:00+02:00"), Ok(1_777_924_800_000));
        for text in ["soon", "25:00", "0s", "-5m", "2026-05-04", "22:00:61"] {
            assert!(moment(text).is_err(), "{text}");
        }
        assert_eq!(show(1_777_924_800_000), "2026-05-04T20:00:00Z");
    }
}
