//! What can't stand side by side: listeners, backends and endpoints of all services.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::maps::{
    MAX_BACKENDS, MAX_LISTENERS, MAX_POOLS, MAX_REPLIES, MAX_SERVER_IDS, MAX_SERVICES,
};

use super::{
    endpoint::{self, backends, label},
    faults::Faults,
    model::{Listen, Protocol, Service},
};

/// Two objects that can't stand side by side, or too many of a kind; the object that comes later
/// in the file is the sentence's subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// A service has a listener again.
    #[error("has listener `{0}` twice; remove one")]
    ListenerTwice(String),
    /// Two services on one listener.
    #[error("has listener `{listener}`, which service `{other}` has already; remove one")]
    ListenerTaken {
        /// The listener.
        listener: String,
        /// The service that has it.
        other: String,
    },
    /// A backend at a listener's address.
    #[error(
        "has address `{address}`, which is a VIP of service `{service}`; write the server's own"
    )]
    BackendAtVip {
        /// The address.
        address: IpAddr,
        /// The service that listens there.
        service: String,
    },
    /// Two backends of a service are one server.
    #[error(
        "is the same endpoint as backend `{other}`, {endpoint}; give one another address or port, \
         or remove it"
    )]
    SameEndpoint {
        /// The backend that comes first.
        other: String,
        /// Address, port and protocol; only the address with direct server return.
        endpoint: String,
    },
    /// Replies from one endpoint could belong to two listeners.
    #[error(
        "is reached at {endpoint} from listener `{listener}` and from listener `{other}` of \
         service `{service}`, so replies could not be told apart; set ?to=PORT on one listener, \
         and leave the port out of `address`"
    )]
    SharedEndpoint {
        /// Address, port and protocol.
        endpoint: String,
        /// The listener.
        listener: String,
        /// The listener that comes first.
        other: String,
        /// Its service.
        service: String,
    },
    /// More than the maps have room for.
    #[error("has {count} {what}, but one host holds {limit}; remove some, or use another host")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: u32,
    },
}

/// Reports all that can't stand side by side.
pub(super) fn check(services: &[Service], faults: &Faults) {
    check_listeners(services, faults);
    check_vips(services, faults);
    let endpoints = endpoint::check(services, faults);
    check_room(services, endpoints, faults);
}

/// Listeners are found by {VIP, port, protocol}, so each belongs to one service.
fn check_listeners(services: &[Service], faults: &Faults) {
    let mut owners = BTreeMap::new();
    for (index, service) in services.iter().enumerate() {
        for listener in &service.listeners {
            let Some(owner) = owners.insert(key(listener), index) else {
                continue;
            };
            let text = listener.to_string();
            let clash = if owner == index {
                Clash::ListenerTwice(text)
            } else {
                Clash::ListenerTaken {
                    listener: text,
                    other: services[owner].name.clone(),
                }
            };
            faults.between(format!("service `{}`", service.name), clash);
        }
    }
}

/// What a listener is found by.
pub(super) fn key(listener: &Listen) -> (Protocol, IpAddr, u16) {
    (listener.protocol, listener.address, listener.port)
}

/// A packet to a backend at a VIP would come back to the host for ever.
fn check_vips(services: &[Service], faults: &Faults) {
    let vips = services.iter().flat_map(|service| {
        let listeners = service.listeners.iter();
        listeners.map(|listener| (listener.address, &service.name))
    });
    let vips: BTreeMap<_, _> = vips.collect();
    for (service, pool, backend) in backends(services) {
        for place in backend.places() {
            if let Some(owner) = vips.get(&place.address) {
                let clash = Clash::BackendAtVip {
                    address: place.address,
                    service: (*owner).clone(),
                };
                faults.between(label(service, pool, backend), clash);
            }
        }
    }
}

/// Maps have a fixed size, and what doesn't fit would be found only while it is being written.
fn check_room(services: &[Service], endpoints: usize, faults: &Faults) {
    let listeners = services.iter().map(|service| service.listeners.len());
    let pools = services.iter().map(|service| service.pools.len());
    let rooms = [
        ("services", services.len(), MAX_SERVICES),
        ("listeners", listeners.sum(), MAX_LISTENERS),
        ("pools", pools.sum(), MAX_POOLS),
        // Backends are numbered from 1.
        ("backends", backends(services).count(), MAX_BACKENDS - 1),
        ("pairs of a listener and a backend", endpoints, MAX_REPLIES),
        ("ids of servers", server_ids(services), MAX_SERVER_IDS),
    ];
    for (what, count, limit) in rooms {
        if u32::try_from(count).map_or(true, |count| count > limit) {
            let clash = Clash::TooMany { what, count, limit };
            faults.between("the file".to_owned(), clash);
        }
    }
}

/// Ids of servers, each as often as its service has formats for it.
fn server_ids(services: &[Service]) -> usize {
    let ids = services.iter().flat_map(|service| {
        let backends = service.pools.iter().flat_map(|pool| &pool.backends);
        let ids = backends.flat_map(|backend| &backend.server_ids);
        ids.map(|id| service.quic_lb.iter().filter(|f| id.fits(f)).count())
    });
    ids.sum()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{problems, refuses, service, shop};
    use super::*;

    #[test]
    fn the_same_listener_twice_in_one_service_is_refused() {
        let text = shop("").replace(":443\"", ":443\", \"tcp://192.0.2.80:443?to=8443\"");
        let expected =
            "service `shop` has listener `tcp://192.0.2.80:443?to=8443` twice; remove one";
        assert_eq!(problems(&text), expected);
    }

    #[test]
    fn two_services_on_one_listener_are_refused() {
        let text = shop("") + &service("blog", 443, 9);
        let expected = "service `blog` has listener `tcp://192.0.2.80:443`, which service `shop` \
                        has already; remove one";
        assert_eq!(problems(&text), expected);
    }

    #[test]
    fn one_port_may_serve_tcp_and_udp() {
        let udp = service("voice", 443, 9).replace("tcp://", "udp://");
        assert_eq!(problems(&(shop("") + &udp)), "");
    }

    #[test]
    fn a_backend_at_a_vip_is_refused() {
        let text = shop("").replace("10.0.1.21", "192.0.2.80");
        refuses(
            &text,
            "service `shop`: pool `green`: backend `g1` has address `192.0.2.80`, which is a VIP \
             of service `shop`; write the server's own",
        );
    }

    #[test]
    fn a_backend_at_another_services_vip_is_refused_in_l2_too() {
        let other = service("blog", 80, 9).replace("192.0.2.80", "10.0.1.21");
        refuses(
            &(shop("forward = \"l2\"") + &other),
            "backend `g1` has address `10.0.1.21`, which is a VIP of service `blog`",
        );
    }

    #[test]
    fn more_pools_than_the_maps_hold_are_refused() {
        let pool = |index: u32| {
            let [.., high, low] = index.to_be_bytes();
            format!(
                "[[service.pool]]\nname = \"p{index}\"\n\
                 backends = [{{ name = \"x{index}\", address = \"10.9.{high}.{low}\" }}]\n"
            )
        };
        let pools: String = (0..MAX_POOLS - 1).map(pool).collect();
        let expected = "the file has 4097 pools, but one host holds 4096; remove some, or use \
                        another host";
        refuses(&(shop("") + &pools), expected);
    }

    #[test]
    fn more_backends_than_the_maps_hold_are_refused() {
        let backend = |index: u32| {
            let [.., high, low] = index.to_be_bytes();
            format!("{{ name = \"x{index}\", address = \"10.9.{high}.{low}\" }},")
        };
        let backends: String = (0..MAX_BACKENDS - 2).map(backend).collect();
        let fits = shop("").replacen("backends = [", &format!("backends = [{backends}"), 1);
        assert_eq!(problems(&fits.replacen(&backend(0), "", 1)), "");
        refuses(&fits, "the file has 4096 backends, but one host holds 4095");
    }
}
