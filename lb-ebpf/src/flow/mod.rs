//! The flow step: a connection that a change touches stays where it is, or is cut where the service
//! wants that.
//!
//! At rest none of this is called, and the flow table is never looked at.

mod datagram;
mod segment;
mod table;

use lb_common::{
    flow::FlowKey,
    listener::Listener,
    protocol,
    reason::{FlowEvent, Reason},
    release::Record,
};

use crate::{count, mode::Mode, packet::Packet, parse::Parsed, release::Answer, reset};

/// The backend for this packet, given that a change concerns it or has; [`Reason::Reset`] once its
/// client has been told that there is none.
#[inline(always)]
pub fn settle<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    listener: &Listener,
    record: &Record,
    answer: &Answer,
) -> Result<u16, Reason> {
    match choose::<M>(packet, parsed, listener, record, answer) {
        CUT => Err(Reason::Reset),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a backend's id has 16 bits"
        )]
        backend => Ok(backend as u16),
    }
}

/// No backend: the client has been sent a reset.
const CUT: u32 = u32::MAX;

/// A function of its own, which a register comes out of: were its many ways inlined, the verifier
/// would walk the rest of the program for each of them.
#[inline(never)]
fn choose<M: Mode>(
    packet: &Packet<'_>,
    parsed: &Parsed,
    listener: &Listener,
    record: &Record,
    answer: &Answer,
) -> u32 {
    let key = FlowKey::new(parsed.source, parsed.source_port, listener.id());
    if parsed.protocol == protocol::TCP {
        count::flow::<M>(FlowEvent::Lookup);
        if parsed.opens {
            return segment::open::<M>(&key, answer, parsed.v6).into();
        }
        let to = segment::resume::<M>(&key, answer, parsed, record);
        if is_cut(record, answer, to) && !reset::is_reset(packet, parsed) {
            table::forget::<M>(&key);
            if !M::TELLS {
                reset::answer(packet, parsed);
            }
            return CUT;
        }
        return to.into();
    }
    let kind = if listener.has(Listener::QUIC) {
        datagram::Kind::Quic
    } else if record.has(Record::SESSIONS) {
        datagram::Kind::Session
    } else {
        // Each datagram stands for itself, so it takes the new answer.
        return answer.current.into();
    };
    count::flow::<M>(FlowEvent::Lookup);
    datagram::settle::<M>(&key, kind, answer, parsed, record).into()
}

/// Whether a connection that would go to `backend` must not: new ones would go elsewhere, and the
/// service cuts those that live.
#[inline(always)]
const fn is_cut(record: &Record, answer: &Answer, backend: u16) -> bool {
    record.has(Record::CUT | Record::OVERDUE) && backend != answer.current
}
