//! `health` of a `[[service.pool]]`.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    errors::Fault,
    model::{Health, Probe},
    raw::Section,
    setting,
};

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
const PORTS: RangeInclusive<u16> = 1..=u16::MAX;
const THRESHOLDS: RangeInclusive<u8> = 1..=100;
const DEFAULT_RISE: u8 = 2;
const DEFAULT_FALL: u8 = 3;

/// What a pool's `health` means; nothing only where a problem has been reported.
pub(super) fn read(section: &mut Section) -> Option<Health> {
    let probe = read_probe(section);
    let port = section.setting("port", |n: &i64| setting::number(*n, PORTS));
    let interval = section.setting("interval", |text: &String| setting::time(text, &INTERVAL));
    let timeout = section.setting("timeout", |text: &String| setting::time(text, &TIMEOUT));
    let rise = section.setting("rise", |n: &i64| setting::number(*n, THRESHOLDS));
    let fall = section.setting("fall", |n: &i64| setting::number(*n, THRESHOLDS));
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
    })
}

fn read_probe(section: &mut Section) -> Option<Probe> {
    let planned = ["https", "grpc"];
    let named = ["tcp", "http"].iter().chain(&planned);
    let unnamed = !named.into_iter().any(|key| section.contains(key));
    section.not_built(&planned);
    let tcp = section.value::<bool>("tcp").map(|tcp| *tcp.get_ref());
    let http = section.setting("http", |path: &String| setting::http_path(path));
    match (tcp, http) {
        (Some(true), Some(_)) => section.refuse(Fault::TwoChecks),
        (Some(true), None) => return Some(Probe::Tcp),
        (_, Some(path)) => return Some(Probe::Http(path)),
        (Some(false), None) => section.refuse(Fault::NoCheck),
        (None, None) if unnamed => section.refuse(Fault::NoCheck),
        (None, None) => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{
        Config,
        samples::{problems, refuses, shop},
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
        };
        assert_eq!(health("{ tcp = true }"), expected);
    }

    #[test]
    fn every_key_of_a_check_is_read() {
        let all = "{ http = \"/healthz?full\", port = 8081, interval = \"3s\", timeout = \"2s\", \
                   rise = 4, fall = 5 }";
        let expected = Health {
            probe: Probe::Http("/healthz?full".to_owned()),
            port: Some(8081),
            interval: Duration::from_secs(3),
            timeout: Duration::from_secs(2),
            rise: 4,
            fall: 5,
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
    fn a_check_is_of_one_kind() {
        for none in ["{}", "{ tcp = false }", "{ rise = 1 }"] {
            let said = problems(&with(none));
            let expected = "pool `green`: health names no check; write tcp = true or http = \
                            \"/healthz\"";
            assert!(said.ends_with(expected), "{said}");
        }
        refuses(
            &with("{ tcp = true, http = \"/\" }"),
            "pool `green`: health names two checks; keep `tcp` or `http`",
        );
    }

    #[test]
    fn kinds_that_are_promised_are_refused_as_not_built_yet() {
        for kind in ["https = \"/\"", "grpc = \"svc\""] {
            let said = problems(&with(&format!("{{ {kind} }}")));
            let name = kind.split(' ').next().expect("a word");
            let expected = format!("health uses `{name}`, which is not built yet; leave it out");
            assert!(said.ends_with(&expected), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }

    #[test]
    fn a_path_that_no_request_can_have_is_refused() {
        for path in ["healthz", "", "/a b", "/a#b", "http://x/"] {
            refuses(
                &with(&format!("{{ http = \"{path}\" }}")),
                "no path of an HTTP request; write it as \"/healthz\"",
            );
        }
    }

    #[test]
    fn numbers_and_times_are_kept_in_bounds() {
        for (key, bounds) in [
            ("port = 0", "from 1 to 65535"),
            ("rise = 0", "from 1 to 100"),
            ("fall = 101", "from 1 to 100"),
            ("interval = \"10ms\"", "from 100ms to 1h"),
            ("timeout = \"1ms\"", "from 10ms to 1m"),
        ] {
            refuses(&with(&format!("{{ tcp = true, {key} }}")), bounds);
        }
    }
}
