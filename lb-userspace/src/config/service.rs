//! `[[service]]`.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use super::{
    audience,
    errors::{Fault, ValueError},
    listen::ListenError,
    model::{Affinity, Connections, Datagram, Forward, Listen, OnDeadPool, Pool, Service},
    pool::{self, Frame},
    quic_lb::{self, Format},
    raw::Section,
    release,
    setting::{self, SettingError},
};

/// How long a change may stand before it settles.
const DRAIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
const DEFAULT_DRAIN: Duration = Duration::from_mins(15);
/// How long connections may outlast a change.
const DEADLINE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 7);
/// How long a session may be silent.
const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const DEFAULT_IDLE: Duration = Duration::from_secs(30);

/// What a `[[service]]` means, given the names of earlier ones; nothing only where a problem has
/// been reported.
pub(super) fn read(section: &mut Section, names: &mut BTreeSet<String>) -> Option<Service> {
    let name = section.claim_name(names, "service");
    let forward = read_forward(section);
    let listeners = read_listeners(section, forward);
    let quic_lb = quic_lb::read(section, &listeners);
    let pools = read_pools(section, forward, &listeners, quic_lb.as_deref());
    let audiences = audience::read_all(section);
    let release = release::read(section, &audiences, forward);
    let active = read_active(section, &pools);
    let affinity = section.setting("affinity", |word: &String| {
        setting::word(word, Affinity::WORDS, &[])
    });
    let drain = section.setting("drain", |text: &String| setting::time(text, &DRAIN));
    let drain = drain.unwrap_or(DEFAULT_DRAIN);
    let drain_deadline = read_deadline(section, drain);
    let connections = section.setting("connections", |word: &String| {
        setting::word(word, Connections::WORDS, &[])
    });
    let datagram = section.setting("datagram", |word: &String| {
        setting::word(word, Datagram::WORDS, &[])
    });
    let idle = section.setting("idle", |text: &String| setting::time(text, &IDLE));
    let on_dead_pool = section.setting("on_dead_pool", |word: &String| {
        setting::word(word, OnDeadPool::WORDS, &[])
    });
    Some(Service {
        name: name?,
        listeners,
        forward: forward?,
        affinity: affinity.unwrap_or(Affinity::Connection),
        connections: connections.unwrap_or(Connections::Drain),
        datagram: datagram.unwrap_or(Datagram::Stateless),
        quic_lb: quic_lb.unwrap_or_default(),
        idle: idle.unwrap_or(DEFAULT_IDLE),
        drain,
        drain_deadline,
        active: active?,
        on_dead_pool: on_dead_pool.unwrap_or(OnDeadPool::Fallback),
        pools: pools.into_iter().flatten().collect(),
        audiences,
        release,
    })
}

/// Nothing if the file asks for what there is not, so that nothing more is concluded from it.
fn read_forward(section: &mut Section) -> Option<Forward> {
    let absent = !section.contains("forward");
    // Also where it is absent: what is asked for is known, and named to who has misspelt it.
    let forward = section.setting("forward", |word: &String| {
        setting::word(word, Forward::WORDS, &[])
    });
    if absent { Some(Forward::Nat) } else { forward }
}

/// Connections are told from others by where they began until a change has settled, so that no
/// deadline may come before.
fn read_deadline(section: &mut Section, drain: Duration) -> Option<Duration> {
    section.setting("drain_deadline", |text: &String| {
        let deadline = setting::time(text, &DEADLINE)?;
        if deadline < drain {
            let drain = humantime::format_duration(drain).to_string();
            return Err(SettingError::BeforeDrain(drain));
        }
        Ok(deadline)
    })
}

fn read_listeners(section: &mut Section, forward: Option<Forward>) -> Vec<Listen> {
    let listeners = section.settings("listen", |text| {
        let listen: Listen = text.parse()?;
        match forward {
            Some(forward) if !forward.translates() && listen.to.is_some() => {
                Err(ListenError::FixedPort(forward))
            }
            Some(_) | None => Ok(listen),
        }
    });
    if listeners.as_ref().is_some_and(Vec::is_empty) {
        section.refuse(Fault::NoListener);
    }
    listeners.into_iter().flatten().flatten().collect()
}

fn read_pools(
    section: &mut Section,
    forward: Option<Forward>,
    listeners: &[Listen],
    formats: Option<&[Format]>,
) -> Vec<Option<Pool>> {
    let mut frame = Frame::new(forward, listeners, formats);
    let pools = section.tables("pool", "pool", |pool| pool::read(pool, &mut frame));
    match pools.as_ref().map(Vec::len) {
        Some(0) => section.refuse(Fault::FewPools { found: "no pool" }),
        Some(1) => section.refuse(Fault::FewPools { found: "one pool" }),
        Some(_) | None => {}
    }
    pools.unwrap_or_default()
}

/// The pool that serves first. Any name passes while a pool's own name is missing.
fn read_active(section: &mut Section, pools: &[Option<Pool>]) -> Option<String> {
    let names: Vec<_> = pools.iter().flatten().map(|pool| &pool.name).collect();
    let complete = !names.is_empty() && names.len() == pools.len();
    let absent = !section.contains("active");
    let active = section.setting("active", |text: &String| {
        if complete && !names.contains(&text) {
            let names = names.iter().map(|name| name.as_str());
            return Err(ValueError::NoSuchPool(setting::choice(names)));
        }
        Ok(text.clone())
    });
    if absent {
        names.first().map(|name| (*name).clone())
    } else {
        active
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{NODE, problems, refuses, shop};

    #[test]
    fn a_service_without_a_name_is_known_by_its_number() {
        refuses(
            &shop("").replacen("name = \"shop\"", "", 1),
            "line 4, column 1: service 1 has no `name`; add one of letters, digits, `-` and `_`",
        );
    }

    #[test]
    fn a_service_without_a_listener_is_refused() {
        let expected = "service `shop` has no listener; add one to `listen`, such as \
                        \"tcp://192.0.2.80:443\"";
        let empty = shop("").replace("[\"tcp://192.0.2.80:443\"]", "[]");
        refuses(&empty, expected);
        let line = "listen = [\"tcp://192.0.2.80:443\"]\n";
        refuses(&shop("").replace(line, ""), expected);
    }

    #[test]
    fn a_listener_that_cannot_be_is_named_with_its_place() {
        let text = shop("").replace("192.0.2.80:443", "192.0.2.80");
        let expected = "line 7, column 11: service `shop` sets `listen` to `tcp://192.0.2.80`: no \
                        port; write it as tcp://192.0.2.80:443 or tcp://[2001:db8::80]:443";
        assert_eq!(problems(&text), expected);
    }

    #[test]
    fn fewer_than_two_pools_are_refused() {
        let text = shop("");
        let pools: Vec<_> = text.match_indices("[[service.pool]]").collect();
        refuses(
            &text[..pools[1].0],
            "service `shop` has one pool; a release goes from one pool to another: add a \
             [[service.pool]]",
        );
        refuses(&text[..pools[0].0], "service `shop` has no pool; a release");
    }

    #[test]
    fn two_pools_of_one_name_are_refused() {
        refuses(
            &shop("").replace("green", "blue"),
            "service `shop`: pool `blue` has the name of an earlier pool; rename one",
        );
    }

    #[test]
    fn an_active_pool_that_is_not_there_is_refused_with_those_that_are() {
        refuses(
            &shop("active = \"purple\""),
            "service `shop` sets `active` to `purple`: the service has no such pool; name \
             `blue` or `green`",
        );
    }

    #[test]
    fn a_misspelt_key_that_may_be_left_out_is_known() {
        refuses(&shop("foward = \"l2\""), "did you mean `forward`?");
        refuses(&shop("actve = \"blue\""), "did you mean `active`?");
    }

    #[test]
    fn no_deadline_may_come_before_the_change_has_settled() {
        refuses(
            &shop("drain_deadline = \"14m\""),
            "`drain_deadline` to `14m`: earlier than `drain` (15m) is over; choose that or longer",
        );
        let equal = shop("drain = \"2s\"\ndrain_deadline = \"2s\"");
        assert_eq!(problems(&equal), "");
    }

    #[test]
    fn words_and_times_are_checked() {
        refuses(
            &shop("connections = \"keep\""),
            "unknown word; write `drain` or `cut`",
        );
        refuses(
            &shop("datagram = \"sticky\""),
            "unknown word; write `stateless` or `session`",
        );
        refuses(&shop("idle = \"2h\""), "choose a time from 1s to 1h");
        refuses(
            &shop("forward = \"nats\""),
            "unknown word; write `nat`, `l2`, `ipip` or `gue`",
        );
        refuses(
            &shop("affinity = \"cookie\""),
            "unknown word; write `connection` or `client`",
        );
        refuses(
            &shop("on_dead_pool = \"keep\""),
            "unknown word; write `fallback` or `drop`",
        );
        refuses(
            &shop("drain = \"15\""),
            "`drain` to `15`: no length of time",
        );
        refuses(&shop("drain = \"25h\""), "choose a time from 1s to 1day");
    }

    #[test]
    fn a_service_may_stand_in_an_inline_table() {
        let text = format!(
            "service = [{{ name = \"s\", listen = [\"tcp://192.0.2.80:443\"], pool = [{{ name = \
             \"a\", backends = [{{ name = \"x\", address = \"10.0.0.1\" }}] }}, {{ name = \"b\", \
             backends = [{{ name = \"y\", address = \"10.0.0.2\" }}] }}] }}]\n{NODE}"
        );
        assert_eq!(problems(&text), "");
    }
}
