//! A pool's table.

use lb_common::{
    pool::{SLOT_COUNT, Slot},
    reason::Reason,
};

use crate::maps::TABLES;

/// One slot of a table.
#[inline(always)]
pub fn slot(table: u32, slot: u32) -> Result<Slot, Reason> {
    let slots = TABLES.get_value(table, &0).ok_or(Reason::NoTable)?;
    // The hash has scaled `slot` below the table's length; the verifier wants to see it.
    if slot as usize >= SLOT_COUNT {
        return Err(Reason::NoTable);
    }
    Ok(Slot::from_bits(slots[slot as usize]))
}
