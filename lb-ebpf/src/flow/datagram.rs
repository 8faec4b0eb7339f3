//! UDP's part of the flow step: QUIC connections, and sessions of protocols that show no start.

use lb_common::{flow::FlowKey, release::Record};

use super::{Step, Way, is_cut, table};
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
) -> Way {
    if let Some(backend) = table::known::<M>(key, step) {
        if !is_cut(record, answer, backend) {
            return Way::to(backend);
        }
        // What tells a client of QUIC that its connection is gone is its server's stateless reset
        // (RFC 9000, section 10.3): only a server can make one.
        table::forget::<M>(key);
        return Way::to(answer.current);
    }
    if kind == Kind::Quic && !step.opens {
        return resume(answer, record);
    }
    if M::TELLS {
        return Way::to(answer.current);
    }
    if kind == Kind::Session && record.has(Record::ARMING) {
        // Before the change: who is here now is known when it comes.
        return Way {
            backend: answer.current,
            pins: true,
        };
    }
    if answer.moving {
        table::insert_half_open::<M>(key, answer.current, step.v6);
    }
    Way::to(answer.current)
}

/// A QUIC connection of unknown past goes on where the last settled state would have it.
#[inline(always)]
const fn resume(answer: &Answer, record: &Record) -> Way {
    if is_cut(record, answer, answer.origin) {
        return Way::to(answer.current);
    }
    Way {
        backend: answer.origin,
        pins: answer.moving,
    }
}
