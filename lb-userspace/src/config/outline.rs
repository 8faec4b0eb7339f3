//! What a configuration comes to, as `serin check` prints it for a good file.

use std::sync::Arc;

use ipnet::IpNet;
use lb_common::{
    address::Address,
    audience::AudienceSet,
    backend,
    counters::{AudienceCounters, BackendCounters},
    flow::{FlowKey, Pin},
    fragment::{FragmentKey, Pieces},
    listener::{Endpoint, Listener, Reply},
    maps::{
        LISTENER_KEYS, MAX_AUDIENCE_SETS, MAX_AUDIENCES, MAX_BACKENDS, MAX_CLIENTS, MAX_FRAGMENTS,
        MAX_POOLS, MAX_RECORDS, MAX_ROWS, MAX_SERVICES, MAX_SOURCES, MAX_TALLIES, MAX_WATCHED,
        MAX_WORDS, REPLY_KEYS, SERVER_KEYS, TABLES_PER_POOL, half_open,
    },
    pool::SLOT_COUNT,
    quic_lb::{Server, ServerKey},
    reason,
    release::Record,
    signal::{Breaker, Tally, Told, Watched, histogram::Row},
};

use super::{
    model::{Audience, Config, Encap, Forward, Health, Pool, Service},
    timeline,
    toggle::Toggle,
};

/// Bytes of a hash map's entry beside key and value: `struct htab_elem` in the kernel's
/// `kernel/bpf/hashtab.c`.
const HASH_ENTRY: u64 = 48;
/// Bytes of a hash map's bucket: `struct bucket`, ibidem.
const HASH_BUCKET: u64 = 16;
/// Bytes of a pool's table.
const TABLE: u64 = 4 * SLOT_COUNT as u64;

/// A line for each service, followed by one for each of its pools; then the memory of the maps.
pub fn outline(config: &Config) -> String {
    let services: String = config.services.iter().map(outline_service).collect();
    let toggles: String = config
        .toggles
        .iter()
        .map(|toggle| outline_toggle(config, toggle))
        .collect();
    services + &toggles + &outline_encap(config) + &outline_memory(config)
}

fn outline_service(service: &Service) -> String {
    let Service { name, forward, .. } = service;
    let listeners: Vec<_> = service.listeners.iter().map(ToString::to_string).collect();
    let listeners = listeners.join(", ");
    let pools = service
        .pools
        .iter()
        .map(|pool| outline_pool(pool, &service.active));
    let pools: String = pools.collect();
    let audiences: String = service.audiences.iter().map(outline_audience).collect();
    let release = timeline::outline(service);
    format!("service {name}: {forward}, {listeners}\n{audiences}{pools}{release}")
}

/// Who is in it, and what they get.
fn outline_audience(audience: &Audience) -> String {
    let Audience {
        name, geography, ..
    } = audience;
    let mut who = Vec::new();
    let mut say = |there: bool, what: String| who.extend(there.then_some(what));
    let count = |nets: &Option<Arc<[IpNet]>>| nets.as_ref().map_or(0, |nets| nets.len());
    say(
        audience.sources.is_some(),
        format!("{} prefixes", count(&audience.sources)),
    );
    let places = geography.countries.iter().cloned();
    let places = places.chain(geography.asns.iter().map(|number| format!("AS{number}")));
    let places: Vec<_> = places.collect();
    let located = count(&audience.located);
    say(
        !places.is_empty(),
        format!("{} ({located} prefixes)", places.join(" ")),
    );
    say(!audience.source_ports.is_empty(), "source ports".to_owned());
    say(audience.dscp.is_some(), "DSCP".to_owned());
    say(!audience.vlan.is_empty(), "VLAN".to_owned());
    say(audience.mss.is_some(), "MSS".to_owned());
    say(audience.ttl.is_some(), "TTL".to_owned());
    let share = percent(audience.share_ppm.into(), 1_000_000);
    format!(
        "  audience {name}: {}; {share} to the candidate{}\n",
        who.join(", "),
        timeline::guard(audience.toggle.as_deref())
    )
}

/// What it guards, and what it is before anybody has turned it.
fn outline_toggle(config: &Config, toggle: &Toggle) -> String {
    let guarded = config.guarded(&toggle.name);
    let guards: Vec<_> = guarded.iter().map(ToString::to_string).collect();
    let guards = match &guards[..] {
        [] => "nothing".to_owned(),
        guards => guards.join(", "),
    };
    let at_first = if toggle.on { "on" } else { "off" };
    format!(
        "toggle {}: {at_first} at first; guards {guards}\n",
        toggle.name
    )
}

/// What packets are put into, where they are.
fn outline_encap(config: &Config) -> String {
    let uses = |forward| config.services.iter().any(|s| s.forward == forward);
    let Encap { v4, v6, gue_port } = config.node.encap;
    let sources = format!("from {}/{} and {}/{}", v4.0, v4.1, v6.0, v6.1);
    let ipip = format!("outer packets (ipip): {sources}; 20 bytes over IPv4, 40 over IPv6\n");
    let gue = format!(
        "outer datagrams (gue): {sources}, to port {gue_port}; 28 bytes over IPv4, 48 over IPv6\n"
    );
    [(Forward::Ipip, ipip), (Forward::Gue, gue)]
        .into_iter()
        .filter_map(|(forward, line)| uses(forward).then_some(line))
        .collect()
}

fn outline_pool(pool: &Pool, active: &str) -> String {
    let mark = if pool.name == active { " (active)" } else { "" };
    let backends = outline_backends(pool);
    let health = pool.health.as_ref().map(outline_health);
    let health = health
        .map(|health| format!("; {health}"))
        .unwrap_or_default();
    format!("  pool {}{mark}: {backends}{health}\n", pool.name)
}

fn outline_backends(pool: &Pool) -> String {
    let backends = pool.backends.iter().map(|backend| {
        let share = percent(backend.weight.into(), pool.weight());
        format!("{} weight {} = {share}", backend.name, backend.weight)
    });
    backends.collect::<Vec<_>>().join(", ")
}

pub(super) fn outline_health(health: &Health) -> String {
    let interval = humantime::format_duration(health.interval);
    let slow_start = health.slow_start.map(|time| {
        let time = humantime::format_duration(time);
        format!(", slow start over {time}")
    });
    let slow_start = slow_start.unwrap_or_default();
    format!("checked by {} every {interval}{slow_start}", health.probe)
}

/// A part of a whole, to the nearest millionth and without needless zeros.
fn percent(part: u64, whole: u64) -> String {
    let ppm = (part * 1_000_000 + whole / 2)
        .checked_div(whole)
        .unwrap_or(0);
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Kernel memory, by map: what a file's numbers decide, then what is the same for every file.
fn outline_memory(config: &Config) -> String {
    let flows = config.node.connections;
    let buckets = u64::from(flows).next_power_of_two();
    let entry = hash_entry::<FlowKey, Pin>();
    let pools = config
        .services
        .iter()
        .map(|service| service.pools.len() as u64);
    let pools: u64 = pools.sum();
    let memory = [
        flow_bytes(flows),
        flow_bytes(half_open(flows)),
        pools * u64::from(TABLES_PER_POOL) * TABLE,
        fixed_bytes(),
        cpu_bytes(),
    ];
    let [flow_memory, half_open_memory, tables, fixed, cpu] = memory.map(bytes);
    format!(
        "memory of the kernel's maps:\n  \
           flows: {flows} × {entry} + {buckets} × {HASH_BUCKET} bytes = {flow_memory}\n  \
           half-open: {half_open_memory}\n  \
           tables: {pools} pools × {TABLES_PER_POOL} × {TABLE} bytes = {tables} at most\n  \
           others: {fixed}, and {cpu} for each CPU\n"
    )
}

/// Memory of a flow table, in bytes.
pub(super) fn flow_bytes(connections: u32) -> u64 {
    hash_bytes::<FlowKey, Pin>(connections)
}

/// Memory of the maps whose size no file changes, in bytes.
fn fixed_bytes() -> u64 {
    let arrays = [
        u64::from(MAX_SERVICES) * padded::<u32>(),
        u64::from(MAX_RECORDS) * padded::<Record>(),
        u64::from(backend::ENTRIES) * padded::<backend::Backend>(),
        u64::from(MAX_AUDIENCE_SETS) * padded::<AudienceSet>(),
        u64::from(MAX_WORDS) * padded::<u64>(),
        u64::from(MAX_TALLIES + MAX_BACKENDS) * padded::<Tally>(),
        u64::from(MAX_ROWS) * padded::<Row>(),
        u64::from(MAX_SERVICES) * padded::<Breaker>(),
        u64::from(MAX_CLIENTS) * padded::<Told>(),
    ];
    arrays.iter().sum::<u64>()
        + hash_bytes::<Endpoint, Listener>(LISTENER_KEYS)
        + hash_bytes::<Address, u64>(MAX_SOURCES)
        + hash_bytes::<Endpoint, Reply>(REPLY_KEYS)
        + hash_bytes::<ServerKey, Server>(SERVER_KEYS)
        + hash_bytes::<FragmentKey, Pieces>(MAX_FRAGMENTS)
        + hash_bytes::<FlowKey, Watched>(MAX_WATCHED)
}

/// Memory of the counters of one CPU, in bytes.
fn cpu_bytes() -> u64 {
    u64::from(MAX_BACKENDS) * padded::<BackendCounters>()
        + u64::from(MAX_AUDIENCES) * padded::<AudienceCounters>()
        + u64::from(reason::COUNTERS + MAX_POOLS) * padded::<u64>()
}

/// Memory of a hash map that is allocated beforehand: `prealloc_init` and `htab_map_alloc` in the
/// kernel's `kernel/bpf/hashtab.c`.
fn hash_bytes<K, V>(entries: u32) -> u64 {
    let entries = u64::from(entries);
    entries * hash_entry::<K, V>() + entries.next_power_of_two() * HASH_BUCKET
}

fn hash_entry<K, V>() -> u64 {
    HASH_ENTRY + padded::<K>() + padded::<V>()
}

/// The kernel rounds keys and values up to eight bytes.
fn padded<T>() -> u64 {
    size_of::<T>().next_multiple_of(8) as u64
}

/// An amount of memory for people.
pub(super) fn bytes(bytes: u64) -> String {
    let (unit, name) = if bytes < 1 << 20 {
        (10, "KiB")
    } else {
        (20, "MiB")
    };
    let tenths = (bytes * 10 + (1 << (unit - 1))) >> unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{EVERY_KEY, NODE};
    use super::*;

    #[test]
    fn services_pools_and_shares_are_shown_with_the_memory_they_take() {
        let text = outline(&Config::parse(EVERY_KEY).expect("valid"));
        let expected = "\
service shop: nat, tcp://192.0.2.80:443?to=8443, tcp://[2001:db8::80]:443
  pool blue: b1 weight 99 = 100%, b2 weight 0 = 0%
  pool green (active): g1 weight 7 = 100%; checked by https /ok every 2s, slow start over 30s
memory of the kernel's maps:
  flows: 65536 × 80 + 65536 × 16 bytes = 6.0 MiB
  half-open: 768.0 KiB
  tables: 2 pools × 2 × 262148 bytes = 1.0 MiB at most
  others: ";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn outer_packets_are_shown_where_there_are_some() {
        let text = EVERY_KEY.replace("forward = \"nat\"", "forward = \"gue\"");
        let text = ["?to=8443", ":9443", ":8443"]
            .into_iter()
            .fold(text, |text, port| text.replace(port, ""));
        let text = text.replace("[fd00::12]", "fd00::12");
        let text = outline(&Config::parse(&text).expect("valid"));
        let line = "outer datagrams (gue): from 10.200.0.0/14 and 2001:db8:e::/48, to port 6081; \
                    28 bytes over IPv4, 48 over IPv6\n";
        assert!(text.contains(line) && !text.contains("ipip"), "{text}");
    }

    /// What `/proc/PID/fdinfo` calls `memlock` for such maps on Linux 6.18, within a page or two.
    #[test]
    fn memory_is_what_the_kernel_takes() {
        let all = [
            (hash_bytes::<FlowKey, Pin>(1_048_576), 100_664_192),
            (hash_bytes::<FlowKey, Pin>(65_536), 6_292_352),
            (hash_bytes::<Endpoint, Reply>(65_536), 7_341_136),
            (hash_bytes::<Endpoint, Listener>(4096), 427_056),
            (TABLE, 262_464),
        ];
        for (bytes, measured) in all {
            assert!(measured - bytes < 2048, "{bytes} {measured}");
        }
    }

    #[test]
    fn an_empty_data_plane_takes_its_flow_table_all_the_same() {
        let config = Config::parse(NODE).expect("valid");
        let text = outline(&config);
        assert!(text.starts_with("memory"), "{text}");
        assert!(
            text.contains("1048576 × 80 + 1048576 × 16 bytes = 96.0 MiB"),
            "{text}"
        );
    }

    #[test]
    fn shares_are_exact_to_a_millionth() {
        let all = [
            ((1, 3), "33.3333%"),
            ((2, 3), "66.6667%"),
            ((1, 100), "1%"),
            ((1, 1000), "0.1%"),
            ((1, 65_535), "0.0015%"),
            ((0, 7), "0%"),
            ((7, 7), "100%"),
            ((10, 100), "10%"),
            ((0, 0), "0%"),
        ];
        for ((part, whole), expected) in all {
            assert_eq!(percent(part, whole), expected);
        }
    }
}
