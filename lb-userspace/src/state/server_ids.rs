//! What connection ids tell of the backends (`quic_lb`): who is known by which.

use lb_common::quic_lb::{Server, ServerKey};

use super::{BackendState, ServiceState, State, StateError};
use crate::{
    config::{Format, ServerId, Service},
    dataplane::Image,
};

/// Refuses a state in which an id could be that of two servers: one that has left and one that came.
pub fn check(state: &State) -> Result<(), StateError> {
    for (name, service) in &state.services {
        let present = service.backends.values().filter(|b| !b.leaving);
        for backend in present {
            if let Some((id, leaving)) = claimed(service, backend) {
                return Err(StateError::ServerIdLeaving {
                    service: name.clone(),
                    backend: backend.name.clone(),
                    id: id.to_string(),
                    leaving: leaving.name.clone(),
                });
            }
        }
    }
    Ok(())
}

/// An id of a backend that another server, which is leaving, has as well. One at the same address is
/// the same server under another name, or in another pool.
fn claimed<'a>(
    service: &'a ServiceState,
    backend: &'a BackendState,
) -> Option<(&'a ServerId, &'a BackendState)> {
    let others = service.backends.values();
    let others = others.filter(|b| b.leaving && b.places != backend.places);
    let mut claims = others.flat_map(|other| other.server_ids.iter().map(move |id| (id, other)));
    claims.find(|(id, _)| backend.server_ids.contains(id))
}

/// Adds the ids of a service's backends, in each format that has their length. Nobody is known by that
/// of a backend in `maint` or down: whoever is sent elsewhere is told there that the connection is gone.
pub fn add(image: &mut Image, service: &Service, state: &ServiceState) {
    let (leaving, present): (Vec<_>, Vec<_>) = state
        .backends
        .iter()
        .filter(|(_, backend)| !backend.is_cut())
        .partition(|(_, backend)| backend.leaving);
    // Where both are one server, its connections are those of the backend that is there.
    for (&id, backend) in leaving.into_iter().chain(present) {
        let server = Server::new(id, backend.leaving);
        for (format, octets) in pairs(&service.quic_lb, backend) {
            let format = (u32::from(format.rotation), u32::from(format.length));
            image
                .servers
                .insert(ServerKey::new(state.id, format, words(octets)), server);
        }
    }
}

fn pairs<'a>(
    formats: &'a [Format],
    backend: &'a BackendState,
) -> impl Iterator<Item = (&'a Format, &'a ServerId)> {
    let ids = backend.server_ids.iter();
    ids.flat_map(move |id| {
        let formats = formats.iter().filter(move |format| id.fits(format));
        formats.map(move |format| (format, id))
    })
}

/// The octets as the packet path reads them.
fn words(id: &ServerId) -> [u64; 2] {
    let mut octets = [0; 16];
    octets[..id.octets().len()].copy_from_slice(id.octets());
    bytemuck::cast(octets)
}

#[cfg(test)]
mod tests {
    use super::super::{
        Admin,
        fixture::{Fixture, SHOP},
    };
    use crate::dataplane::{Image, plan::plan};

    /// The shop with `quic_lb`; b1, b2 and g1 have the ids c0ffee01, c0ffee02 and c0ffee03.
    fn shop() -> String {
        let text = SHOP.replace("tcp://192.0.2.80:443", "udp://192.0.2.80:443?quic");
        let text = text.replace("\nlisten", &format!("\n{FORMAT}\nlisten"));
        let ids = [("b1", 1), ("b2", 2), ("g1", 3)];
        ids.iter().fold(text, |text, (name, number)| {
            let id = format!("name = \"{name}\", server_id = \"c0ffee0{number}\",");
            text.replace(&format!("name = \"{name}\","), &id)
        })
    }

    const FORMAT: &str = "quic_lb = { rotation = 0, server_id_length = 4 }";

    /// Who has which id (by its last octet), and whether it is leaving.
    fn known(image: &Image) -> Vec<(u8, u16, bool)> {
        let entry = |(key, server): (&super::ServerKey, &super::Server)| {
            let (octets, length) = key.id();
            (octets[length - 1], server.backend(), server.is_leaving())
        };
        let mut known: Vec<_> = image.servers.iter().map(entry).collect();
        known.sort_unstable();
        known
    }

    const ALL: [(u8, u16, bool); 3] = [(1, 1, false), (2, 2, false), (3, 3, false)];

    #[test]
    fn backends_of_all_pools_are_known_by_their_ids_and_listeners_of_quic_ask_for_them() {
        let fixture = Fixture::new(&shop());
        assert_eq!(known(&fixture.image), ALL);
        let asked = fixture.image.listeners.iter();
        for (vip, listener) in asked {
            assert_eq!(listener.formats().is_empty(), vip.is_portless());
        }
        let mixed = shop().replace("listen = [", "listen = [\"tcp://192.0.2.80:443\", ");
        let listeners = Fixture::new(&mixed).image.listeners;
        let asked = listeners.values().filter(|l| !l.formats().is_empty());
        assert_eq!(asked.count(), 1, "TCP has no connection ids");
        assert!(Fixture::new(SHOP).image.servers.is_empty());
    }

    #[test]
    fn one_that_drains_is_known_and_one_in_maint_or_down_is_not() {
        let mut fixture = Fixture::new(&shop());
        let mut with = |admin, up| {
            let backend = fixture
                .service_mut("shop")
                .backend_mut("b1")
                .expect("there");
            backend.admin = admin;
            backend.set_up(up);
            fixture.compose();
            known(&fixture.image)
        };
        assert_eq!(with(Admin::Drain, true), ALL);
        assert_eq!(with(Admin::Maint, true), ALL[1..]);
        assert_eq!(with(Admin::Ready, false), ALL[1..]);
        assert_eq!(with(Admin::Ready, true), ALL);
    }

    #[test]
    fn one_that_leaves_is_known_as_such_and_awaited_for_a_drain() {
        let mut fixture = Fixture::new(&shop());
        let b1 = "{ name = \"b1\", server_id = \"c0ffee01\", address = \"10.0.1.1\" }, ";
        fixture.apply(&shop().replace(b1, "")).expect("b1 leaves");
        assert_eq!(known(&fixture.image), [(1, 1, true), ALL[1], ALL[2]]);
        let b1 = &fixture.service("shop").backends[&1];
        assert!(b1.is_awaited(5, 10) && b1.is_awaited(5, 14) && !b1.is_awaited(5, 15));
        let mut untold = b1.clone();
        untold.server_ids.clear();
        assert!(!untold.is_awaited(5, 10), "its connections have pins");
    }

    #[test]
    fn an_id_is_not_given_to_another_server_while_the_old_one_leaves() {
        let mut fixture = Fixture::new(&shop());
        let elsewhere = shop().replace("10.0.1.2", "10.0.1.9");
        let error = fixture
            .apply(&elsewhere)
            .expect_err("two servers")
            .to_string();
        assert_eq!(
            error,
            "service `shop`: backend `b2` has `server_id` c0ffee02, and so has one that has left, \
             but may have live connections; give it another, or apply again when `serin status \
             shop` shows backend `b2` as leaving no more"
        );
        let other = elsewhere.replace("c0ffee02", "c0ffee09");
        fixture.apply(&other).expect("an id of its own");
        assert_eq!(
            known(&fixture.image),
            [ALL[0], (2, 2, true), ALL[2], (9, 4, false)]
        );
    }

    #[test]
    fn a_server_with_another_name_keeps_its_id_and_its_connections() {
        let mut fixture = Fixture::new(&shop());
        fixture
            .apply(&shop().replace("\"b2\"", "\"b9\""))
            .expect("the same server");
        assert_eq!(known(&fixture.image), [ALL[0], (2, 4, false), ALL[2]]);
    }

    #[test]
    fn no_packet_meets_an_id_without_its_backend_or_a_format_without_its_ids() {
        let old = Fixture::new(&shop());
        let mut next = Fixture::new(&shop());
        next.apply(
            &shop()
                .replace("rotation = 0", "rotation = 5")
                .replace("10.0.1.2", "10.0.1.9")
                .replace("c0ffee02", "c0ffee09"),
        )
        .expect("another server, and another format");
        let none = Image::default();
        for (from, to) in [
            (&none, &old.image),
            (&old.image, &next.image),
            (&next.image, &none),
        ] {
            let mut image = from.clone();
            for write in plan(from, to) {
                image.apply(&write);
                for server in image.servers.values() {
                    let index = lb_common::backend::index(server.backend(), false);
                    assert!(image.backends.contains_key(&index), "{write}");
                }
                let mut asked = image.listeners.values().filter(|l| !l.formats().is_empty());
                let has = |rotation: u8| {
                    image
                        .servers
                        .keys()
                        .any(|k| k.rotation() == u32::from(rotation))
                };
                let holds = |rotation: u8, formats: lb_common::quic_lb::Formats| {
                    formats.of(rotation << 5).1 == 0 || has(rotation)
                };
                assert!(
                    asked.all(|l| (0..7).all(|r| holds(r, l.formats()))),
                    "{write}"
                );
            }
            assert_eq!(&image, to);
        }
    }

    #[test]
    fn ids_outlast_a_restart_and_files_from_before_them_are_read() {
        let fixture = Fixture::new(&shop());
        let text = serde_json::to_string(&fixture.state).expect("it has a form");
        assert!(text.contains("\"server_ids\":[\"c0ffee01\"]"), "{text}");
        let read: super::State = serde_json::from_str(&text).expect("as written");
        let backends = |state: &super::State| state.services["shop"].backends.clone();
        assert_eq!(backends(&read), backends(&fixture.state));
        let old = text.replace("\"server_ids\":[\"c0ffee01\"]", "\"other\":0");
        let read: super::State = serde_json::from_str(&old).expect("older");
        assert!(read.services["shop"].backends[&1].server_ids.is_empty());
        let bad = text.replace("\"c0ffee01\"", "\"coffee01\"");
        assert!(serde_json::from_str::<super::State>(&bad).is_err());
    }
}
