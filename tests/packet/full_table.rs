//! A flow table that is full: it evicts, and who is evicted is taken for one of the last settled state.

use std::{collections::HashSet, net::SocketAddr};

use lb_common::{flow::FlowKey, reason::FlowEvent};

use crate::{
    frame::Frame,
    lab::Lab,
    world::{Family, NEW, OLD, chosen, client, cut_over, vip, with_record},
};

const ROOM: u32 = 1024;
const CONNECTIONS: u16 = 20_000;

#[test]
fn a_full_flow_table_still_forwards_and_forgets_the_oldest() {
    let mut lab = Lab::sized(&with_record(cut_over()), ROOM);
    for number in 0..CONNECTIONS {
        establish(&mut lab, client(Family::V4, number));
    }
    let events = [FlowEvent::HalfOpened, FlowEvent::Pinned, FlowEvent::Refused];
    let pinned: u64 = events.map(|event| lab.flow_events(event)).iter().sum();
    assert_eq!(
        pinned,
        2 * u64::from(CONNECTIONS),
        "every pin was tried and counted"
    );
    let kept: HashSet<FlowKey> = lab.pins().into_iter().map(|(key, _)| key).collect();
    assert!(
        (1..=ROOM as usize).contains(&kept.len()),
        "{} pins",
        kept.len()
    );
    let newest = key(client(Family::V4, CONNECTIONS - 1));
    assert!(kept.contains(&newest), "the last one is among the pins");
}

#[test]
fn a_connection_that_was_evicted_goes_by_the_rule_for_unknown_ones() {
    let mut lab = Lab::sized(&with_record(cut_over()), ROOM);
    for number in 0..CONNECTIONS {
        establish(&mut lab, client(Family::V4, number));
    }
    for number in (0..CONNECTIONS).step_by(97) {
        let from = client(Family::V4, number);
        let known = lab.pins().iter().any(|(found, _)| *found == key(from));
        let (_, out) = lab.pass_through(&Frame::ack(from, vip(Family::V4)).bytes());
        assert_eq!(
            chosen(&out),
            if known { NEW } else { OLD },
            "client {number}"
        );
    }
}

/// A handshake, which ends at the new backend.
fn establish(lab: &mut Lab, from: SocketAddr) {
    for frame in [Frame::syn, Frame::ack] {
        let frame = frame(from, vip(Family::V4)).bytes();
        assert_eq!(chosen(&lab.pass_through(&frame).1), NEW);
    }
}

/// The listener for IPv4 and TCP has the first number.
fn key(from: SocketAddr) -> FlowKey {
    FlowKey::new(from.ip().into(), from.port().to_be_bytes(), 1)
}
