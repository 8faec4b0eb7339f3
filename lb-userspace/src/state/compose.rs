//! From configuration, state and next hops to what the maps should hold.

use std::{collections::BTreeSet, net::IpAddr};

use lb_common::{
    address::Address,
    backend::{self, Backend},
    listener::{Endpoint, Listener, Reply},
    prefix::Prefixes,
    protocol,
    release::Record,
};

use super::{BackendState, ServiceState, State, portless, server_ids};
use crate::{
    config::{Config, Connections, Datagram, Forward, Listen, Protocol, Service, quic_lb},
    dataplane::{Image, prefixes::Block},
    judge::{BASELINE_RATIO, BREAKER},
    neighbour::{Reach, View},
    release::{Position, engine::Run},
};

/// The image of a state.
pub fn compose(config: &Config, state: &State, view: &View) -> Image {
    let mut image = Image {
        ports: ports(config, view),
        ..Image::default()
    };
    if let Some(kept) = &state.protect {
        add_block(&mut image, kept.settings.denied(), &kept.block);
        image.protect = Some(kept.settings);
    }
    for service in &config.services {
        if let Some(of_service) = state.services.get(&service.name) {
            let open = |listener: &Listen| state.is_open(listener.toggle.as_deref());
            add_service(&mut image, service, of_service, view, open);
        }
    }
    portless::add(&mut image);
    image
}

/// All addresses whose next hop is needed.
pub fn targets(state: &State) -> BTreeSet<IpAddr> {
    let backends = state
        .services
        .values()
        .flat_map(|service| service.backends.values());
    backends
        .flat_map(|backend| backend.places.iter().map(|&(address, _)| address))
        .collect()
}

fn ports(config: &Config, view: &View) -> BTreeSet<u32> {
    let configured = config
        .node
        .interfaces
        .iter()
        .filter_map(|name| view.links.get(name));
    let mut ports: BTreeSet<u32> = configured.map(|link| link.ifindex).collect();
    ports.extend(view.reach.values().filter_map(|reach| match reach {
        Reach::Via(hop) => Some(hop.ifindex),
        Reach::Resolving { ifindex } => Some(*ifindex),
        Reach::NoRoute | Reach::Unlisted { .. } | Reach::Local => None,
    }));
    ports
}

fn add_service(
    image: &mut Image,
    service: &Service,
    state: &ServiceState,
    view: &View,
    open: impl Fn(&Listen) -> bool,
) {
    for (&id, backend) in &state.backends {
        add_backend(image, state, id, backend, view);
    }
    let record = record(service, state, &state.position);
    for pool in state.pools.values() {
        let index = pool.table.index(pool.id);
        if record.tables().contains(&index) {
            image.tables.insert(index, pool.table.slots().clone());
        }
    }
    for number in record.audience_sets() {
        if let Some(compiled) = state.audiences.sets.get(&number) {
            add_block(image, compiled.set.prefixes(), &compiled.block);
            image.audiences.insert(number, compiled.set);
        }
    }
    image.records.insert(state.id, record);
    server_ids::add(image, service, state);
    for listener in &service.listeners {
        let id = state.listeners[&listener.to_string()];
        let mut entry = Listener::new(state.id, id, listener.backend_port());
        if listener.quic {
            let formats = quic_lb::formats(&service.quic_lb);
            entry = entry.with(Listener::QUIC).routed(formats);
        }
        // Replies are taken all the same: to turn it on again is one write.
        if open(listener) {
            image.listeners.insert(endpoint(listener), entry);
        }
        if state.forward.translates() {
            add_replies(image, state, (listener, &entry));
        }
    }
}

fn add_block(image: &mut Image, prefixes: &Prefixes, block: &Block) {
    if prefixes.length() > 0 {
        image.blocks.insert(prefixes.base(), block.clone());
    }
}

/// The record of a position of a service.
pub fn record(service: &Service, state: &ServiceState, position: &Position) -> Record {
    let mut flags = match state.forward {
        Forward::Nat => Record::FORWARD_NAT,
        Forward::L2 => Record::FORWARD_L2,
        Forward::Ipip => Record::FORWARD_IPIP,
        Forward::Gue => Record::FORWARD_GUE,
    };
    if service.connections == Connections::Cut {
        flags |= Record::CUT;
    }
    if service.datagram == Datagram::Session {
        flags |= Record::SESSIONS;
    }
    if state.by_client {
        flags |= Record::AFFINITY_CLIENT;
    }
    let table = |id| {
        let pool = state.pools.values().find(|pool| pool.id == id);
        pool.map_or(0, |pool| pool.table.index(id))
    };
    let record = position.record(table, flags);
    if !position.run.as_ref().is_some_and(Run::is_judged) {
        return record;
    }
    let ratio = if state.compares(&position.now) {
        BASELINE_RATIO
    } else {
        0
    };
    // Without a ratio there is no breaker, but its pins are still there.
    record.measured(ratio).with_breaker(BREAKER)
}

fn add_backend(
    image: &mut Image,
    service: &ServiceState,
    id: u16,
    backend: &BackendState,
    view: &View,
) {
    for v6 in [false, true] {
        let of_family = backend
            .places
            .iter()
            .find(|(address, _)| address.is_ipv6() == v6);
        // With direct server return the packet keeps its addresses, so any of the backend's will do.
        let any = of_family.or(if service.forward.translates() {
            None
        } else {
            backend.places.first()
        });
        if let Some(&(address, port)) = any {
            let entry = Backend::new(address.into(), port.unwrap_or(0), backend.generation);
            let entry = match view.reach.get(&address) {
                Some(Reach::Via(hop)) => entry
                    .via(hop.ifindex, hop.source_mac, hop.next_hop_mac)
                    .with_mtu(hop.mtu),
                _ => entry,
            };
            image.backends.insert(backend::index(id, v6), entry);
        }
    }
}

/// Those that are leaving first: where a new backend has an old one's endpoint, it is the new
/// one's now.
fn add_replies(image: &mut Image, service: &ServiceState, (listener, entry): (&Listen, &Listener)) {
    let (leaving, present): (Vec<_>, Vec<_>) = service
        .backends
        .iter()
        .partition(|(_, backend)| backend.leaving);
    let protocol = number(listener.protocol);
    for (&id, backend) in leaving.into_iter().chain(present) {
        for at in backend.endpoints(listener) {
            let from = Endpoint::new(at.ip().into(), at.port().to_be_bytes(), protocol);
            let reply = Reply::new(listener.address.into(), listener.port, id);
            image.replies.insert(from, reply.of(entry));
        }
    }
}

/// The key of a listener in the maps.
pub fn endpoint(listener: &Listen) -> Endpoint {
    let address = Address::from(listener.address);
    Endpoint::new(
        address,
        listener.port.to_be_bytes(),
        number(listener.protocol),
    )
}

/// The IANA number of a protocol.
pub const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, SHOP};
    use super::*;

    #[test]
    fn only_tables_that_packets_may_go_by_are_in_the_maps() {
        let mut fixture = Fixture::new(SHOP);
        assert_eq!(
            fixture.image.tables.keys().copied().collect::<Vec<_>>(),
            [0]
        );
        let salts = |_: u64| 1;
        let shared = fixture.service("shop").position.share(1, 10, 1, &salts);
        fixture.service_mut("shop").position = shared.expect("a share");
        fixture.compose();
        assert_eq!(
            fixture.image.tables.keys().copied().collect::<Vec<_>>(),
            [0, 2]
        );
    }

    #[test]
    fn replies_of_an_endpoint_belong_to_the_backend_that_has_not_left() {
        let mut fixture = Fixture::new(SHOP);
        let without = SHOP.replace("{ name = \"b1\", address = \"10.0.1.1\" }, ", "");
        fixture.apply(&without).expect("b1 leaves");
        fixture.apply(SHOP).expect("and returns as another");
        let port = 443_u16.to_be_bytes();
        let from = Endpoint::new(Address::v4([10, 0, 1, 1]), port, protocol::TCP);
        let vip = Address::v4([192, 0, 2, 80]);
        let reply = fixture.image.replies[&from];
        assert_eq!((reply.address(), reply.backend()), (&vip, 4));
        let listener = fixture.image.listeners[&Endpoint::new(vip, port, protocol::TCP)];
        assert_eq!(reply.listener(), Some((listener.id(), listener.service())));
    }

    #[test]
    fn with_direct_server_return_any_address_will_do_for_either_family() {
        let nat = Fixture::new(SHOP);
        let l2 = Fixture::new(&SHOP.replace("\nlisten", "\nforward = \"l2\"\nlisten"));
        let families = |fixture: &Fixture| {
            let has = |v6| fixture.image.backends.contains_key(&backend::index(1, v6));
            (has(false), has(true))
        };
        assert_eq!(
            (families(&nat), families(&l2)),
            ((true, false), (true, true))
        );
        assert!(l2.image.replies.is_empty());
    }

    #[test]
    fn a_backend_whose_next_hop_is_unknown_has_an_entry_without_one() {
        let fixture = Fixture::new(SHOP);
        let entry = &fixture.image.backends[&backend::index(1, false)];
        assert!(entry.is_present() && entry.ifindex() == 0);
    }
}
