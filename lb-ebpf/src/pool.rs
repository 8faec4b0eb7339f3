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
    let slot = bounded(slot as usize);
    // SAFETY: `bounded` compares with the table's length.
    let bits = unsafe { slots.get_unchecked(slot) };
    Ok(Slot::from_bits(*bits))
}

/// `slot`, which the hash has scaled below [`SLOT_COUNT`], compared so that the verifier sees it.
///
/// The compiler can prove by the hash's arithmetic that a comparison of ours can't fail, and leaves
/// it out; the verifier of Linux 6.1 can't, since it takes every such product for unbounded. Where
/// one is forced on the compiler, it may compare a register and index by the copy on the stack, of
/// which that verifier learns nothing. Hence instructions whose own result is bounded.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn bounded(mut slot: usize) -> usize {
    // SAFETY: the two instructions change this one register.
    unsafe {
        core::arch::asm!(
            "if {slot} < {count} goto +1",
            "{slot} = 0",
            slot = inout(reg) slot,
            count = const SLOT_COUNT,
            options(pure, nomem, nostack),
        );
    }
    slot
}

/// `slot`: there is no verifier on the host.
#[cfg(not(target_arch = "bpf"))]
const fn bounded(slot: usize) -> usize {
    assert!(slot < SLOT_COUNT);
    slot
}
