//! The flow step: a connection that a change touches stays where it is.
//!
//! At rest this is one comparison, and the flow table is never looked at.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use lb_common::{
    backend,
    flow::{self, FlowKey, Pin},
    listener::Listener,
    reason::FlowEvent,
    trace::Trace,
};

use crate::{
    count,
    maps::{BACKENDS, FLOWS},
    mode::Mode,
    parse::Parsed,
    release::Answer,
};

/// The backend for this packet of a TCP connection.
#[inline(always)]
pub fn settle<M: Mode>(answer: &Answer, parsed: &Parsed, listener: &Listener) -> u16 {
    if !answer.moving && !answer.touched {
        return answer.current;
    }
    count::flow::<M>(FlowEvent::Lookup);
    let key = FlowKey::new(parsed.source, parsed.source_port, listener.id());
    if parsed.opens {
        open::<M>(&key, answer, parsed.v6)
    } else {
        resume::<M>(&key, answer, parsed)
    }
}

/// A connection starts: it takes the new answer. A pin that its tuple has is of an earlier one.
#[inline(always)]
fn open<M: Mode>(key: &FlowKey, answer: &Answer, v6: bool) -> u16 {
    if answer.moving {
        pin::<M>(key, answer.current, v6);
    } else if !M::TELLS && FLOWS.remove(key).is_ok() {
        count::flow::<M>(FlowEvent::Unpinned);
    }
    answer.current
}

/// A connection goes on: by its pin, or else as the last settled state would have it.
#[inline(always)]
fn resume<M: Mode>(key: &FlowKey, answer: &Answer, parsed: &Parsed) -> u16 {
    if let Some(entry) = FLOWS.get_ptr_mut(key) {
        // SAFETY: the entry stays allocated while this program runs, even if another CPU evicts it.
        let known = unsafe { Pin::load(entry) };
        let holds = generation(known.backend(), parsed.v6) == Some(known.generation());
        M::note(|trace| {
            trace.pin = known.backend();
            trace.mark(if holds { Trace::PINNED } else { Trace::VOID });
        });
        if holds {
            let seen = known.seen(now(), parsed.closes);
            if !M::TELLS && seen != known {
                // SAFETY: as above.
                unsafe { Pin::store_seen(entry, seen) };
            }
            return known.backend();
        }
    }
    if answer.moving {
        pin::<M>(key, answer.origin, parsed.v6);
    }
    answer.origin
}

#[inline(always)]
fn pin<M: Mode>(key: &FlowKey, backend: u16, v6: bool) {
    if M::TELLS {
        return;
    }
    let Some(generation) = generation(backend, v6) else {
        return;
    };
    let event = match FLOWS.insert(key, Pin::new(backend, generation, now()), 0) {
        Ok(()) => FlowEvent::Pinned,
        Err(_) => FlowEvent::Refused,
    };
    count::flow::<M>(event);
}

/// The generation of the backend that has this id now, if one does.
#[inline(always)]
pub fn generation(id: u16, v6: bool) -> Option<u16> {
    let entry = BACKENDS.get(backend::index(id, v6))?;
    entry.is_present().then(|| entry.generation())
}

/// Ticks since boot. The coarse clock is a load from memory; its 4 ms matter to nobody here.
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: the helper takes nothing and only reads a clock.
    flow::tick(unsafe { bpf_ktime_get_coarse_ns() })
}
