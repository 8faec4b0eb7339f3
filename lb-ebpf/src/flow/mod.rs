//! The flow step: a connection that a change touches stays where it is, or is cut where the service
//! wants that.
//!
//! At rest none of this is called, and the flow table is never looked at.

mod breaker;
mod datagram;
mod segment;
mod table;

pub use self::table::{generation, now};

use lb_common::{
    flow::FlowKey,
    listener::Listener,
    protocol,
    reason::{FlowEvent, Reason},
    release::Record,
};

use crate::{aside, count, mode::Mode, packet::Packet, parse::Parsed, release::Answer, reset};

/// What this step needs to know of a packet. A copy that fits a register: were the parsed packet
/// itself handed to a function, each packet would be written to the stack for it.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "they are one register")]
struct Step {
    v6: bool,
    tcp: bool,
    opens: bool,
    closes: bool,
    /// It is a reset itself, which none is answered with.
    resets: bool,
}

/// The backend for this packet, given that a change concerns it or has; [`Reason::Reset`] once its
/// client has been told that there is none.
#[inline(always)]
pub fn settle<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    listener: &Listener,
    record: &Record,
    answer: &mut Answer,
) -> Result<u16, Reason> {
    breaker::obey::<M>(parsed, listener, record, answer);
    let key = FlowKey::new(parsed.source, parsed.source_port, listener.id());
    let tcp = parsed.protocol == protocol::TCP;
    let step = Step {
        v6: parsed.v6,
        tcp,
        opens: parsed.opens,
        closes: parsed.closes,
        resets: tcp && reset::is_reset(packet, parsed),
    };
    match choose::<M>(&key, step, listener, record, answer) {
        CUT if M::TELLS => Err(Reason::Reset),
        CUT => Err(aside::reset(packet)),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a backend's id has 16 bits"
        )]
        backend => Ok(backend as u16),
    }
}

/// Where a connection goes that is one already.
struct Way {
    backend: u16,
    /// Nothing was known of it, and from now on it stays there.
    pins: bool,
}

impl Way {
    #[inline(always)]
    const fn to(backend: u16) -> Self {
        Self {
            backend,
            pins: false,
        }
    }
}

/// No backend: the client is to be sent a reset.
const CUT: u32 = u32::MAX;

/// A function of its own, which a register comes out of: were its many ways inlined, the verifier
/// would walk the rest of the program for each of them.
#[inline(never)]
fn choose<M: Mode>(
    key: &FlowKey,
    step: Step,
    listener: &Listener,
    record: &Record,
    answer: &Answer,
) -> u32 {
    let kind = if listener.has(Listener::QUIC) {
        datagram::Kind::Quic
    } else {
        datagram::Kind::Session
    };
    if !step.tcp && kind == datagram::Kind::Session && !record.has(Record::SESSIONS) {
        // Each datagram stands for itself, so it takes the new answer.
        return answer.current.into();
    }
    count::flow::<M>(FlowEvent::Lookup);
    let way = match step.tcp {
        true if step.opens => return segment::open::<M>(key, answer, step.v6).into(),
        true => segment::resume::<M>(key, answer, step, record),
        false => datagram::settle::<M>(key, kind, answer, step, record),
    };
    let to = if way.pins {
        table::pin::<M>(key, way.backend, step.v6)
    } else {
        way.backend
    };
    if step.tcp && is_cut(record, answer, to) && !step.resets {
        table::forget::<M>(key);
        return CUT;
    }
    to.into()
}

/// Whether a connection that would go to `backend` must not: new ones would go elsewhere, and the
/// service cuts those that live. Where new ones would go is not known of a connection whose first
/// packet has told its audience.
#[inline(always)]
const fn is_cut(record: &Record, answer: &Answer, backend: u16) -> bool {
    record.has(Record::CUT | Record::OVERDUE) && backend != answer.current && !answer.opened
}
