//! A pool's table.

use lb_common::{
    pool::{SLOT_COUNT, Slot},
    reason::Reason,
};

use crate::maps::POOLS;

/// One slot of a pool.
#[inline(always)]
pub fn slot(pool: u32, slot: u32) -> Result<Slot, Reason> {
    let table = POOLS.get_value(pool, &0).ok_or(Reason::NoTable)?;
    // The hash has scaled `slot` below the table's length; the verifier wants to see it.
    if slot as usize >= SLOT_COUNT {
        return Err(Reason::NoTable);
    }
    Ok(Slot::from_bits(table[slot as usize]))
}
