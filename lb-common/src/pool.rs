//! A pool's table: which backend serves a slot now, and which did before the last change.

/// Slots of a table: a prime (Maglev's permutations need one), large enough that one slot is
/// 0.0015%, so that 99:1 comes out as 1.00%.
pub const SLOTS: u32 = 65_537;

/// [`SLOTS`] as a length.
pub const SLOT_COUNT: usize = SLOTS as usize;

/// Marks that pins may exist for flows of this slot although the change has settled.
const TOUCHED: u32 = 1 << 15;

/// One slot: the backend now, and at the last settled state, so that "is this slot changing" is
/// a comparison within one register.
///
/// Bits 0 to 14: the current backend. Bit 15: touched. Bits 16 to 30: the origin backend.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    /// A slot that is not changing.
    pub const fn settled(backend: u16) -> Self {
        Self::new(backend, backend)
    }

    /// A slot that belongs to `current` now and belonged to `origin` before.
    pub const fn new(current: u16, origin: u16) -> Self {
        Self(current as u32 | (origin as u32) << 16)
    }

    /// From the map's value.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The map's value.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The same slot, marked as one that pins may exist for.
    #[must_use]
    pub const fn touch(self) -> Self {
        Self(self.0 | TOUCHED)
    }

    /// The same slot without the mark.
    #[must_use]
    pub const fn untouch(self) -> Self {
        Self(self.0 & !TOUCHED)
    }

    /// Whether pins may exist for flows of this slot.
    #[inline(always)]
    pub const fn is_touched(self) -> bool {
        self.0 & TOUCHED != 0
    }

    /// The backend that new connections go to.
    #[inline(always)]
    pub const fn current(self) -> u16 {
        (self.0 & 0x7fff) as u16
    }

    /// The backend that connections of unknown past belong to.
    #[inline(always)]
    pub const fn origin(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_both_backends_and_the_mark() {
        let slot = Slot::new(4095, 7).touch();
        assert_eq!(
            (slot.current(), slot.origin(), slot.is_touched()),
            (4095, 7, true)
        );
        assert_eq!(slot.untouch(), Slot::new(4095, 7));
        assert_eq!(Slot::from_bits(slot.bits()), slot);
    }
}
