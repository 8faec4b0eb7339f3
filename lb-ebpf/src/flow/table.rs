//! The two tables of pins: live connections, and those of which only the first packet was seen.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::LruHashMap,
    helpers::generated::bpf_ktime_get_coarse_ns,
};
use lb_common::{
    backend,
    flow::{self, FRESH_TICKS, FlowKey, Pin},
    reason::FlowEvent,
    trace::Trace,
};

use super::Step;
use crate::{
    count,
    maps::{BACKENDS, FLOWS, HALF_OPEN},
    mode::Mode,
};

/// The backend that this packet's connection is pinned to. For a packet that may start one (QUIC's
/// Initial comes several times in a handshake) only a pin that is in use counts.
#[inline(always)]
pub fn known<M: Mode>(key: &FlowKey, step: Step) -> Option<u16> {
    let Some(entry) = FLOWS.get_ptr_mut(key) else {
        return half_open::<M>(key, step);
    };
    // SAFETY: the entry stays allocated while this program runs, even if another CPU evicts it.
    let pin = unsafe { Pin::load(entry) };
    if !holds::<M>(pin, step) {
        // A connection has one pin, in one of the tables.
        if !M::TELLS && FLOWS.remove(key).is_ok() {
            count::flow::<M>(FlowEvent::Unpinned);
        }
        return None;
    }
    let seen = pin.seen(now(), step.closes);
    if !M::TELLS && seen != pin {
        // SAFETY: as above.
        unsafe { Pin::store_seen(entry, seen) };
    }
    Some(pin.backend())
}

/// The second packet of a connection makes its pin one of a live connection, unless it ends it, or
/// may be another first one.
#[inline(always)]
fn half_open<M: Mode>(key: &FlowKey, step: Step) -> Option<u16> {
    let entry = HALF_OPEN.get_ptr_mut(key)?;
    // SAFETY: the entry stays allocated while this program runs, even if another CPU evicts it.
    let pin = unsafe { Pin::load(entry) };
    let held = holds::<M>(pin, step);
    if M::TELLS {
        return held.then_some(pin.backend());
    }
    if !held {
        if HALF_OPEN.remove(key).is_ok() {
            count::flow::<M>(FlowEvent::Unpinned);
        }
        return None;
    }
    if step.closes || step.opens {
        // SAFETY: as above.
        unsafe { Pin::store_seen(entry, pin.seen_half_open(now(), step.closes)) };
    } else {
        // In this order, so that the connection is never without a pin, nor where there is no room for
        // the other. Who removed it instead has made the same of it.
        let entered = enter::<M, _>(&FLOWS, key, pin.seen(now(), false), FlowEvent::Pinned);
        if entered && HALF_OPEN.remove(key).is_ok() {
            count::flow::<M>(FlowEvent::Completed);
        }
    }
    Some(pin.backend())
}

/// Pins a connection of which nothing was known to a backend, unless it has a pin by now: another
/// CPU may have made that a live connection's between this one's looks at the two tables.
#[inline(always)]
pub fn pin<M: Mode>(key: &FlowKey, backend: u16, v6: bool) -> u16 {
    if M::TELLS {
        return backend;
    }
    let Some(generation) = generation(backend, v6) else {
        return backend;
    };
    let pin = Pin::new(backend, generation, now());
    if FLOWS.insert(key, pin, BPF_NOEXIST.into()).is_ok() {
        count::flow::<M>(FlowEvent::Pinned);
        return backend;
    }
    if let Some(entry) = FLOWS.get_ptr_mut(key) {
        // SAFETY: as in `known`. Whether it holds is for the next packet to see: it is new.
        unsafe { Pin::load(entry) }.backend()
    } else {
        count::flow::<M>(FlowEvent::Refused);
        backend
    }
}

/// Pins a connection that starts; where there is no room for it as one of a live connection, for its
/// next packet must not go where the last settled state would have it.
#[inline(always)]
pub fn insert_half_open<M: Mode>(key: &FlowKey, backend: u16, v6: bool) {
    if let Some(generation) = generation(backend, v6) {
        let pin = Pin::half_open(backend, generation, now());
        if !enter::<M, _>(&HALF_OPEN, key, pin, FlowEvent::HalfOpened) {
            let pin = Pin::new(backend, generation, now());
            enter::<M, _>(&FLOWS, key, pin, FlowEvent::Pinned);
        }
    }
}

/// Makes a connection's pin void, wherever it is.
#[inline(always)]
pub fn forget<M: Mode>(key: &FlowKey) {
    if !M::TELLS && (FLOWS.remove(key).is_ok() || HALF_OPEN.remove(key).is_ok()) {
        count::flow::<M>(FlowEvent::Unpinned);
    }
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

/// Whether the pin's backend is still the one that it was made for, and the connection the one.
#[inline(always)]
fn holds<M: Mode>(pin: Pin, step: Step) -> bool {
    let valid = generation(pin.backend(), step.v6) == Some(pin.generation());
    M::note(|trace| {
        trace.pin = pin.backend();
        trace.mark(if valid { Trace::PINNED } else { Trace::VOID });
    });
    valid && (!step.opens || pin.idle_ticks(now()) <= FRESH_TICKS)
}

/// Writes a pin; whether it stands. Counted is one where none was. In two steps, since an insertion
/// that may write over an entry does not tell whether it did: what is evicted is reckoned from how many
/// entries came.
#[inline(always)]
fn enter<M: Mode, const SIZE: usize>(
    table: &LruHashMap<FlowKey, Pin, SIZE>,
    key: &FlowKey,
    pin: Pin,
    event: FlowEvent,
) -> bool {
    if table.insert(key, pin, BPF_NOEXIST.into()).is_ok() {
        count::flow::<M>(event);
        return true;
    }
    let stands = table.insert(key, pin, BPF_ANY.into()).is_ok();
    if !stands {
        count::flow::<M>(FlowEvent::Refused);
    }
    stands
}
