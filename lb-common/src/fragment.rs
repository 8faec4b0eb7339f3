//! Fragmented packets: where the pieces go, which have no ports but for the first.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// A packet that is under way in pieces (RFC 791, section 3.2; RFC 8200, section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FragmentKey {
    source: Address,
    destination: Address,
    /// In memory: identification in network byte order, protocol, three zeros; one word for the
    /// same reason as in [`crate::listener::Endpoint`].
    identification_protocol: u64,
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

impl FragmentKey {
    /// The packet with this identification, in network byte order; IPv4's has two bytes and two
    /// zeros.
    #[inline(always)]
    pub const fn new(
        (source, destination): (Address, Address),
        identification: [u8; 4],
        protocol: u8,
    ) -> Self {
        let [a, b, c, d] = identification;
        Self {
            source,
            destination,
            identification_protocol: u64::from_ne_bytes([a, b, c, d, protocol, 0, 0, 0]),
        }
    }
}

/// Where the pieces of one packet go, and what is known of them.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Pieces {
    /// The backend that they go to or come from, 0 where the packet is no listener's.
    backend: u16,
    generation: u16,
    /// Where the first piece ends, in bytes; 0 while it has not come.
    first_end: u16,
    /// The lowest start of the later pieces, in bytes; all ones while none has come.
    lowest: u16,
    /// Tick of the last piece; the top bit says that the packet is refused.
    seen: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<Pieces>() == 16);

/// In `Pieces::seen`: two pieces have overlapped.
const REFUSED: u32 = 1 << 31;

/// Ticks of [`crate::flow::tick`] that a decision waits for more pieces. They follow one another at
/// once, and a sender may use an identification again within seconds.
const LIFETIME: u32 = 4;

impl Pieces {
    /// Of a packet that goes to, or comes from, a backend of this generation.
    #[inline(always)]
    pub const fn of(backend: u16, generation: u16) -> Self {
        Self {
            backend,
            generation,
            first_end: 0,
            lowest: u16::MAX,
            seen: 0,
            reserved: 0,
        }
    }

    /// The same after the first piece, which ends at `end`.
    #[inline(always)]
    #[must_use]
    pub const fn with_first(mut self, end: u16) -> Self {
        if self.lowest < end {
            self.seen |= REFUSED;
        }
        self.first_end = end;
        self
    }

    /// The same after a later piece, which starts at `start`.
    #[inline(always)]
    #[must_use]
    pub const fn with_later(mut self, start: u16) -> Self {
        if start < self.first_end {
            self.seen |= REFUSED;
        }
        if start < self.lowest {
            self.lowest = start;
        }
        self
    }

    /// The same, seen at tick `now`.
    #[inline(always)]
    #[must_use]
    pub const fn at(mut self, now: u32) -> Self {
        self.seen = self.seen & REFUSED | now & !REFUSED;
        self
    }

    /// The backend's id, 0 where the packet is no listener's.
    #[inline(always)]
    pub const fn backend(&self) -> u16 {
        self.backend
    }

    /// The backend's generation when the decision was made.
    #[inline(always)]
    pub const fn generation(&self) -> u16 {
        self.generation
    }

    /// Whether the first piece has come.
    #[inline(always)]
    pub const fn has_first(&self) -> bool {
        self.first_end != 0
    }

    /// Whether two pieces have overlapped.
    #[inline(always)]
    pub const fn is_refused(&self) -> bool {
        self.seen & REFUSED != 0
    }

    /// Whether more pieces of the same packet may still come at tick `now`.
    #[inline(always)]
    pub const fn is_current(&self, now: u32) -> bool {
        (now & !REFUSED).wrapping_sub(self.seen & !REFUSED) <= LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_overlap_the_first_one_are_refused_in_either_order() {
        let first = Pieces::of(1, 1).with_first(1480);
        assert!(!first.with_later(1480).is_refused());
        assert!(first.with_later(1472).is_refused());
        let later = Pieces::of(1, 1).with_later(2960).with_later(1480);
        assert!(!later.with_first(1480).is_refused());
        assert!(later.with_first(1488).is_refused());
        assert!(later.with_first(1488).at(7).is_refused(), "and it stays so");
    }

    #[test]
    fn a_decision_lasts_for_some_ticks() {
        let pieces = Pieces::of(1, 1).at(100);
        assert!(pieces.is_current(100) && pieces.is_current(104));
        assert!(!pieces.is_current(105));
    }
}
