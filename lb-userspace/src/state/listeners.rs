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
        if let Some(&id) = self.listeners.get(&wanted.to_string()) {
            return Some((wanted.clone(), id));
        }
        let known = self.listeners.iter();
        let mut known = known.filter_map(|(text, &id)| Some((text.parse::<Listen>().ok()?, id)));
        known.find(|(listener, _)| {
            Listen {
                to: wanted.to,
                quic: wanted.quic,
                toggle: wanted.toggle.clone(),
                ..listener.clone()
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

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, SHOP};

    #[test]
    fn a_listener_keeps_its_number_whatever_comes_and_goes_beside_it() {
        let mut fixture = Fixture::new(SHOP);
        let before = fixture.service("shop").listeners.clone();
        let more = SHOP.replace("listen = [", "listen = [\"tcp://192.0.2.80:25\", ");
        fixture.apply(&more).expect("one more");
        for (listener, id) in before {
            assert_eq!(fixture.service("shop").listeners.get(&listener), Some(&id));
        }
    }

    #[test]
    fn a_number_is_retired_with_its_listener_and_not_given_to_the_next() {
        let mut fixture = Fixture::new(SHOP);
        fixture
            .apply(&SHOP.replace(":443\"", ":444\""))
            .expect("another port");
        let listeners = &fixture.service("shop").listeners;
        assert_eq!(listeners.values().copied().collect::<Vec<_>>(), [1]);
        assert_eq!(fixture.state.retired, [0].into());
        fixture.apply(SHOP).expect("the first port again");
        let listeners = &fixture.service("shop").listeners;
        assert_eq!(listeners.values().copied().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn to_may_change_where_it_moves_no_connection() {
        let mut fixture = Fixture::new(SHOP);
        let same = SHOP.replace(":443\"", ":443?to=443\"");
        fixture.apply(&same).expect("the same port");
        assert_eq!(
            fixture.service("shop").listeners["tcp://192.0.2.80:443?to=443"],
            0
        );
        let other = SHOP.replace(":443\"", ":443?to=8443\"");
        let error = fixture.apply(&other).expect_err("another port").to_string();
        assert!(error.starts_with("service `shop`: listener `tcp://192.0.2.80:443?to=8443`: "));

        let ported = SHOP.replace("\"10.0.1.1\"", "\"10.0.1.1:9000\"");
        let ported = ported.replace("\"10.0.1.2\"", "\"10.0.1.2:9000\"");
        let ported = ported.replace("\"10.0.2.1\"", "\"10.0.2.1:9000\"");
        let mut fixture = Fixture::new(&ported);
        let other = ported.replace(":443\"", ":443?to=8443\"");
        fixture.apply(&other).expect("all backends name their own");
    }
}
