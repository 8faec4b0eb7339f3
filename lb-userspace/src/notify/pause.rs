//! How long to wait before the next attempt.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::{Duration, SystemTime},
};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(5);
/// A target that asks for more patience is not believed.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// The pause after so many attempts in a row have failed: from half to all of a time that doubles.
/// `chance` is any number.
pub fn backoff(failed: u64, chance: u64) -> Duration {
    let doublings = u32::try_from(failed.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 2_u32.saturating_pow(doublings);
    let whole = FIRST.saturating_mul(factor).min(LONGEST);
    let part = u32::try_from(chance % 1000).unwrap_or(0);
    whole / 2 + whole / 2 * part / 1000
}

/// A number that nobody foresees, so that hosts that failed together do not come back together.
pub fn chance() -> u64 {
    RandomState::new().hash_one(())
}

/// What a Retry-After asks for (RFC 9110, section 10.2.3): seconds, or a time of day.
pub fn asked(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    let seconds = header.parse().ok().map(Duration::from_secs);
    let date = || httpdate::parse_http_date(header).ok();
    let until = || Some(date()?.duration_since(now).unwrap_or_default());
    seconds.or_else(until).map(|asked| asked.min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_and_never_vanish() {
        let bounds = |failed| [backoff(failed, 0), backoff(failed, 999)];
        let seconds = |times: [Duration; 2]| times.map(|time| time.as_secs_f64());
        for (failed, low) in [
            (1, 0.25),
            (2, 0.5),
            (3, 1.0),
            (10, 128.0),
            (11, 150.0),
            (u64::MAX, 150.0),
        ] {
            let [least, most] = seconds(bounds(failed));
            assert!((least - low).abs() < 1e-9, "{failed}: {least}");
            assert!(most > 1.99 * low && most <= 2.0 * low, "{failed}: {most}");
        }
    }

    #[test]
    fn a_target_may_ask_for_patience_by_seconds_or_by_date() {
        let now = httpdate::parse_http_date("Fri, 27 Nov 2026 13:00:00 GMT").expect("a date");
        for (header, seconds) in [
            ("7", Some(7)),
            ("Fri, 27 Nov 2026 13:00:09 GMT", Some(9)),
            ("Fri, 27 Nov 2026 12:00:00 GMT", Some(0)),
            ("99999999", Some(3600)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(
                asked(header, now),
                seconds.map(Duration::from_secs),
                "{header}"
            );
        }
    }
}
