//! `[[service.pool]]` and the backends in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
};

use toml::Spanned;

use super::{
    address::parse_place,
    errors::Fault,
    health,
    model::{Backend, Forward, Listen, Place, Pool},
    quic_lb::{self, Format, ServerId},
    raw::Section,
    setting,
    shape::OneOrMore,
};

const WEIGHTS: RangeInclusive<u16> = 0..=u16::MAX;
const DEFAULT_WEIGHT: u16 = 100;

/// What a service's backends must fit, and the names that are taken.
pub(super) struct Frame<'a> {
    /// Nothing if the file doesn't say it rightly.
    forward: Option<Forward>,
    listeners: &'a [Listen],
    /// Nothing if the file doesn't say it rightly.
    formats: Option<&'a [Format]>,
    server_ids: BTreeMap<ServerId, String>,
    pools: BTreeSet<String>,
    backends: BTreeSet<String>,
}

impl<'a> Frame<'a> {
    pub fn new(
        forward: Option<Forward>,
        listeners: &'a [Listen],
        formats: Option<&'a [Format]>,
    ) -> Self {
        Self {
            forward,
            listeners,
            formats,
            server_ids: BTreeMap::new(),
            pools: BTreeSet::new(),
            backends: BTreeSet::new(),
        }
    }
}

/// What a pool means; nothing only where a problem has been reported.
pub(super) fn read(section: &mut Section, frame: &mut Frame) -> Option<Pool> {
    let name = section.claim_name(&mut frame.pools, "pool");
    let health = section.table("health", health::read).flatten();
    let backends = section.tables("backends", "backend", |backend| {
        read_backend(backend, frame)
    });
    let weightless = |backend: &Option<Backend>| backend.as_ref().is_some_and(|b| b.weight == 0);
    match backends.as_deref() {
        Some([]) => section.refuse(Fault::NoBackend),
        Some(all) if all.iter().all(weightless) => section.refuse(Fault::NoWeight),
        Some(_) | None => {}
    }
    Some(Pool {
        name: name?,
        health,
        backends: backends.into_iter().flatten().flatten().collect(),
    })
}

fn read_backend(section: &mut Section, frame: &mut Frame) -> Option<Backend> {
    let name = section.claim_name(&mut frame.backends, "backend of the service");
    let weight = section.setting("weight", |n: &i64| setting::number(*n, WEIGHTS));
    let label = name.as_deref().unwrap_or_default();
    let server_ids = quic_lb::read_ids(section, frame.formats, &mut frame.server_ids, label);
    let places = read_places(section)?;
    let mut backend = Backend {
        name: name?,
        server_ids,
        v4: None,
        v6: None,
        weight: weight.unwrap_or(DEFAULT_WEIGHT).into(),
    };
    for place in places {
        place_at(section, &mut backend, place);
    }
    fit(section, &backend, frame);
    Some(backend)
}

/// The addresses of a backend; nothing if one of them is wrong.
fn read_places(section: &mut Section) -> Option<Vec<Place<IpAddr>>> {
    section.require("address", "address = \"10.0.1.11\" or \"10.0.1.11:8443\"");
    let OneOrMore(texts) = section.value("address").map(Spanned::into_inner)?;
    if !(1..=2).contains(&texts.len()) {
        section.refuse(Fault::AddressCount { found: texts.len() });
        return None;
    }
    let places = section.meanings("address", &texts, parse_place);
    places.into_iter().collect()
}

fn place_at(section: &Section, backend: &mut Backend, Place { address, port }: Place<IpAddr>) {
    let taken = match address {
        IpAddr::V4(address) => backend.v4.replace(Place { address, port }).is_some(),
        IpAddr::V6(address) => backend.v6.replace(Place { address, port }).is_some(),
    };
    if taken {
        let family = family(address);
        section.refuse(Fault::FamilyTwice { family });
    }
}

/// Refuses a backend that can't serve the service's listeners.
fn fit(section: &Section, backend: &Backend, frame: &Frame) {
    match frame.forward {
        Some(Forward::Nat) => {
            let unserved = |listener: &&Listen| backend.endpoint(listener).is_none();
            if let Some(listener) = frame.listeners.iter().find(unserved) {
                section.refuse(Fault::NoFamily {
                    family: family(listener.address),
                    listener: listener.to_string(),
                });
            }
        }
        Some(forward @ (Forward::L2 | Forward::Ipip | Forward::Gue)) => {
            for port in backend.places().filter_map(|place| place.port) {
                section.refuse(Fault::FixedPort(port, forward));
            }
        }
        None => {}
    }
}

fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{problems, refuses, shop};

    fn both_families(address: &str) -> String {
        let text = shop("").replace(":443\"", ":443\", \"tcp://[2001:db8::80]:443\"");
        let text = text.replace("\"10.0.1.11\"", "[\"10.0.1.11\", \"fd00::11\"]");
        text.replace("\"10.0.1.21\"", address)
    }

    #[test]
    fn two_backends_of_one_name_are_refused_even_in_different_pools() {
        refuses(
            &shop("").replace("g1", "b1"),
            "service `shop`: pool `green`: backend `b1` has the name of an earlier backend of the \
             service; rename one",
        );
    }

    #[test]
    fn an_empty_pool_is_refused() {
        let text = shop("");
        let start = text.rfind("backends").expect("there");
        let expected = "line 11, column 1: service `shop`: pool `green` has no backend; add one \
                        under [[service.pool]]";
        assert_eq!(problems(&text[..start]), expected);
        let empty = format!("{}backends = []", &text[..start]);
        assert_eq!(problems(&empty), expected);
    }

    #[test]
    fn a_weight_of_0_everywhere_is_refused() {
        refuses(
            &shop("").replacen("weight = 100", "weight = 0", 1),
            "service `shop`: pool `blue` has a weight of 0 everywhere; give one backend a weight \
             above 0",
        );
    }

    #[test]
    fn a_weight_of_0_beside_another_is_allowed() {
        let more = "weight = 0 }, { name = \"b2\", address = \"10.0.1.12\" }";
        let text = shop("").replacen("weight = 100 }", more, 1);
        assert_eq!(problems(&text), "");
    }

    #[test]
    fn a_weight_out_of_bounds_is_refused() {
        for weight in ["-1", "65536"] {
            refuses(
                &shop("").replacen("weight = 100", &format!("weight = {weight}"), 1),
                &format!(
                    "backend `b1` sets `weight` to `{weight}`: out of bounds; choose a number from \
                     0 to 65535"
                ),
            );
        }
    }

    #[test]
    fn a_backend_without_an_address_of_a_listeners_family_is_refused() {
        refuses(
            &both_families("\"10.0.1.21\""),
            "service `shop`: pool `green`: backend `g1` has no IPv6 address, which listener \
             `tcp://[2001:db8::80]:443` needs; add one to `address`, or drop the listener",
        );
        refuses(&both_families("\"fd00::21\""), "`g1` has no IPv4 address");
    }

    #[test]
    fn a_backend_with_an_address_of_each_family_serves_both() {
        assert_eq!(
            problems(&both_families("[\"10.0.1.21\", \"fd00::21\"]")),
            ""
        );
    }

    #[test]
    fn in_l2_one_address_of_any_family_is_enough() {
        let text = both_families("\"fd00::21\"").replace("\nlisten", "\nforward = \"l2\"\nlisten");
        assert_eq!(problems(&text), "");
    }

    #[test]
    fn ports_cannot_change_inside_other_packets_either() {
        for forward in ["ipip", "gue"] {
            let text = shop(&format!("forward = \"{forward}\""));
            refuses(
                &text.replace("10.0.1.11", "10.0.1.11:8443"),
                &format!("with forward = \"{forward}\" the port can't change; remove it"),
            );
            refuses(
                &text.replace(":443", ":443?to=8443"),
                &format!("with forward = \"{forward}\" the port can't change; remove ?to="),
            );
        }
    }

    #[test]
    fn ports_cannot_change_in_l2() {
        let text = shop("forward = \"l2\"");
        let port = "backend `b1` sets port 8443, but with forward = \"l2\" the port can't change; \
                    remove it";
        refuses(&text.replace("10.0.1.11", "10.0.1.11:8443"), port);
        let both = text.replace("\"10.0.1.11\"", "[\"10.0.1.11:8443\", \"[fd00::11]:8443\"]");
        assert_eq!(problems(&both).matches(port).count(), 1, "said once");
        refuses(
            &text.replace(":443", ":443?to=8443"),
            "`tcp://192.0.2.80:443?to=8443`: with forward = \"l2\" the port can't change; remove \
             ?to=",
        );
    }

    #[test]
    fn a_backend_has_one_or_two_addresses_one_of_each_family() {
        let address = |list: &str| shop("").replace("\"10.0.1.21\"", list);
        refuses(
            &address("[]"),
            "backend `g1` has 0 addresses; give one or two",
        );
        refuses(
            &address("[\"10.0.1.1\", \"fd00::1\", \"fd00::2\"]"),
            "has 3 addresses; give one or two, at most one of each family",
        );
        refuses(
            &address("[\"10.0.1.21\", \"10.0.1.22:80\"]"),
            "backend `g1` has two IPv4 addresses; keep one",
        );
    }

    #[test]
    fn a_backend_without_an_address_is_refused() {
        refuses(
            &shop("").replace("address = \"10.0.1.21\", ", ""),
            "backend `g1` has no `address`; add address = \"10.0.1.11\" or \"10.0.1.11:8443\"",
        );
    }

    #[test]
    fn an_address_that_cannot_be_is_the_only_problem_of_its_backend() {
        let text = problems(&shop("").replace("10.0.1.21", "127.0.0.1"));
        let expected = "line 13, column 38: service `shop`: pool `green`: backend `g1` sets \
                        `address` to `127.0.0.1`: packets to a loopback address never pass an \
                        interface; write a reachable one";
        assert_eq!(text, expected);
    }
}
