//! Who owns the endpoints of backends: replies are rewritten without state, so where a reply comes
//! from has to tell the one listener and the one backend that it belongs to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{
    clash::{Clash, key},
    faults::Faults,
    model::{Backend, Forward, Listen, Place, Pool, Protocol, Service},
};

/// Reports endpoints with two owners. Returns how many endpoints have to be told apart.
pub(super) fn check(services: &[Service], faults: &Faults) -> usize {
    let mut endpoints = Endpoints::default();
    for (service, pool, backend) in backends(services) {
        let clashes = match service.forward {
            Forward::Nat => endpoints.claim_for_listeners(service, backend),
            Forward::L2 | Forward::Ipip | Forward::Gue => {
                endpoints.claim_next_hops(service, backend)
            }
        };
        for clash in clashes {
            faults.between(label(service, pool, backend), clash);
        }
    }
    endpoints.owners.len()
}

/// All backends of all services.
pub(super) fn backends(services: &[Service]) -> impl Iterator<Item = (&Service, &Pool, &Backend)> {
    services.iter().flat_map(|service| {
        let pools = service.pools.iter();
        pools.flat_map(move |pool| {
            let backends = pool.backends.iter();
            backends.map(move |backend| (service, pool, backend))
        })
    })
}

/// What problems call a backend.
pub(super) fn label(service: &Service, pool: &Pool, backend: &Backend) -> String {
    let (service, pool, backend) = (&service.name, &pool.name, &backend.name);
    format!("service `{service}`: pool `{pool}`: backend `{backend}`")
}

/// The first claim to an endpoint.
#[derive(Clone, Copy)]
struct Owner<'a> {
    service: &'a Service,
    listener: &'a Listen,
    backend: &'a Backend,
}

type ListenerKey = (Protocol, IpAddr, u16);

#[derive(Default)]
struct Endpoints<'a> {
    owners: BTreeMap<(Protocol, SocketAddr), Owner<'a>>,
    /// Servers of each service with direct server return; under two names, one would get a double share.
    next_hops: BTreeMap<(&'a str, IpAddr), &'a Backend>,
    /// Pairs that have been reported, since each usually clashes at many endpoints.
    listeners: BTreeSet<(ListenerKey, ListenerKey)>,
    backends: BTreeSet<(&'a str, &'a str, &'a str)>,
}

impl<'a> Endpoints<'a> {
    fn claim_for_listeners(&mut self, service: &'a Service, backend: &'a Backend) -> Vec<Clash> {
        let claim = |listener| {
            let claim = Owner {
                service,
                listener,
                backend,
            };
            self.claim(claim, backend.endpoint(listener)?)
        };
        service.listeners.iter().filter_map(claim).collect()
    }

    /// Claims an endpoint; a clash if it has another owner and the two have not clashed yet.
    fn claim(&mut self, claim: Owner<'a>, endpoint: SocketAddr) -> Option<Clash> {
        let protocol = claim.listener.protocol;
        let owner = *self.owners.entry((protocol, endpoint)).or_insert(claim);
        let text = format!("{endpoint}/{protocol}");
        let pair = (key(owner.listener), key(claim.listener));
        if pair.0 == pair.1 {
            let one_service = owner.service.name == claim.service.name;
            let service = one_service.then_some(claim.service)?;
            return self.same(service, owner.backend, claim.backend, text);
        }
        self.listeners.insert(pair).then(|| Clash::SharedEndpoint {
            endpoint: text,
            listener: claim.listener.to_string(),
            other: owner.listener.to_string(),
            service: owner.service.name.clone(),
        })
    }

    fn claim_next_hops(&mut self, service: &'a Service, backend: &'a Backend) -> Vec<Clash> {
        let claim = |place: Place<IpAddr>| {
            let key = (&*service.name, place.address);
            let owner = *self.next_hops.entry(key).or_insert(backend);
            self.same(service, owner, backend, place.address.to_string())
        };
        backend.places().filter_map(claim).collect()
    }

    /// Two backends of a service at one endpoint.
    fn same(
        &mut self,
        service: &'a Service,
        first: &'a Backend,
        second: &'a Backend,
        endpoint: String,
    ) -> Option<Clash> {
        let trio = (&*service.name, &*first.name, &*second.name);
        let news = first.name != second.name && self.backends.insert(trio);
        news.then(|| Clash::SameEndpoint {
            other: first.name.clone(),
            endpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{NODE, problems, refuses, service, shop};

    #[test]
    fn two_backends_of_one_service_at_one_endpoint_are_refused() {
        let expected = "service `shop`: pool `green`: backend `g1` is the same endpoint as backend \
                        `b1`, 10.0.1.11:443/tcp; give one another address or port, or remove it";
        let text = shop("").replace("10.0.1.21", "10.0.1.11");
        assert_eq!(problems(&text), expected);
        let text = shop("").replace("10.0.1.21", "10.0.1.11:443");
        assert_eq!(problems(&text), expected);
    }

    #[test]
    fn two_backends_at_one_address_with_ports_of_their_own_are_told_apart() {
        let text = shop("").replace("10.0.1.21", "10.0.1.11:8443");
        assert_eq!(problems(&text), "");
    }

    #[test]
    fn two_listeners_of_one_service_that_share_an_endpoint_are_refused() {
        let listen = r#":443", "tcp://192.0.2.81:443""#;
        let text = problems(&shop("").replace(":443\"", listen));
        let expected = "service `shop`: pool `blue`: backend `b1` is reached at 10.0.1.11:443/tcp \
                        from listener `tcp://192.0.2.81:443` and from listener \
                        `tcp://192.0.2.80:443` of service `shop`, so replies could not be told \
                        apart; set ?to=PORT on one listener, and leave the port out of `address`";
        assert_eq!(text, expected, "and once, not for each backend");
    }

    #[test]
    fn to_tells_two_listeners_apart() {
        let listen = r#":443", "tcp://192.0.2.81:443?to=8443""#;
        assert_eq!(problems(&shop("").replace(":443\"", listen)), "");
    }

    #[test]
    fn a_backends_own_port_overrides_to_and_is_shared_again() {
        let listen = r#":443", "tcp://192.0.2.80:444?to=8444""#;
        let text = shop("").replace(":443\"", listen);
        refuses(
            &text.replace("10.0.1.21", "10.0.1.21:9000"),
            "backend `g1` is reached at 10.0.1.21:9000/tcp from listener",
        );
    }

    #[test]
    fn tcp_and_udp_do_not_share_endpoints() {
        let listen = r#":443", "udp://192.0.2.80:443""#;
        assert_eq!(problems(&shop("").replace(":443\"", listen)), "");
    }

    #[test]
    fn two_services_that_share_an_endpoint_are_refused() {
        let other = service("blog", 444, 1).replace(":444\"", ":444?to=443\"");
        refuses(
            &(shop("") + &other),
            "service `blog`: pool `blue`: backend `b1` is reached at 10.0.1.11:443/tcp from \
             listener `tcp://192.0.2.80:444?to=443` and from listener `tcp://192.0.2.80:443` of \
             service `shop`",
        );
    }

    #[test]
    fn two_services_may_share_a_server_on_different_ports() {
        assert_eq!(problems(&(shop("") + &service("blog", 444, 1))), "");
    }

    #[test]
    fn services_in_l2_may_share_servers() {
        let l2 = |name, port| {
            let text = service(name, port, 1);
            text.replace("\nlisten", "\nforward = \"l2\"\nlisten")
        };
        let text = format!("{NODE}{}{}", l2("shop", 443), l2("blog", 444));
        assert_eq!(problems(&text), "");
    }

    #[test]
    fn one_server_under_two_names_is_refused_in_l2_too() {
        let text = shop("forward = \"l2\"").replace("10.0.1.21", "10.0.1.11");
        let expected = "service `shop`: pool `green`: backend `g1` is the same endpoint as backend \
                        `b1`, 10.0.1.11; give one another address or port, or remove it";
        assert_eq!(problems(&text), expected);
    }
}
