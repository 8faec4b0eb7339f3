//! Whose packet this is: a client's to a listener, or a backend's to a client.

use lb_common::{
    listener::{Endpoint, Listener, Reply},
    reason::Reason,
};

use crate::{
    maps::{LISTENERS, REPLIES},
    parse::Parsed,
};

/// The two directions.
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
    // SAFETY: this program never writes the map; the daemon may, and then the entry keeps either
    // its old or its new bytes for the few hundred nanoseconds that a packet takes.
    if let Some(listener) = unsafe { LISTENERS.get(to) } {
        return Ok(Side::Client(listener));
    }
    let from = Endpoint::new(parsed.source, parsed.source_port, parsed.protocol);
    // SAFETY: as above.
    match unsafe { REPLIES.get(from) } {
        Some(reply) => Ok(Side::Backend(reply)),
        None => Err(Reason::NotListening),
    }
}
