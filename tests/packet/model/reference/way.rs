//! The ways that a packet may go, given where new connections go and where those belong of which nothing
//! is known.

use super::{Flow, Met, Model, Pin, Role};

/// Old and new answer for a packet.
pub struct Answer {
    pub current: u16,
    pub origin: u16,
    /// Number of the audience that decides, if one does.
    pub audience: Option<usize>,
    pub moving: bool,
    /// See [`super::mapping::Judged`].
    pub opened: bool,
}

/// Where a packet is sent, and what is kept in mind of its connection.
#[derive(Clone, Copy)]
pub struct Way {
    pub to: u16,
    pub then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The pin that it has.
    Stays,
    /// It stays there from now on.
    Pinned,
    /// It stays there for the time of its handshake.
    HalfOpen,
    /// An order that waits may have it stay there, if it is about this session.
    MayBePinned,
    /// Nothing.
    Free,
    /// Nothing, and it goes nowhere.
    Cut,
}

impl Model {
    pub(super) fn way(&mut self, met: &Met<'_>, answer: &Answer, tick: u32) -> Way {
        let sessions = self.services[met.flow.service].manner.sessions;
        if met.role == Role::Opens {
            answer.start()
        } else if met.role == Role::Datagram && !sessions {
            Way::free(answer.current)
        } else if met.flow.is_udp() {
            self.udp(met, answer, tick)
        } else {
            self.tcp(met, answer, tick)
        }
    }

    /// A segment of a connection that has begun.
    fn tcp(&mut self, met: &Met<'_>, answer: &Answer, tick: u32) -> Way {
        let cuts = self.services[met.flow.service].cuts();
        let is_cut = |backend| cuts && answer.is_left(backend);
        let way = match self.pinned(&met.flow, met.role, tick) {
            Some(to) => Way::stays(to),
            // A connection that is over needs no pin.
            None if met.role.closes() => Way::free(answer.origin),
            None => answer.resume(),
        };
        if is_cut(way.to) && met.role != Role::Resets {
            let then = Then::Cut;
            return Way { then, ..way };
        }
        way
    }

    /// A packet of QUIC, or a session's: no reset can be made for these, so that who is cut goes where
    /// new ones go.
    fn udp(&mut self, met: &Met<'_>, answer: &Answer, tick: u32) -> Way {
        let service = &self.services[met.flow.service];
        let (arming, cuts) = (service.arming, service.cuts());
        let way = match self.pinned(&met.flow, met.role, tick) {
            Some(to) => Way::stays(to),
            None if met.role == Role::GoesOn => answer.resume(),
            None if met.role == Role::Datagram && arming => answer.arm(),
            None => answer.start(),
        };
        if cuts && answer.is_left(way.to) {
            return Way::free(answer.current);
        }
        way
    }

    pub(super) fn keep(&mut self, flow: &Flow, way: Way, tick: u32) {
        match way.then {
            Then::Stays => {}
            Then::Free | Then::Cut => drop(self.pins.remove(flow)),
            Then::Pinned | Then::HalfOpen | Then::MayBePinned => {
                self.pins.remove(flow);
                // A backend that is not there can't be pinned to.
                if let Some(&generation) = self.backends.get(&way.to) {
                    let half_open = way.then == Then::HalfOpen;
                    let mut pin = Pin::new(way.to, generation, tick, half_open);
                    pin.unsure = way.then == Then::MayBePinned;
                    self.pins.insert(*flow, pin);
                }
            }
        }
    }
}

impl Answer {
    /// Whether the connection's first packet may have told where new ones go.
    pub const fn is_untold(&self) -> bool {
        self.opened
    }

    /// Whether a backend is not where new connections go, as far as that is known.
    const fn is_left(&self, backend: u16) -> bool {
        backend != self.current && !self.opened
    }

    /// The way of a connection that starts.
    const fn start(&self) -> Way {
        let then = if self.moving {
            Then::HalfOpen
        } else {
            Then::Free
        };
        Way {
            to: self.current,
            then,
        }
    }

    /// The way of a connection of unknown past.
    const fn resume(&self) -> Way {
        let then = if self.moving {
            Then::Pinned
        } else {
            Then::Free
        };
        Way {
            to: self.origin,
            then,
        }
    }

    /// The way of a session before a change that may move it.
    const fn arm(&self) -> Way {
        let then = if self.moving {
            Then::Pinned
        } else {
            Then::MayBePinned
        };
        Way {
            to: self.current,
            then,
        }
    }
}

impl Way {
    const fn stays(to: u16) -> Self {
        let then = Then::Stays;
        Self { to, then }
    }

    const fn free(to: u16) -> Self {
        let then = Then::Free;
        Self { to, then }
    }
}
