//! A flood of SYNs in the middle of a cutover: it turns over the half-open connections, and nothing else.

use std::net::SocketAddr;

use lb_common::{flow::FlowKey, maps::half_open, reason::FlowEvent};

use crate::{
    frame::Frame,
    lab::Lab,
    world::{Family, NEW, OLD, chosen, client, cut_over, vip, with_record},
};

/// Room in the flow table, and so for this by eight half-open connections.
const ROOM: u32 = 65_536;
/// Live connections on either side of the cutover.
const LIVE: u16 = 2_000;
/// SYNs for each half-open connection that there is room for.
const TIMES: u32 = 10;

#[test]
fn a_syn_flood_of_ten_times_the_room_for_half_open_connections_evicts_no_live_one() {
    let mut lab = Lab::sized(&with_record(cut_over()), ROOM);
    // Those from before the cutover, pinned to the origin, and those that began after it.
    for number in 0..LIVE {
        assert_eq!(sends(&mut lab, &ack(old(number))), OLD);
        assert_eq!(sends(&mut lab, &syn(new(number))), NEW);
        assert_eq!(sends(&mut lab, &ack(new(number))), NEW);
    }
    let pinned = lab.flow_events(FlowEvent::Pinned);
    assert_eq!(pinned, 2 * u64::from(LIVE));

    for number in 0..TIMES * half_open(ROOM) {
        assert_eq!(sends(&mut lab, &syn(flooder(number))), NEW);
    }

    let kept: Vec<(FlowKey, _)> = lab.pins();
    let live = kept.iter().filter(|(_, pin)| !pin.is_half_open()).count();
    assert_eq!(live, 2 * usize::from(LIVE), "live pins");
    let half_open_pins = kept.len() - live;
    assert!(half_open_pins <= half_open(ROOM) as usize);
    assert_eq!(lab.flow_events(FlowEvent::Pinned), pinned, "by the flood");
    for number in 0..LIVE {
        assert_eq!(sends(&mut lab, &ack(old(number))), OLD, "{number}");
        assert_eq!(sends(&mut lab, &ack(new(number))), NEW, "{number}");
    }
    assert_eq!(lab.flow_events(FlowEvent::Pinned), pinned, "pinned anew");
}

#[test]
fn a_handshake_during_the_flood_ends_where_it_began_and_is_safe_from_then_on() {
    let mut lab = Lab::sized(&with_record(cut_over()), ROOM);
    let most = half_open(ROOM) / 2;
    for round in 0..20 {
        let from = new(round);
        assert_eq!(sends(&mut lab, &syn(from)), NEW);
        for number in 0..most {
            sends(&mut lab, &syn(flooder(u32::from(round) * most + number)));
        }
        assert_eq!(sends(&mut lab, &ack(from)), NEW, "round {round}");
    }
    for round in 0..20 {
        assert_eq!(sends(&mut lab, &ack(new(round))), NEW, "round {round}");
    }
}

fn sends(lab: &mut Lab, frame: &[u8]) -> u16 {
    chosen(&lab.pass_through(frame).1)
}

fn syn(from: SocketAddr) -> Vec<u8> {
    Frame::syn(from, vip(Family::V4)).bytes()
}

fn ack(from: SocketAddr) -> Vec<u8> {
    Frame::ack(from, vip(Family::V4)).bytes()
}

fn old(number: u16) -> SocketAddr {
    client(Family::V4, number)
}

fn new(number: u16) -> SocketAddr {
    client(Family::V4, LIVE + number)
}

fn flooder(number: u32) -> SocketAddr {
    let [a, b, c, d] = number.to_be_bytes();
    SocketAddr::from(([198, 18, b, c], 1024 + u16::from_be_bytes([a, d])))
}
