//! `health` of a `[[service.pool]]`: how often and how strictly its backends are checked.

use std::{ops::RangeInclusive, time::Duration};

use super::{errors::Fault, model::Health, probe, raw::Section, setting};

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
const PORTS: RangeInclusive<u16> = 1..=u16::MAX;
const THRESHOLDS: RangeInclusive<u8> = 1..=100;
const DEFAULT_RISE: u8 = 2;
const DEFAULT_FALL: u8 = 3;
const DAMPING: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
const DEFAULT_DAMPING: Duration = Duration::from_mins(1);
const SLOW_START: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// What a pool's `health` means; nothing only where a problem has been reported.
pub(super) fn read(section: &mut Section) -> Option<Health> {
    let probe = probe::read(section);
    let port = section.setting("port", |n: &i64| setting::number(*n, PORTS));
    let interval = read_time(section, "interval", &INTERVAL);
    let timeout = read_time(section, "timeout", &TIMEOUT);
    let rise = section.setting("rise", |n: &i64| setting::number(*n, THRESHOLDS));
    let fall = section.setting("fall", |n: &i64| setting::number(*n, THRESHOLDS));
    let damping = read_time(section, "damping", &DAMPING);
    let slow_start = read_time(section, "slow_start", &SLOW_START);
    let interval = interval.unwrap_or(DEFAULT_INTERVAL);
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT.min(interval));
    if timeout > interval {
        section.refuse(Fault::SlowCheck { timeout, interval });
    }
    Some(Health {
        probe: probe?,
        port,
        interval,
        timeout,
        rise: rise.unwrap_or(DEFAULT_RISE).into(),
        fall: fall.unwrap_or(DEFAULT_FALL).into(),
        damping: damping.unwrap_or(DEFAULT_DAMPING),
        slow_start,
    })
}

fn read_time(
    section: &mut Section,
    key: &'static str,
    bounds: &RangeInclusive<Duration>,
) -> Option<Duration> {
    section.setting(key, |text: &String| setting::time(text, bounds))
}

#[cfg(test)]
mod tests {
    use super::super::{
        Config, HttpProbe, Probe, Statuses,
        samples::{refuses, shop},
    };
    use super::*;

    fn with(health: &str) -> String {
        shop("").replace(
            "name = \"green\"",
            &format!("name = \"green\"\nhealth = {health}"),
        )
    }

    fn health(text: &str) -> Health {
        let config = Config::parse(&with(text)).expect("valid");
        let pool = config.services[0].pool("green").expect("there");
        pool.health.clone().expect("configured")
    }

    #[test]
    fn defaults_fill_what_a_check_leaves_out() {
        let expected = Health {
            probe: Probe::Tcp,
            port: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
            damping: Duration::from_mins(1),
            slow_start: None,
        };
        assert_eq!(health("{ tcp = true }"), expected);
    }

    #[test]
    fn every_key_of_a_check_is_read() {
        let all = "{ http = \"/healthz?full\", port = 8081, interval = \"3s\", timeout = \"2s\", \
                   rise = 4, fall = 5, damping = \"5m\", slow_start = \"30s\" }";
        let expected = Health {
            probe: Probe::Http(HttpProbe {
                path: "/healthz?full".to_owned(),
                host: None,
                status: Statuses::default(),
                tls: None,
            }),
            port: Some(8081),
            interval: Duration::from_secs(3),
            timeout: Duration::from_secs(2),
            rise: 4,
            fall: 5,
            damping: Duration::from_mins(5),
            slow_start: Some(Duration::from_secs(30)),
        };
        assert_eq!(health(all), expected);
    }

    #[test]
    fn a_short_interval_shortens_the_timeout_that_is_not_set() {
        let checked = health("{ tcp = true, interval = \"200ms\" }");
        assert_eq!(checked.timeout, Duration::from_millis(200));
    }

    #[test]
    fn a_timeout_beyond_the_interval_is_refused() {
        refuses(
            &with("{ tcp = true, timeout = \"2s\" }"),
            "service `shop`: pool `green`: health waits 2s for an answer, longer than its interval \
             of 1s; shorten `timeout` or lengthen `interval`",
        );
    }

    #[test]
    fn numbers_and_times_are_kept_in_bounds() {
        for (key, bounds) in [
            ("port = 0", "from 1 to 65535"),
            ("rise = 0", "from 1 to 100"),
            ("fall = 101", "from 1 to 100"),
            ("interval = \"10ms\"", "from 100ms to 1h"),
            ("timeout = \"1ms\"", "from 10ms to 1m"),
            ("damping = \"2h\"", "from 0s to 1h"),
            ("slow_start = \"999ms\"", "from 1s to 1h"),
        ] {
            refuses(&with(&format!("{{ tcp = true, {key} }}")), bounds);
        }
    }
}
