//! Per-CPU counters. A missing counter never drops a packet.

use lb_common::maps::TABLES_PER_POOL;
use lb_common::reason::{FlowEvent, Reason, flow_event_index};

use crate::{
    maps::{AUDIENCE_COUNTERS, BACKEND_COUNTERS, COUNTERS, POOL_DROPS},
    mode::Mode,
};

/// Every packet, once, as it leaves.
#[inline(always)]
pub fn exit<M: Mode>(reason: Reason) {
    add::<M>(COUNTERS.get_ptr_mut(reason as u32));
}

/// Something happened to the flow table.
#[inline(always)]
pub fn flow<M: Mode>(event: FlowEvent) {
    if !M::TELLS {
        happened(flow_event_index(event));
    }
}

/// A function of its own: the flow step has many places that count.
#[inline(never)]
fn happened(index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: as in `request`.
        unsafe { *counter += 1 };
    }
}

/// A packet was dropped, since the pool of this table has no backend.
#[inline(always)]
pub fn pool_drop<M: Mode>(table: u32) {
    add::<M>(POOL_DROPS.get_ptr_mut(table / TABLES_PER_POOL));
}

/// A client's packet is of an audience.
#[inline(always)]
pub fn audience<M: Mode>(number: u32, bytes: usize, opens: bool) {
    if M::TELLS {
        return;
    }
    if let Some(counters) = AUDIENCE_COUNTERS.get_ptr_mut(number) {
        // SAFETY: as in `request`.
        let counters = unsafe { &mut *counters };
        counters.packets += 1;
        counters.bytes += bytes as u64;
        counters.connections += u64::from(opens);
    }
}

/// A client's packet goes to a backend.
#[inline(always)]
pub fn request<M: Mode>(backend: u16, bytes: usize, opens: bool) {
    if M::TELLS {
        return;
    }
    if let Some(counters) = BACKEND_COUNTERS.get_ptr_mut(u32::from(backend)) {
        // SAFETY: the element is this CPU's own, and programs on one CPU don't interrupt each other.
        let counters = unsafe { &mut *counters };
        counters.packets += 1;
        counters.bytes += bytes as u64;
        counters.connections += u64::from(opens);
    }
}

/// A backend's packet goes to a client.
#[inline(always)]
pub fn reply<M: Mode>(backend: u16, bytes: usize) {
    if M::TELLS {
        return;
    }
    if let Some(counters) = BACKEND_COUNTERS.get_ptr_mut(u32::from(backend)) {
        // SAFETY: as in `request`.
        let counters = unsafe { &mut *counters };
        counters.reply_packets += 1;
        counters.reply_bytes += bytes as u64;
    }
}

#[inline(always)]
fn add<M: Mode>(counter: Option<*mut u64>) {
    if let Some(counter) = counter
        && !M::TELLS
    {
        // SAFETY: as in `request`.
        unsafe { *counter += 1 };
    }
}
