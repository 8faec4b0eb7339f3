//! Replies of backends that have left, where another listener would take them for its own.
//!
//! The configuration sees to it that no two listeners share a backend's endpoint. One that has
//! left the configuration still has connections, and so still has its endpoint.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{BackendState, ServiceState, State, StateError};
use crate::config::{Config, Listen, Protocol};

/// A backend's end of a connection.
type Endpoint = (Protocol, SocketAddr);

/// Who has an endpoint, and what clients of its connections believe to talk to.
struct Claim<'a> {
    service: &'a str,
    backend: &'a BackendState,
    vip: SocketAddr,
}

/// Refuses a state in which an endpoint's replies could be those of two listeners.
pub fn check(config: &Config, state: &State) -> Result<(), StateError> {
    let mut claims: BTreeMap<Endpoint, Claim<'_>> = BTreeMap::new();
    for (endpoint, claim) in all(config, state) {
        let Some(other) = claims.insert(endpoint, claim) else {
            continue;
        };
        let claim = &claims[&endpoint];
        if claim.vip != other.vip {
            let leaving = if other.backend.leaving { &other } else { claim };
            return Err(StateError::StillLeaving {
                service: leaving.service.to_owned(),
                backend: leaving.backend.name.clone(),
                endpoint: endpoint.1,
            });
        }
    }
    Ok(())
}

fn all<'a>(config: &'a Config, state: &'a State) -> impl Iterator<Item = (Endpoint, Claim<'a>)> {
    let services = config.services.iter().filter_map(|service| {
        let state = state.services.get(&service.name)?;
        state.forward.translates().then_some((service, state))
    });
    services.flat_map(|(service, state)| {
        let listeners = service.listeners.iter();
        listeners.flat_map(|listener| of_listener(&service.name, state, listener))
    })
}

fn of_listener<'a>(
    service: &'a str,
    state: &'a ServiceState,
    listener: &'a Listen,
) -> impl Iterator<Item = (Endpoint, Claim<'a>)> {
    let vip = SocketAddr::new(listener.address, listener.port);
    state.backends.values().flat_map(move |backend| {
        backend.endpoints(listener).map(move |endpoint| {
            let claim = Claim {
                service,
                backend,
                vip,
            };
            ((listener.protocol, endpoint), claim)
        })
    })
}

impl BackendState {
    /// Where connections to `listener` go.
    pub(crate) fn endpoints(&self, listener: &Listen) -> impl Iterator<Item = SocketAddr> {
        let (v6, default) = (listener.address.is_ipv6(), listener.backend_port());
        let of_family = move |address: &IpAddr| address.is_ipv6() == v6;
        let places = self.places.iter().filter(move |(a, _)| of_family(a));
        places.map(move |&(address, port)| SocketAddr::new(address, port.unwrap_or(default)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, SHOP};

    const OTHER: &str = r#"
[[service]]
name = "blog"
listen = ["tcp://192.0.2.81:443"]
[[service.pool]]
name = "one"
backends = [{ name = "o1", address = "10.0.3.1" }]
[[service.pool]]
name = "two"
backends = [{ name = "t1", address = "10.0.3.2" }]
"#;

    fn without_b1() -> String {
        SHOP.replace("{ name = \"b1\", address = \"10.0.1.1\" }, ", "")
    }

    #[test]
    fn a_server_that_still_leaves_one_service_is_refused_to_another() {
        let mut fixture = Fixture::new(&format!("{SHOP}{OTHER}"));
        let moved = without_b1() + &OTHER.replace("10.0.3.1", "10.0.1.1");
        let error = fixture
            .apply(&moved)
            .expect_err("its replies would be blog's");
        assert_eq!(
            error.to_string(),
            "service `shop`: backend `b1` at 10.0.1.1:443 has left, but may have live \
             connections, and another listener would take its replies; apply again when `serin \
             status shop` shows it no more"
        );
    }

    #[test]
    fn a_server_that_returns_to_the_same_listener_is_welcome() {
        let mut fixture = Fixture::new(SHOP);
        fixture.apply(&without_b1()).expect("b1 leaves");
        fixture.apply(SHOP).expect("b1 returns");
        assert_eq!(fixture.id("b1"), 4);
        assert!(fixture.service("shop").backends[&1].leaving);
    }

    #[test]
    fn with_direct_server_return_no_reply_passes_here() {
        let l2 = |text: &str| text.replace("\nlisten", "\nforward = \"l2\"\nlisten");
        let both = |shop: &str, other: &str| l2(&format!("{shop}{other}"));
        let mut fixture = Fixture::new(&both(SHOP, OTHER));
        let moved = both(&without_b1(), &OTHER.replace("10.0.3.1", "10.0.1.1"));
        fixture.apply(&moved).expect("nothing to tell apart");
    }
}
