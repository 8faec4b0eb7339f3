//! Pins: who stays where, and until when.

use std::time::{Duration, Instant};

use super::{Flow, Model, Role};
use crate::model::audience::Audience;

/// A connection stays on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each comes and goes without the others"
)]
pub struct Pin {
    pub backend: u16,
    pub generation: u16,
    pub seen: u32,
    pub closing: bool,
    /// Nothing but the connection's first packet was seen.
    pub half_open: bool,
    /// It shows that a server which leaves is needed by the connection that its id tells.
    pub by_id: bool,
    /// It was made for an order that waits, which may not concern this session.
    pub unsure: bool,
    /// When its last packet came by the machine's clock, which the program goes by.
    met: Instant,
}

/// A pin whose client has closed stays for so many ticks.
const CLOSING_TICKS: u32 = 56;
/// A pin of a connection of which only the first packet was seen stays for so many.
const HALF_OPEN_TICKS: u32 = 60;
/// A pin is surely one of a handshake that goes on if its last packet came within this time; the
/// program draws the line at 32 s.
const FRESH: Duration = Duration::from_secs(25);

impl Pin {
    /// A pin to a backend of this generation.
    pub fn new(backend: u16, generation: u16, seen: u32, half_open: bool) -> Self {
        Self {
            backend,
            generation,
            seen,
            closing: false,
            half_open,
            by_id: false,
            unsure: false,
            met: Instant::now(),
        }
    }

    /// Another packet of its connection has come.
    pub fn meet(&mut self, role: Role, tick: u32) {
        (self.seen, self.met) = (tick, Instant::now());
        self.closing |= role.closes();
        self.half_open &= role.closes() || role == Role::Initial;
    }

    /// Whether the program may take it for one of an earlier connection than the packet's.
    pub fn is_stale(&self, role: Role) -> bool {
        role == Role::Initial && self.met.elapsed() > FRESH
    }
}

impl Model {
    /// Why a pin is over: it is void, or its connection has ended or is forgotten.
    pub fn over(&self, flow: &Flow, pin: &Pin, tick: u32) -> Option<&'static str> {
        let manner = &self.services[flow.service].manner;
        let idle = tick - pin.seen;
        let session = manner.sessions && flow.is_udp();
        let cases = [
            (
                self.backends.get(&pin.backend) != Some(&pin.generation),
                "void",
            ),
            (idle > manner.drain, "forgotten"),
            (session && idle > manner.idle, "silent"),
            (
                pin.closing && idle > CLOSING_TICKS.min(manner.drain),
                "closed",
            ),
            (
                pin.half_open && !pin.closing && idle > HALF_OPEN_TICKS.min(manner.drain),
                "unfinished",
            ),
        ];
        let mut over = cases.into_iter().filter(|(is_so, _)| *is_so);
        over.next().map(|(_, why)| why)
    }

    /// Whether a pin says what would happen anyhow to all later packets of its connection.
    pub fn is_redundant(&self, flow: &Flow, pin: &Pin) -> bool {
        let service = &self.services[flow.service];
        let mut audiences = service.now.audiences.iter();
        // Each datagram decides anew.
        let decides = flow.is_udp() && audiences.any(Audience::asks_the_first);
        !decides && service.is_settled() && self.answer(flow, None).current == pin.backend
    }

    /// Whether a sweep must have taken a redundant pin away: its key tells no VLAN.
    pub fn is_telling(&self, flow: &Flow) -> bool {
        let service = &self.services[flow.service];
        let mut audiences = service.now.audiences.iter();
        !service.arming && !audiences.any(|audience| audience.vlan.is_some())
    }
}
