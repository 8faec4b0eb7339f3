//! The flow step: a connection that a change touches stays where it is.

mod change;
mod pin;
mod settled;
mod slots;

use std::net::SocketAddr;

use lb_common::{
    backend::{Backend, NONE, index},
    flow::{FlowKey, Pin},
    pool::Slot,
    reason::{FlowEvent, Reason},
    release::Record,
};
use lb_userspace::dataplane::{Dataplane as _, Table};

use crate::{
    frame::{Frame, flag},
    lab::Lab,
    world::{
        FAMILIES, Family, INGRESS, NEW, NEW_TABLE, OLD, OLD_TABLE, SERVICE, changes, chosen,
        client, client_in, macs, ramping, resting, reweigh, server, slot_of, vip, with_record,
    },
};

/// One client in ten is sent to the new pool.
pub const SHARE: u32 = 100_000;

/// Sends a segment of a connection, and tells where it goes and what the flow table saw.
pub fn goes(lab: &mut Lab, from: SocketAddr, flags: u8) -> (u16, Vec<FlowEvent>) {
    let to = vip(if from.is_ipv6() {
        Family::V6
    } else {
        Family::V4
    });
    let outcome = lab.send_frame(&Frame::tcp(from, to, flags));
    assert_eq!(outcome.reason, Reason::Transmitted);
    (chosen(&outcome.frame), outcome.events)
}

pub fn syn(lab: &mut Lab, from: SocketAddr) -> u16 {
    goes(lab, from, flag::SYN).0
}

pub fn ack(lab: &mut Lab, from: SocketAddr) -> u16 {
    goes(lab, from, flag::ACK).0
}
