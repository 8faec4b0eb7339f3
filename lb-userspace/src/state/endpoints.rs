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
        (!state.l2).then_some((service, state))
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
    pub(super) fn endpoints(&self, listener: &Listen) -> impl Iterator<Item = SocketAddr> {
        let (v6, default) = (listener.address.is_ipv6(), listener.backend_port());
        let of_family = move |address: &IpAddr| address.is_ipv6() == v6;
        let places = self.places.iter().filter(move |(a, _)| of_family(a));
        places.map(move |&(address, port)| SocketAddr::new(address, port.unwrap_or(default)))
    }
}
