//! QUIC listeners: what starts a connection is known by its long header, and what goes on stays.

use std::net::SocketAddr;

use lb_common::{
    flow::FRESH_TICKS,
    listener::Listener,
    protocol::UDP,
    reason::{FlowEvent, Reason},
    release::Record,
};
use lb_userspace::dataplane::{Image, kernel::now};

use crate::{
    frame::Frame,
    lab::Lab,
    outcome::Verdict,
    world::{
        FAMILIES, Family, NEW, OLD, chosen, client, cut_over, endpoint, resting, vip, with_record,
    },
};

pub const VERSION_1: u32 = 1;
pub const VERSION_2: u32 = 0x6b33_43cf;
/// One that makes servers answer by their list (RFC 9000, section 15).
pub const GREASE: u32 = 0x1a2a_3a4a;
/// The smallest datagram that may hold an Initial.
pub const SMALLEST: usize = 1200;

/// Types of long headers, by the version that numbers them.
pub const INITIAL_1: (u8, u32) = (0, VERSION_1);
pub const ZERO_RTT_1: (u8, u32) = (1, VERSION_1);
pub const HANDSHAKE_1: (u8, u32) = (2, VERSION_1);
const RETRY_1: (u8, u32) = (3, VERSION_1);
pub const INITIAL_2: (u8, u32) = (1, VERSION_2);
pub const ZERO_RTT_2: (u8, u32) = (2, VERSION_2);
pub const HANDSHAKE_2: (u8, u32) = (3, VERSION_2);
const RETRY_2: (u8, u32) = (0, VERSION_2);

#[test]
fn a_packet_that_starts_a_connection_takes_the_new_answer_and_others_the_origins() {
    let mut lab = Lab::new(&image(cut_over()));
    let table = [
        (INITIAL_1, NEW),
        (ZERO_RTT_1, NEW),
        (HANDSHAKE_1, OLD),
        (RETRY_1, OLD),
        (INITIAL_2, NEW),
        (ZERO_RTT_2, NEW),
        (HANDSHAKE_2, OLD),
        (RETRY_2, OLD),
        ((0, GREASE), NEW),
        ((3, GREASE), NEW),
    ];
    for family in FAMILIES {
        for (number, (kind, expected)) in (0..).zip(table) {
            let backend = sends(&mut lab, client(family, number), long(kind, SMALLEST));
            assert_eq!(backend, expected, "{family:?} {kind:?}");
        }
        let at = |number: u16| client(family, 100 + number);
        assert_eq!(sends(&mut lab, at(0), short()), OLD);
        assert_eq!(sends(&mut lab, at(1), vec![]), OLD, "no QUIC at all");
        assert_eq!(sends(&mut lab, at(2), vec![0xc0, 0, 0]), OLD, "cut short");
    }
}

#[test]
fn a_handshake_stays_where_its_first_packet_went_whatever_is_stored_meanwhile() {
    let mut lab = Lab::new(&image(cut_over()));
    let back = Record {
        active: resting().active,
        ..cut_over()
    };
    for family in FAMILIES {
        lab.set_record(cut_over());
        let from = client(family, 7);
        assert_eq!(sends(&mut lab, from, long(INITIAL_1, SMALLEST)), NEW);
        lab.set_record(back);
        for packet in [
            long(INITIAL_1, SMALLEST),
            long(HANDSHAKE_1, 60),
            short(),
            long(INITIAL_1, SMALLEST),
            short(),
        ] {
            assert_eq!(sends(&mut lab, from, packet), NEW);
        }
        let other = client(family, 8);
        assert_eq!(sends(&mut lab, other, long(INITIAL_1, SMALLEST)), OLD);
    }
}

#[test]
fn a_connection_from_before_the_change_stays_even_if_it_repeats_an_initial() {
    use FlowEvent::{Lookup, Pinned};
    let mut lab = Lab::new(&image(cut_over()));
    for family in FAMILIES {
        let from = client(family, 7);
        let outcome = lab.send_frame(&datagram(from, short()));
        assert_eq!(outcome.events, [Lookup, Pinned]);
        for packet in [short(), long(INITIAL_1, SMALLEST), short()] {
            assert_eq!(sends(&mut lab, from, packet), OLD);
        }
    }
}

#[test]
fn initials_alone_never_enter_the_table_of_live_connections() {
    use FlowEvent::{Completed, HalfOpened, Lookup, Pinned};
    let mut lab = Lab::new(&image(cut_over()));
    for family in FAMILIES {
        let from = client(family, 7);
        let events = |lab: &mut Lab, packet| lab.send_frame(&datagram(from, packet)).events;
        let initial = || long(INITIAL_1, SMALLEST);
        assert_eq!(events(&mut lab, initial()), [Lookup, HalfOpened]);
        assert_eq!(events(&mut lab, initial()), [Lookup]);
        let moved = [Lookup, Pinned, Completed];
        assert_eq!(events(&mut lab, long(HANDSHAKE_1, 60)), moved);
        assert_eq!(events(&mut lab, short()), [Lookup]);
    }
}

#[test]
fn an_initial_that_every_server_must_discard_is_dropped_by_name() {
    for record in [resting(), cut_over()] {
        let mut lab = Lab::new(&image(record));
        for family in FAMILIES {
            for kind in [INITIAL_1, INITIAL_2] {
                let outcome = lab.send_frame(&datagram(client(family, 7), long(kind, 1199)));
                let told = (outcome.verdict, outcome.reason);
                assert_eq!(told, (Verdict::Drop, Reason::QuicSmallInitial));
            }
        }
        assert!(lab.pins().is_empty());
    }
}

#[test]
fn a_list_of_versions_from_a_client_is_dropped_by_name() {
    let mut lab = Lab::new(&image(resting()));
    for family in FAMILIES {
        let outcome = lab.send_frame(&datagram(client(family, 7), long((0, 0), SMALLEST)));
        let told = (outcome.verdict, outcome.reason);
        assert_eq!(told, (Verdict::Drop, Reason::QuicNegotiation));
    }
}

#[test]
fn an_initial_on_a_port_that_has_long_been_silent_is_of_a_new_connection() {
    // A pin as old as that can't be waited for, so it is written.
    let mut lab = Lab::new(&image(cut_over()));
    let from = client(Family::V4, 7);
    assert_eq!(sends(&mut lab, from, short()), OLD);
    let (key, pin) = lab.pins()[0];
    assert!(pin.idle_ticks(now()) <= FRESH_TICKS);
    for (age, expected) in [(FRESH_TICKS - 2, OLD), (FRESH_TICKS + 2, NEW)] {
        let seen = now().saturating_sub(age);
        let old = lb_common::flow::Pin::new(OLD, 1, seen);
        lab.kernel()
            .put_pin(&key, old)
            .expect("pins may be written");
        let packet = long(INITIAL_1, SMALLEST);
        assert_eq!(sends(&mut lab, from, packet), expected, "{age} ticks old");
        assert_eq!(sends(&mut lab, from, short()), expected, "{age} ticks old");
    }
}

#[test]
fn at_rest_no_datagram_is_looked_up() {
    let mut lab = Lab::new(&image(resting()));
    for family in FAMILIES {
        for packet in [long(INITIAL_1, SMALLEST), short()] {
            let outcome = lab.send_frame(&datagram(client(family, 7), packet));
            assert_eq!((chosen(&outcome.frame), outcome.events), (OLD, vec![]));
        }
    }
}

pub fn image(record: Record) -> Image {
    let mut image = with_record(record);
    for family in FAMILIES {
        let listener = image.listeners.get_mut(&endpoint(vip(family), UDP));
        let listener = listener.expect("it listens for UDP");
        *listener = listener.with(Listener::QUIC);
    }
    image
}

fn sends(lab: &mut Lab, from: SocketAddr, payload: Vec<u8>) -> u16 {
    let outcome = lab.send_frame(&datagram(from, payload));
    assert_eq!(outcome.reason, Reason::Transmitted);
    chosen(&outcome.frame)
}

pub fn datagram(from: SocketAddr, payload: Vec<u8>) -> Frame {
    let family = if from.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    Frame {
        payload,
        ..Frame::udp(from, vip(family))
    }
}

/// A packet with a long header of this type and version (RFC 9000, section 17.2).
pub fn long((kind, version): (u8, u32), length: usize) -> Vec<u8> {
    let mut packet = vec![0x5e; length];
    packet[0] = 0xc0 | kind << 4;
    packet[1..5].copy_from_slice(&version.to_be_bytes());
    packet[5] = 8;
    packet
}

/// A packet with a short header.
pub fn short() -> Vec<u8> {
    vec![0x4a; 40]
}
