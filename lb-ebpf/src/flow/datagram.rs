//! UDP's part of the flow step: QUIC connections, and sessions of protocols that show no start.

use lb_common::{flow::FlowKey, release::Record};

use super::{Step, is_cut, table};
use crate::{mode::Mode, release::Answer};

/// What the datagrams of a listener are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// QUIC: the packet that starts a connection is known.
    Quic,
    /// Any other protocol of a service with `datagram = "session"`.
    Session,
}

/// The backend for this datagram.
#[inline(always)]
pub fn settle<M: Mode>(
    key: &FlowKey,
    kind: Kind,
    answer: &Answer,
    step: Step,
    record: &Record,
) -> u16 {
    if let Some(backend) = table::known::<M>(key, step) {
        if !is_cut(record, answer, backend) {
            return backend;
        }
        // What tells a client of QUIC that its connection is gone is its server's stateless reset
        // (RFC 9000, section 10.3): only a server can make one.
        table::forget::<M>(key);
        return answer.current;
    }
    if kind == Kind::Quic && !step.opens {
        return resume::<M>(key, answer, step, record);
    }
    if M::TELLS {
        return answer.current;
    }
    if kind == Kind::Session && record.has(Record::ARMING) {
        // Before the change: who is here now is known when it comes.
        table::pin::<M>(key, answer.current, step.v6);
    } else if answer.moving {
        table::insert_half_open::<M>(key, answer.current, step.v6);
    }
    answer.current
}

/// A QUIC connection of unknown past goes on where the last settled state would have it.
#[inline(always)]
fn resume<M: Mode>(key: &FlowKey, answer: &Answer, step: Step, record: &Record) -> u16 {
    if is_cut(record, answer, answer.origin) {
        return answer.current;
    }
    if answer.moving {
        table::pin::<M>(key, answer.origin, step.v6);
    }
    answer.origin
}
