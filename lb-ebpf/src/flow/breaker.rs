//! The breaker's part of the flow step: while it has tripped, the candidate's new connections go to the
//! active pool, and are pinned there, since the record says otherwise.
//!
//! A record with a breaker marks its share as one that pins may exist for, so this costs no packet
//! anything that is not in the flow step anyway.

use lb_common::{
    backend, listener::Listener, protocol, reason::FlowEvent, release::Record, trace::Trace,
};

use crate::{count, maps::BREAKERS, mode::Mode, parse::Parsed, pool, release::Answer};

/// Changes the answer of a connection that begins, if the breaker has tripped. Those that live stay
/// where they are, and are not cut: which of them were sent elsewhere only their pins tell.
#[inline(always)]
pub fn obey<M: Mode>(parsed: &Parsed, listener: &Listener, record: &Record, answer: &mut Answer) {
    let drawn = answer.bucket < record.share_ppm && answer.audience == 0;
    if record.breaker_limit() == 0 || !drawn || parsed.protocol != protocol::TCP {
        return;
    }
    let place = u64::from(record.active) << 32 | u64::from(answer.slot);
    let backend = serin_diverted(listener.service().into(), record.epoch, place);
    if backend == backend::NONE.into() {
        return;
    }
    answer.opened = true;
    if !parsed.opens {
        return;
    }
    count::flow::<M>(FlowEvent::Diverted);
    M::note(|trace| trace.mark(Trace::DIVERTED));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a backend's id has 16 bits"
    )]
    let to = backend as u16;
    (answer.current, answer.moving, answer.diverted) = (to, true, true);
}

/// The active pool's backend at a place (the slot, and above it the table), if the breaker of the
/// service has tripped for the record with this number; else, or if that pool has none there,
/// [`backend::NONE`]. A global function, for the reasons that [`crate::audience`] gives.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "fields are taken out of words"
)]
pub extern "C" fn serin_diverted(service: u64, epoch: u64, place: u64) -> u64 {
    let breaker = BREAKERS.get(service as u32);
    if !breaker.is_some_and(|breaker| breaker.has_tripped(epoch)) {
        return backend::NONE.into();
    }
    match pool::slot((place >> 32) as u32, place as u32) {
        Ok(there) => there.current().into(),
        Err(_) => backend::NONE.into(),
    }
}
