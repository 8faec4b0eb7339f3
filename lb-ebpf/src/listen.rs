//! Whose packet this is: a client's to a listener, or a backend's to a client.

use lb_common::{
    address::Address,
    listener::{Endpoint, Listener, Reply},
    reason::Reason,
};

use crate::{
    maps::{LISTENERS, REPLIES},
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
pub fn side(parsed: &Parsed) -> Result<Side, Reason> {
    let to = Endpoint::new(parsed.destination, parsed.destination_port, parsed.protocol);
    let from = || Endpoint::new(parsed.source, parsed.source_port, parsed.protocol);
    match of(&to, from) {
        Some(side) => Ok(side),
        None => Err(stranger(parsed)),
    }
}

/// The side that a packet to `to` and from `from` is on; most are a client's, whose `from` is not
/// looked up, and so not written to the stack either.
#[inline(always)]
pub fn of(to: &Endpoint, from: impl FnOnce() -> Endpoint) -> Option<Side> {
    // SAFETY: this program never writes the map; the daemon may, and then the entry keeps either
    // its old or its new bytes for the few hundred nanoseconds that a packet takes.
    if let Some(listener) = unsafe { LISTENERS.get(to) } {
        return Some(Side::Client(listener));
    }
    // SAFETY: as above.
    unsafe { REPLIES.get(from()) }.map(Side::Backend)
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
    // SAFETY: as in `of`.
    unsafe { LISTENERS.get(key) }
}

/// Whose packet a piece that tells no ports is; `None` where it is neither's.
#[inline(always)]
pub fn portless_side(network: &Network) -> Option<Side> {
    if let Some(listener) = vip(network.destination, network.protocol) {
        return Some(Side::Client(listener));
    }
    let from = Endpoint::portless(network.source, network.protocol);
    // SAFETY: as in `of`.
    let reply = unsafe { REPLIES.get(from) }?;
    Some(Side::Backend(reply))
}
