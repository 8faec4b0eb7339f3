//! The listeners' numbers, which the pins of their connections carry.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::maps::MAX_LISTENERS;

use super::{
    BackendState, ServiceState, State, StateError,
    ids::{Ids, take_short},
};
use crate::config::{Listen, Service};

/// The service's listeners with their numbers; a VIP keeps the one it has.
pub fn listeners(
    kept: Option<&ServiceState>,
    service: &Service,
    ids: &mut Ids,
) -> Result<BTreeMap<String, u16>, StateError> {
    let mut numbered = BTreeMap::new();
    for listener in &service.listeners {
        let known = kept.and_then(|kept| Some((kept, kept.listener(listener)?)));
        let id = match known {
            Some((kept, (before, _))) if kept.moves_connections(&before, listener) => {
                return Err(StateError::PortChanged {
                    service: service.name.clone(),
                    listener: listener.to_string(),
                });
            }
            Some((_, (_, id))) => id,
            None => take_short(&mut ids.listeners, 0, MAX_LISTENERS, "listeners")?,
        };
        numbered.insert(listener.to_string(), id);
    }
    Ok(numbered)
}

impl ServiceState {
    /// The listener with the same VIP, port and protocol, and its number.
    fn listener(&self, wanted: &Listen) -> Option<(Listen, u16)> {
        let known = self.listeners.iter();
        let mut known = known.filter_map(|(text, &id)| Some((text.parse::<Listen>().ok()?, id)));
        known.find(|(listener, _)| {
            Listen {
                to: wanted.to,
                ..*listener
            } == *wanted
        })
    }

    /// Whether `next` sends connections to another port of some backend than `before` does.
    fn moves_connections(&self, before: &Listen, next: &Listen) -> bool {
        let portless = |backend: &BackendState| {
            let mut places = backend.places.iter();
            places.any(|(address, port)| {
                port.is_none() && address.is_ipv6() == next.address.is_ipv6()
            })
        };
        before.backend_port() != next.backend_port() && self.backends.values().any(portless)
    }
}

impl State {
    /// Numbers of all listeners.
    pub(super) fn listener_numbers(&self) -> BTreeSet<u16> {
        let services = self.services.values();
        services
            .flat_map(|service| service.listeners.values().copied())
            .collect()
    }
}
