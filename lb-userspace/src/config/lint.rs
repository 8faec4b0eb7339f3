//! What is allowed in a configuration, but seldom meant.

use std::fmt;

use lb_common::pool::SLOTS;

use super::{
    colours,
    model::{Affinity, Backend, ClientPrefix, Config, Forward, Listen, Node, Pool, Service},
    outline,
};
use crate::release::engine::Strategy;

/// Fewer characters of a hash seed can be guessed, and with them the hash.
const SEED_CHARACTERS: usize = 16;
/// Beyond this, in entries, a flow table takes more than 384 MiB of kernel memory that stays taken
/// while it is empty; twice the connections that live through one change are enough.
const USEFUL_CONNECTIONS: u32 = 4_194_304;
/// Bits of an outer source that tell flows apart, for packets to be spread by.
const SOURCE_BITS: u8 = 8;
/// More toggles than that are more states than anybody has tried.
const TOGGLES: usize = 10;
/// How many times as strong one pool may be as another before a cutover looks risky.
const LOPSIDED: u64 = 2;

/// Something that may be meant, but seldom is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object, as in "service `shop`: pool `green`".
    pub object: String,
    /// What is odd about it, and what could be done.
    pub message: String,
}

/// Looks for what is allowed, but seldom meant.
pub fn lint(config: &Config) -> Vec<Finding> {
    let mut findings = lint_node(&config.node);
    let narrow = narrow_sources(config);
    findings.extend(self::findings("[node.encap]", narrow.into_iter()));
    findings.extend(self::findings("[api]", open_http(config).into_iter()));
    findings.extend(lint_toggles(config));
    for service in &config.services {
        findings.extend(lint_service(service, config.node.client_prefix));
    }
    findings
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.message)
    }
}

fn findings(object: &str, messages: impl Iterator<Item = String>) -> Vec<Finding> {
    let finding = |message| Finding {
        object: object.to_owned(),
        message,
    };
    messages.map(finding).collect()
}

fn lint_node(node: &Node) -> Vec<Finding> {
    let messages = [guessable_seed(node), idle_memory(node)];
    findings("[node]", messages.into_iter().flatten())
}

fn guessable_seed(node: &Node) -> Option<String> {
    let characters = node.hash_seed.chars().count();
    (characters < SEED_CHARACTERS).then(|| {
        format!(
            "`hash_seed` has {characters} characters and can be guessed, so that a client could \
             choose its pool and backend; use {SEED_CHARACTERS} or more"
        )
    })
}

fn idle_memory(node: &Node) -> Option<String> {
    let connections = node.connections;
    (connections > USEFUL_CONNECTIONS).then(|| {
        let memory = outline::bytes(outline::flow_bytes(connections));
        format!(
            "`connections` of {connections} takes {memory} of kernel memory for good, though only \
             connections that a change touches are held; twice their number is enough"
        )
    })
}

/// Outer sources that are too few to spread by.
fn narrow_sources(config: &Config) -> Option<String> {
    let tunnels = |service: &Service| matches!(service.forward, Forward::Ipip | Forward::Gue);
    let ((_, v4), (_, v6)) = (config.node.encap.v4, config.node.encap.v6);
    let few = v4 > 32 - SOURCE_BITS || v6 > 128 - SOURCE_BITS;
    (few && config.services.iter().any(tunnels)).then(|| {
        format!(
            "leaves few outer sources, by which backends' network cards spread packets over their \
             queues; give IPv4 a /{} and IPv6 a /{} or shorter",
            32 - SOURCE_BITS,
            128 - SOURCE_BITS
        )
    })
}

/// What is read over TCP has no password.
fn open_http(config: &Config) -> Option<String> {
    let address = config
        .api
        .http
        .filter(|address| !address.ip().is_loopback())?;
    Some(format!(
        "`http` on {address} tells everybody who can reach it what is released to whom; choose \
         127.0.0.1, or keep others away by a firewall"
    ))
}

/// Toggles that are too many to keep in mind, or that nothing depends on.
fn lint_toggles(config: &Config) -> Vec<Finding> {
    let count = config.toggles.len();
    let many = (count > TOGGLES).then(|| Finding {
        object: "the file".to_owned(),
        message: format!(
            "has {count} toggles, and nobody keeps in mind what so many mean together; remove those \
             that are decided, so that {TOGGLES} are left at most"
        ),
    });
    let idle = config
        .toggles
        .iter()
        .filter(|toggle| config.guarded(&toggle.name).is_empty());
    let idle = idle.map(|toggle| Finding {
        object: format!("toggle `{}`", toggle.name),
        message: "guards nothing in this file; applications may still ask for it by OFREP, else \
                  remove it"
            .to_owned(),
    });
    many.into_iter().chain(idle).collect()
}

fn lint_service(service: &Service, prefix: ClientPrefix) -> Vec<Finding> {
    let object = format!("service `{}`", service.name);
    let messages = [crowded_clients(service, prefix), lopsided_pools(service)];
    let messages = messages.into_iter().flatten().chain(idle_ports(service));
    let mut all = findings(&object, messages.chain(colours::differences(service)));
    for pool in &service.pools {
        let object = format!("{object}: pool `{}`", pool.name);
        let messages = [lone_backend(pool), unchecked(service, pool)];
        let messages = messages.into_iter().flatten().chain(idle_backends(pool));
        all.extend(findings(
            &object,
            messages.chain(idle_addresses(service, pool)),
        ));
    }
    all
}

fn crowded_clients(service: &Service, prefix: ClientPrefix) -> Option<String> {
    let usual = ClientPrefix::default();
    let wide = prefix.v4 < usual.v4 || prefix.v6 < usual.v6;
    (wide && service.affinity == Affinity::Client).then(|| {
        format!(
            "affinity = \"client\" sends every IPv4 /{} and IPv6 /{} to one backend, by \
             `client_prefix` of [node]; a large network may overload it",
            prefix.v4, prefix.v6
        )
    })
}

fn lopsided_pools(service: &Service) -> Option<String> {
    let release = service.release.as_ref();
    if release.is_some_and(|plan| plan.strategy == Strategy::BlueGreen) {
        // Its pools are held to more: `colours` compares them.
        return None;
    }
    let count = |pool: &Pool| pool.backends.len() as u64;
    lopsided(service, "backends", count).or_else(|| lopsided(service, "weight", Pool::weight))
}

fn lopsided(service: &Service, what: &str, size: impl Fn(&Pool) -> u64) -> Option<String> {
    let small = service.pools.iter().min_by_key(|pool| size(pool))?;
    let large = service.pools.iter().max_by_key(|pool| size(pool))?;
    let (less, more) = (size(small), size(large));
    (more > less.saturating_mul(LOPSIDED)).then(|| {
        format!(
            "pool `{}` has {more} {what} and pool `{}` {less}; a cutover may overload the smaller",
            large.name, small.name
        )
    })
}

fn idle_ports(service: &Service) -> impl Iterator<Item = String> {
    let listeners = service.listeners.iter().filter(|listener| {
        let mut backends = service.pools.iter().flat_map(|pool| &pool.backends);
        listener.to.is_some() && backends.all(|backend| names_port(backend, listener))
    });
    listeners.map(|listener| {
        format!("?to= of listener `{listener}` has no effect, since every backend names its port")
    })
}

fn names_port(backend: &Backend, listener: &Listen) -> bool {
    let v4 = listener.address.is_ipv4();
    let mut places = backend.places();
    places.any(|place| place.address.is_ipv4() == v4 && place.port.is_some())
}

fn lone_backend(pool: &Pool) -> Option<String> {
    (pool.backends.len() == 1)
        .then(|| "has a single backend; when that fails, the pool has none".to_owned())
}

fn unchecked(service: &Service, pool: &Pool) -> Option<String> {
    let checked = service.pools.iter().find(|pool| pool.health.is_some())?;
    pool.health.is_none().then(|| {
        format!(
            "has no `health`, and pool `{}` has; its backends are taken for up even when they fail",
            checked.name
        )
    })
}

fn idle_backends(pool: &Pool) -> impl Iterator<Item = String> {
    let slots = |backend: &Backend| u64::from(backend.weight) * u64::from(SLOTS);
    let whole = pool.weight();
    let backends = pool
        .backends
        .iter()
        .filter(move |backend| backend.weight > 0 && slots(backend) < whole);
    backends.map(|backend| {
        format!(
            "backend `{}` has less than one of {SLOTS} slots and may get no connection; raise its \
             weight of {}",
            backend.name, backend.weight
        )
    })
}

/// With direct server return an address of any family serves all listeners, so none is idle.
fn idle_addresses(service: &Service, pool: &Pool) -> impl Iterator<Item = String> {
    let nat = service.forward.translates();
    let backends = pool.backends.iter().filter(move |_| nat);
    let places = backends.flat_map(|backend| backend.places().map(move |place| (backend, place)));
    places.filter_map(|(backend, place)| {
        let v4 = place.address.is_ipv4();
        let mut listeners = service.listeners.iter();
        let idle = listeners.all(|listener| listener.address.is_ipv4() != v4);
        idle.then(|| {
            format!(
                "address `{}` of backend `{}` is never used, since no listener has its family",
                place.address, backend.name
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{EVERY_KEY, shop};
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let findings = lint(&Config::parse(text).expect("valid"));
        findings.iter().map(ToString::to_string).collect()
    }

    /// A service without a finding.
    fn sound() -> String {
        let two = |text: String, name: &str, host: u8| {
            let more = format!(
                "name = \"{name}1\", address = \"10.0.1.{}\" }}, {{ name = \"{name}2\"",
                host + 100
            );
            text.replace(&format!("name = \"{name}1\""), &more)
        };
        two(two(shop(""), "b", 1), "g", 2)
    }

    fn finds(text: &str, expected: &str) {
        let findings = lines(text);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert!(findings[0].contains(expected), "{findings:#?}");
    }

    #[test]
    fn outer_sources_that_are_few_are_found_where_they_are_used() {
        let few = sound().replace("[node]", "[node]\nencap = { v4 = \"10.0.0.0/25\" }");
        assert_eq!(lines(&few), Vec::<String>::new());
        for forward in ["ipip", "gue"] {
            let line = format!("\nforward = \"{forward}\"\nlisten");
            finds(
                &few.replace("\nlisten", &line),
                "[node.encap]: leaves few outer sources",
            );
        }
    }

    #[test]
    fn a_sound_file_has_no_finding() {
        assert_eq!(lines(&sound()), Vec::<String>::new());
    }

    #[test]
    fn a_pool_with_a_single_backend_is_found() {
        let findings = lines(&shop(""));
        assert_eq!(findings.len(), 2);
        assert!(findings[1].starts_with("service `shop`: pool `green`: has a single backend"));
    }

    #[test]
    fn a_short_hash_seed_is_found() {
        let text = sound().replace("sixteen-or-longer", "fifteen-letters");
        finds(
            &text,
            "[node]: `hash_seed` has 15 characters and can be guessed",
        );
    }

    #[test]
    fn a_flow_table_larger_than_useful_is_found() {
        let text = sound().replace("[node]", "[node]\nconnections = 16777216");
        finds(
            &text,
            "`connections` of 16777216 takes 1536.0 MiB of kernel memory",
        );
    }

    #[test]
    fn clients_that_are_told_apart_coarsely_are_found_where_they_choose_the_backend() {
        let coarse = sound().replace("[node]", "[node]\nclient_prefix = { v4 = 24 }");
        let client = coarse.replace("\nlisten", "\naffinity = \"client\"\nlisten");
        assert_eq!(lines(&coarse), Vec::<String>::new());
        finds(&client, "sends every IPv4 /24 and IPv6 /64 to one backend");
    }

    #[test]
    fn an_api_that_others_can_reach_is_found() {
        let at = |address: &str| format!("{}[api]\nhttp = \"{address}\"\n", sound());
        finds(
            &at("0.0.0.0:9180"),
            "`http` on 0.0.0.0:9180 tells everybody",
        );
        assert_eq!(lines(&at("127.0.0.1:9180")), Vec::<String>::new());
        assert_eq!(lines(&at("[::1]:9180")), Vec::<String>::new());
    }

    #[test]
    fn pools_that_differ_by_more_than_double_are_found() {
        let backend = |index| format!("{{ name = \"x{index}\", address = \"10.1.0.{index}\" }},");
        let with = |count| {
            let more: String = (1..=count).map(backend).collect();
            sound().replacen("backends = [", &format!("backends = [{more}"), 1)
        };
        assert_eq!(lines(&with(2)), Vec::<String>::new());
        finds(
            &with(3),
            "pool `blue` has 5 backends and pool `green` 2; a cutover",
        );
    }

    #[test]
    fn pools_whose_weights_differ_by_more_than_double_are_found() {
        let weigh = |weight: u32| {
            let text = sound();
            text.replacen("weight = 100", &format!("weight = {weight}"), 1)
        };
        assert_eq!(lines(&weigh(300)), Vec::<String>::new());
        finds(
            &weigh(301),
            "pool `blue` has 401 weight and pool `green` 200",
        );
    }

    #[test]
    fn a_backend_with_less_than_one_slot_is_found() {
        let backend = |index| {
            format!("{{ name = \"x{index}\", address = \"10.1.0.{index}\", weight = 65535 }},")
        };
        let light = sound().replacen("weight = 100", "weight = 1", 1);
        let light = light.replacen("backends = [", &format!("backends = [{}", backend(1)), 1);
        let light = light.replacen("weight = 100", "weight = 65535", 1);
        let findings = lines(&light);
        let slot = "backend `b2` has less than one of 65537 slots";
        assert!(
            findings.iter().any(|finding| finding.contains(slot)),
            "{findings:#?}"
        );
    }

    #[test]
    fn to_without_effect_is_found() {
        let text = sound().replace(":443\"", ":443?to=8443\"");
        let ports = (11..=12).chain(101..=102).chain([21]);
        let text = ports.fold(text, |text, host| {
            text.replace(&format!("10.0.1.{host}\""), &format!("10.0.1.{host}:80\""))
        });
        finds(
            &text,
            "?to= of listener `tcp://192.0.2.80:443?to=8443` has no effect",
        );
    }

    #[test]
    fn an_address_of_a_family_that_no_listener_has_is_found() {
        let text = sound().replace("\"10.0.1.21\"", "[\"10.0.1.21\", \"fd00::21\"]");
        finds(&text, "address `fd00::21` of backend `g2` is never used");
        let l2 = text.replace("\nlisten", "\nforward = \"l2\"\nlisten");
        assert_eq!(lines(&l2), Vec::<String>::new());
    }

    #[test]
    fn a_pool_without_health_is_found_where_another_has_it() {
        let blue = "name = \"blue\"\nhealth = { tcp = true }";
        let text = sound().replace("name = \"blue\"", blue);
        finds(&text, "pool `green`: has no `health`, and pool `blue` has");
        let green = "name = \"green\"\nhealth = { http = \"/\" }";
        let text = text.replace("name = \"green\"", green);
        assert_eq!(lines(&text), Vec::<String>::new());
    }

    #[test]
    fn a_backend_of_weight_0_is_not_called_too_light() {
        assert!(
            !lines(EVERY_KEY)
                .iter()
                .any(|finding| finding.contains("`b2`"))
        );
    }
}
