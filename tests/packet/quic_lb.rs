//! Connection ids that tell their server (`quic_lb`): no release moves a connection that has one, nor
//! does another address of its client.

use lb_common::{
    backend::index,
    listener::Listener,
    protocol::UDP,
    quic_lb::{Formats, Server, ServerKey},
    reason::{FlowEvent, Reason},
    release::Record,
    trace::Trace,
};
use lb_userspace::dataplane::{Image, Table};

use crate::{
    frame::Frame,
    lab::Lab,
    quic::{
        self, GREASE, HANDSHAKE_1, HANDSHAKE_2, INITIAL_1, INITIAL_2, SMALLEST, ZERO_RTT_1,
        ZERO_RTT_2, datagram,
    },
    world::{
        FAMILIES, Family, NEW, NEW_TABLE, OLD, OLD_TABLE, SERVICE, chosen, client, cut_over,
        endpoint, ramping, resting, vip,
    },
};

use FlowEvent::{CidRouted, CidUnknown, Lookup, Pinned};

const ROTATION: u8 = 2;
/// Ids of the old and the new backend, and of nobody.
const OF_OLD: [u8; 4] = [0xc0, 0xff, 0xee, 1];
const OF_NEW: [u8; 4] = [0xc0, 0xff, 0xee, 2];
const OF_NOBODY: [u8; 4] = [0xc0, 0xff, 0xee, 3];

#[test]
fn a_connection_goes_to_the_server_that_its_id_tells_at_every_stage_of_a_release() {
    let settled = Record {
        active: NEW_TABLE,
        origin_active: NEW_TABLE,
        ..resting()
    };
    let cut = Record {
        flags: Record::MOVING | Record::CUT,
        ..cut_over()
    };
    let stages = [resting(), ramping(500_000), cut_over(), settled, cut];
    for (number, record) in stages.into_iter().enumerate() {
        let mut lab = Lab::new(&image(record));
        for family in FAMILIES {
            // Some of these clients are moved by the ramp, and some are not.
            for from in (0..8).map(|number| client(family, number)) {
                for (id, server) in [(OF_OLD, OLD), (OF_NEW, NEW)] {
                    let outcome = lab.send_frame(&datagram(from, short(&cid(ROTATION, &id))));
                    let went = (chosen(&outcome.frame), outcome.events);
                    assert_eq!(
                        went,
                        (server, vec![CidRouted]),
                        "{family:?}, stage {number}"
                    );
                }
            }
        }
        assert_eq!(lab.pins(), [], "stage {number}");
    }
}

#[test]
fn without_formats_the_same_packets_go_by_their_client() {
    let mut image = image(resting());
    for listener in image.listeners.values_mut() {
        *listener = Listener::new(SERVICE, listener.id(), 80).with(Listener::QUIC);
    }
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        let packet = datagram(client(family, 7), short(&cid(ROTATION, &OF_NEW)));
        let outcome = lab.send_frame(&packet);
        assert_eq!((chosen(&outcome.frame), outcome.events), (OLD, vec![]));
    }
}

#[test]
fn an_id_that_tells_no_server_leaves_the_packet_to_the_release() {
    let whole = cid(ROTATION, &OF_NEW);
    let mut short_of_one = short(&whole);
    short_of_one.truncate(1 + 1 + 16 - 1);
    let table = [
        ("nobody's id", short(&cid(ROTATION, &OF_NOBODY))),
        ("the number of no format", short(&cid(7, &OF_NEW))),
        (
            "a format that is not the service's",
            short(&cid(0, &OF_NEW)),
        ),
        ("shorter than any packet", short_of_one),
        (
            "an id that another service has",
            short(&cid(ROTATION, b"else")),
        ),
        ("nothing at all", vec![]),
        ("a header alone", vec![0x4a]),
        ("a long header that ends in its version", vec![0xc0, 0, 0]),
        (
            "a long header that ends before the id",
            vec![0xe0, 0, 0, 0, 1],
        ),
        (
            "a long header of a short id",
            long(HANDSHAKE_1, &whole[..8], 60),
        ),
        ("a long header of no id", long(HANDSHAKE_2, &[], 60)),
    ];
    for (stage, record) in [("at rest", resting()), ("in a cutover", cut_over())] {
        let mut lab = Lab::new(&image(record));
        for family in FAMILIES {
            for (number, (what, payload)) in (0..).zip(&table) {
                let from = client(family, number);
                let outcome = lab.send_frame(&datagram(from, payload.clone()));
                assert_eq!(chosen(&outcome.frame), OLD, "{family:?} {stage}: {what}");
                assert!(
                    outcome.events.contains(&CidUnknown),
                    "{family:?} {stage}: {what}"
                );
            }
        }
    }
}

#[test]
fn what_stands_behind_the_datagram_is_not_its_id() {
    let mut lab = Lab::new(&image(resting()));
    for family in FAMILIES {
        let whole = short(&cid(ROTATION, &OF_NEW));
        let (payload, padding) = whole.split_at(10);
        let frame = Frame {
            padding: padding.to_vec(),
            ..datagram(client(family, 7), payload.to_vec())
        };
        let outcome = lab.send_frame(&frame);
        let went = (chosen(&outcome.frame), outcome.events);
        assert_eq!(went, (OLD, vec![CidUnknown]), "{family:?}");
    }
}

#[test]
fn long_headers_of_all_kinds_and_versions_are_asked_for_their_servers_id() {
    let mut lab = Lab::new(&image(resting()));
    let id = cid(ROTATION, &OF_NEW);
    for family in FAMILIES {
        for (kind, length) in [
            (INITIAL_1, SMALLEST),
            (ZERO_RTT_1, 60),
            (HANDSHAKE_1, 60),
            (INITIAL_2, SMALLEST),
            (ZERO_RTT_2, 60),
            (HANDSHAKE_2, 60),
            ((2, GREASE), 60),
        ] {
            let from = client(family, 7);
            let outcome = lab.send_frame(&datagram(from, long(kind, &id, length)));
            let went = (chosen(&outcome.frame), outcome.events);
            assert_eq!(went, (NEW, vec![CidRouted]), "{family:?} {kind:?}");
        }
    }
}

#[test]
fn a_clients_own_first_id_is_no_servers_and_not_counted_as_one_that_is_unknown() {
    let mut lab = Lab::new(&image(resting()));
    for family in FAMILIES {
        for kind in [INITIAL_1, INITIAL_2, (0, GREASE)] {
            let payload = long(kind, &[0x5e; 8], SMALLEST);
            let outcome = lab.send_frame(&datagram(client(family, 7), payload));
            assert_eq!((chosen(&outcome.frame), outcome.events), (OLD, vec![]));
        }
    }
}

#[test]
fn a_handshake_that_a_change_meets_stays_with_its_server() {
    let mut lab = Lab::new(&image(resting()));
    for family in FAMILIES {
        lab.set_record(resting());
        let from = client(family, 7);
        let first = long(INITIAL_1, &[0x5e; 8], SMALLEST);
        assert_eq!(chosen(&lab.send_frame(&datagram(from, first)).frame), OLD);
        lab.set_record(cut_over());
        let id = cid(ROTATION, &OF_OLD);
        for packet in [
            long(INITIAL_1, &id, SMALLEST),
            long(HANDSHAKE_1, &id, 60),
            short(&id),
        ] {
            let outcome = lab.send_frame(&datagram(from, packet));
            assert_eq!(chosen(&outcome.frame), OLD, "{family:?}");
        }
    }
}

#[test]
fn a_server_that_is_gone_is_known_no_more() {
    for family in FAMILIES {
        let mut lab = Lab::new(&image(resting()));
        let packet = datagram(client(family, 7), short(&cid(ROTATION, &OF_NEW)));
        let mut went = |change: &dyn Fn(&mut Image)| {
            lab.change(change);
            let outcome = lab.send_frame(&packet);
            (chosen(&outcome.frame), outcome.events)
        };
        assert_eq!(went(&|_| ()), (NEW, vec![CidRouted]));
        // In the order of a plan the id goes first; a packet may have read it just before.
        let backend = went(&|image| {
            image.backends.remove(&index(NEW, family == Family::V6));
        });
        assert_eq!(backend, (OLD, vec![CidUnknown]));
        assert_eq!(
            went(&|image| image.servers.clear()),
            (OLD, vec![CidUnknown])
        );
    }
}

#[test]
fn connections_of_a_server_that_leaves_are_pinned_wherever_they_come_from() {
    let mut image = image(resting());
    for server in image.servers.values_mut() {
        *server = Server::new(server.backend(), server.backend() == NEW);
    }
    let mut lab = Lab::new(&image);
    let id = cid(ROTATION, &OF_NEW);
    for (family, pins) in FAMILIES.into_iter().zip([2, 4]) {
        for from in [client(family, 7), client(family, 8)] {
            let mut sends = |id| {
                let outcome = lab.send_frame(&datagram(from, short(id)));
                (chosen(&outcome.frame), outcome.events)
            };
            assert_eq!(sends(&id), (NEW, vec![Lookup, Pinned, CidRouted]));
            assert_eq!(sends(&id), (NEW, vec![Lookup, CidRouted]));
            let stays = cid(ROTATION, &OF_OLD);
            assert_eq!(sends(&stays), (OLD, vec![CidRouted]), "the same socket");
        }
        assert_eq!(lab.pins().len(), pins);
        assert!(lab.pins().iter().all(|(_, pin)| pin.backend() == NEW));
    }
}

#[test]
fn an_id_goes_before_a_pin_and_needs_none() {
    let mut lab = Lab::new(&image(cut_over()));
    for family in FAMILIES {
        let from = client(family, 7);
        let mut sends = |payload| chosen(&lab.send_frame(&datagram(from, payload)).frame);
        assert_eq!(sends(short(&cid(7, &[]))), OLD, "pinned by its tuple");
        assert_eq!(sends(short(&cid(ROTATION, &OF_NEW))), NEW);
        assert_eq!(sends(short(&cid(7, &[]))), OLD, "and still is");
    }
}

#[test]
fn ids_have_any_length_and_several_formats_stand_side_by_side() {
    let long_id: [u8; 15] = std::array::from_fn(|at| 0xa0 | u8::try_from(at).expect("small"));
    let formats = Formats::NONE.with(0, 1).with(3, 8).with(6, 15);
    let mut image = image(resting());
    set_formats(&mut image, formats);
    let known: [(u8, &[u8]); 3] = [(0, &[9]), (3, &long_id[..8]), (6, &long_id)];
    for (rotation, id) in known {
        image
            .servers
            .insert(key(SERVICE, rotation, id), Server::new(NEW, false));
    }
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        for (rotation, id) in known {
            let mut sends = |rotation, id: &[u8]| {
                let packet = short(&cid(rotation, id));
                chosen(&lab.send_frame(&datagram(client(family, 7), packet)).frame)
            };
            assert_eq!(sends(rotation, id), NEW, "{rotation}");
            let mut other = id.to_vec();
            other[id.len() - 1] ^= 1;
            assert_eq!(sends(rotation, &other), OLD, "{rotation}");
            assert_eq!(sends((rotation + 1) % 7, id), OLD, "{rotation}");
        }
    }
}

#[test]
fn a_pool_without_backends_keeps_no_connection_from_its_server() {
    let mut image = image(resting());
    image
        .tables
        .insert(OLD_TABLE, Table::new(|_| lb_common::pool::Slot::settled(0)));
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        let mut sends = |id: [u8; 4]| {
            let payload = short(&cid(ROTATION, &id));
            lab.send_frame(&datagram(client(family, 7), payload)).reason
        };
        assert_eq!(sends(OF_NEW), Reason::Transmitted);
        assert_eq!(sends(OF_NOBODY), Reason::EmptyPool);
    }
}

#[test]
fn whoever_asks_is_told_the_same_and_that_ids_are_looked_at() {
    let mut lab = Lab::new(&image(resting()));
    for family in FAMILIES {
        for (id, server) in [(OF_NEW, NEW), (OF_NOBODY, OLD)] {
            let frame = datagram(client(family, 7), short(&cid(ROTATION, &id)));
            let trace = lab.tell(&frame.bytes());
            assert_eq!((trace.chosen, trace.has(Trace::CIDS)), (server, true));
        }
    }
    let counted = [CidRouted, CidUnknown].map(|event| lab.flow_events(event));
    assert_eq!(counted, [0, 0]);
    let mut lab = Lab::new(&quic::image(resting()));
    let frame = datagram(client(Family::V4, 7), short(&cid(ROTATION, &OF_NEW)));
    assert!(!lab.tell(&frame.bytes()).has(Trace::CIDS));
}

/// Both pools and this record, with a service whose connection ids tell their server; and another one
/// that has ids too.
fn image(record: Record) -> Image {
    let mut image = quic::image(record);
    set_formats(&mut image, Formats::NONE.with(ROTATION.into(), 4));
    for (service, id, backend) in [
        (SERVICE, &OF_OLD, OLD),
        (SERVICE, &OF_NEW, NEW),
        (SERVICE + 1, b"else", NEW),
    ] {
        let server = Server::new(backend, false);
        image.servers.insert(key(service, ROTATION, id), server);
    }
    image
}

fn set_formats(image: &mut Image, formats: Formats) {
    for family in FAMILIES {
        let listener = image.listeners.get_mut(&endpoint(vip(family), UDP));
        let listener = listener.expect("it listens for UDP");
        *listener = Listener::new(SERVICE, listener.id(), vip(family).port())
            .with(Listener::QUIC)
            .routed(formats);
    }
}

fn key(service: u32, rotation: u8, id: &[u8]) -> ServerKey {
    let mut octets = [0; 16];
    octets[..id.len()].copy_from_slice(id);
    let length = u32::try_from(id.len()).expect("short");
    let words = [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|n| octets[at + n])));
    ServerKey::new(service, (rotation.into(), length), words)
}

/// A connection id of this format: its first octet tells its length as well, as servers may have it.
pub fn cid(rotation: u8, id: &[u8]) -> Vec<u8> {
    let nonce = [0xd1, 0xce, 0xd1, 0xce];
    let length = u8::try_from(id.len() + nonce.len()).expect("short");
    [&[rotation << 5 | length], id, &nonce].concat()
}

/// A packet with a short header, of the least length that one may have.
pub fn short(id: &[u8]) -> Vec<u8> {
    [&[0x4a], id, &[0x77; 20]].concat()
}

/// A packet with a long header to this connection id.
pub fn long(kind: (u8, u32), id: &[u8], length: usize) -> Vec<u8> {
    let mut packet = quic::long(kind, length);
    packet[5] = u8::try_from(id.len()).expect("short");
    packet[6..6 + id.len()].copy_from_slice(id);
    packet
}
