//! Conditions that only a connection's first packet meets: it decides, and pins.

use lb_common::{
    audience::{Range, condition},
    listener::Listener,
    protocol::UDP,
    reason::FlowEvent,
};

use super::*;
use crate::{
    frame::{Transport, flag},
    world::{FAMILIES, client, endpoint, vip},
};

/// Clients of small segments, by the SYN.
fn image_by_mss() -> Image {
    let rule = Rule {
        conditions: condition::MSS,
        mss: Range { low: 1, high: 1400 },
        ..staff(1)
    };
    image(&[(rule, nets(&["10.77.0.0/24", "fd77::/56"]))])
}

fn syn(from: SocketAddr, mss: u16) -> Frame {
    let [high, low] = mss.to_be_bytes();
    let to = SocketAddr::new(vip_of(from), 80);
    Frame {
        transport: Transport::Tcp(flag::SYN, vec![2, 4, high, low]),
        ..Frame::syn(from, to)
    }
}

fn vip_of(from: SocketAddr) -> std::net::IpAddr {
    let family = FAMILIES[usize::from(from.is_ipv6())];
    vip(family).ip()
}

fn ack(from: SocketAddr) -> Frame {
    Frame::ack(from, SocketAddr::new(vip_of(from), 80))
}

#[test]
fn later_packets_follow_the_first_one() {
    for family in FAMILIES {
        let mut lab = Lab::new(&image_by_mss());
        let (small, large) = (client(family, 1), client(family, 2));
        assert!(is_new(&mut lab, &syn(small, 1200)));
        assert!(!is_new(&mut lab, &syn(large, 1460)));
        for _ in 0..3 {
            assert!(is_new(&mut lab, &ack(small)));
            assert!(!is_new(&mut lab, &ack(large)));
        }
        assert_eq!(
            lab.pins().len(),
            1,
            "only the one that later packets don't tell"
        );
    }
}

#[test]
fn a_new_connection_of_the_same_port_is_not_held_by_the_old_pin() {
    for family in FAMILIES {
        let mut lab = Lab::new(&image_by_mss());
        let from = client(family, 1);
        assert!(is_new(&mut lab, &syn(from, 1200)));
        assert!(!is_new(&mut lab, &syn(from, 1460)));
        assert!(!is_new(&mut lab, &ack(from)));
        assert_eq!(lab.pins(), []);
    }
}

#[test]
fn clients_that_can_not_be_in_the_audience_are_never_looked_up() {
    for family in FAMILIES {
        let mut lab = Lab::new(&image_by_mss());
        let outside = client(family, 0x8000);
        assert!(!is_new(&mut lab, &syn(outside, 1200)));
        assert!(!is_new(&mut lab, &ack(outside)));
        assert_eq!(lab.flow_events(FlowEvent::Lookup), 0);
    }
}

#[test]
fn conditions_that_every_packet_meets_pin_nothing() {
    let mut lab = Lab::new(&image(&[(staff(1), nets(&["10.77.0.0/16", "fd77::/16"]))]));
    for family in FAMILIES {
        let from = client(family, 1);
        assert!(is_new(&mut lab, &syn(from, 1460)) && is_new(&mut lab, &ack(from)));
    }
    assert_eq!(lab.flow_events(FlowEvent::Lookup), 0);
}

#[test]
fn the_hop_limit_of_a_later_packet_moves_nobody() {
    let rule = Rule {
        conditions: condition::TTL,
        ttl: Range { low: 64, high: 64 },
        ..staff(1)
    };
    let mut lab = Lab::new(&image(&[(rule, Vec::new())]));
    for family in FAMILIES {
        let (near, far) = (client(family, 1), client(family, 2));
        let at = |frame: Frame, hops| Frame { hops, ..frame };
        assert!(is_new(&mut lab, &at(syn(near, 1460), 64)));
        assert!(!is_new(&mut lab, &at(syn(far, 1460), 63)));
        assert!(is_new(&mut lab, &at(ack(near), 50)));
        assert!(!is_new(&mut lab, &at(ack(far), 64)));
    }
}

/// A service that cuts what a change moves cuts nobody for having been told by the first packet.
#[test]
fn a_connection_that_its_first_packet_decided_is_not_cut() {
    for flag in [Record::CUT, Record::OVERDUE] {
        let mut image = image_by_mss();
        image
            .records
            .entry(SERVICE)
            .and_modify(|record| record.flags |= flag);
        let mut lab = Lab::new(&image);
        for family in FAMILIES {
            let from = client(family, 1);
            assert!(is_new(&mut lab, &syn(from, 1200)));
            assert!(is_new(&mut lab, &ack(from)), "{family:?}");
            assert!(is_new(&mut lab, &ack(from)), "{family:?}");
        }
    }
}

#[test]
fn a_later_packet_of_quic_does_not_decide() {
    let rule = Rule {
        conditions: condition::TTL,
        ttl: Range { low: 64, high: 64 },
        ..staff(1)
    };
    let mut image = image(&[(rule, Vec::new())]);
    for family in FAMILIES {
        let listener = image.listeners.get_mut(&endpoint(vip(family), UDP));
        let listener = listener.expect("it listens for UDP");
        *listener = listener.with(Listener::QUIC);
    }
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        let later = Frame {
            hops: 64,
            payload: vec![0x4a; 40],
            ..Frame::udp(client(family, 1), vip(family))
        };
        assert!(!is_new(&mut lab, &later), "{family:?}");
        assert_eq!(lab.pins(), []);
    }
}
