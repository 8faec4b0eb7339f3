//! Whose packet this is: a client's to a listener, or a backend's to a client.

use lb_common::{
    address::Address,
    listener::{Endpoint, Listener, Remembered, Reply},
    node::Node,
    reason::Reason,
};

use crate::{
    maps::{LISTENERS, REMEMBERED, REPLIES},
    mode::Mode,
    parse::{Network, Parsed},
};

/// The two directions.
#[derive(Clone, Copy)]
pub enum Side {
    /// From a client to this listener.
    Client(&'static Listener),
    /// From a backend, on behalf of a listener.
    Backend(&'static Reply),
}

/// Looks the packet's endpoints up; neither ours means that it is none of our business.
#[inline(always)]
pub fn side<M: Mode>(node: &Node, parsed: &Parsed) -> Result<Side, Reason> {
    // Two places that a listener may come from are two walks to verify.
    if M::TELLS || M::SERVES {
        return looked_up(parsed);
    }
    if let Some(listener) = remembered(node, to(parsed)) {
        return Ok(Side::Client(listener));
    }
    match backend(parsed.v6, &from(parsed)) {
        Some(side) => Ok(side),
        None => Err(stranger(parsed)),
    }
}

/// As [`side`], past what is remembered.
#[inline(always)]
pub fn looked_up(parsed: &Parsed) -> Result<Side, Reason> {
    match of(parsed.v6, &to(parsed), || from(parsed)) {
        Some(side) => Ok(side),
        None => Err(stranger(parsed)),
    }
}

#[inline(always)]
const fn to(parsed: &Parsed) -> Endpoint {
    Endpoint::new(parsed.destination, parsed.destination_port, parsed.protocol)
}

#[inline(always)]
const fn from(parsed: &Parsed) -> Endpoint {
    Endpoint::new(parsed.source, parsed.source_port, parsed.protocol)
}

/// The listener of an endpoint, out of what this CPU remembers: the kernel's hash map would take a
/// third of a packet's whole time. Each change of the listeners makes all that is remembered void.
#[inline(always)]
fn remembered(node: &Node, to: Endpoint) -> Option<&'static Listener> {
    // Before the look-up: a listener that changes in between is then looked up again.
    let generation = node.listeners();
    let place = REMEMBERED.get_ptr_mut(to.place())?;
    // SAFETY: the element is this CPU's own, and programs on one CPU don't interrupt each other.
    let place = unsafe { &mut *place };
    if !place.is(&to, generation) {
        // A copy, so that only here the key is written to the stack.
        let key = to;
        *place = Remembered::new(key, *listener(&key)?, generation);
    }
    Some(place.listener())
}

/// Refuses a client that claims to be a listener: their servers would answer each other for ever.
#[inline(always)]
pub fn check_source(node: &Node, parsed: &Parsed) -> Result<(), Reason> {
    if node.may_listen(parsed.source_port) && listener(&from(parsed)).is_some() {
        return Err(Reason::MartianSource);
    }
    Ok(())
}

/// The side that a packet to `to` and from `from` is on; most are a client's, whose `from` is not
/// looked up, and so not written to the stack either.
#[inline(always)]
pub fn of(v6: bool, to: &Endpoint, from: impl FnOnce() -> Endpoint) -> Option<Side> {
    match listener(to) {
        Some(listener) => Some(Side::Client(listener)),
        None => backend(v6, &from()),
    }
}

#[inline(always)]
fn listener(to: &Endpoint) -> Option<&'static Listener> {
    // SAFETY: this program never writes the map. The daemon may, and the kernel gives the place of an
    // entry that it replaces to the next one that it does: a packet whose CPU is held up for so long
    // may go by that one.
    unsafe { LISTENERS.get(to) }
}

/// No IPv6 host has an address in which one of IPv4 is embedded; a packet from such a one would be taken
/// for an IPv4 backend's.
#[inline(always)]
fn backend(v6: bool, from: &Endpoint) -> Option<Side> {
    if v6 && from.address().is_embedded() {
        return None;
    }
    // SAFETY: as in `listener`.
    unsafe { REPLIES.get(from) }.map(Side::Backend)
}

/// Why a packet is neither's: it may still claim to come from a VIP.
#[inline(always)]
fn stranger(parsed: &Parsed) -> Reason {
    match vip(parsed.source, parsed.protocol) {
        Some(_) => Reason::FromVip,
        None => Reason::NotListening,
    }
}

/// What listens at an address, whichever the port.
#[inline(always)]
pub fn vip(address: Address, protocol: u8) -> Option<&'static Listener> {
    let key = Endpoint::portless(address, protocol);
    listener(&key)
}

/// Whose packet a piece that tells no ports is; `None` where it is neither's.
#[inline(always)]
pub fn portless_side(network: &Network) -> Option<Side> {
    if let Some(listener) = vip(network.destination, network.protocol) {
        return Some(Side::Client(listener));
    }
    let from = Endpoint::portless(network.source, network.protocol);
    backend(network.v6, &from)
}
