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
    /// See [`Self::owner`]; above it the protocol.
    owner: u32,
}

const _: () = assert!(size_of::<Pieces>() == 16);

/// In `Pieces::seen`: two pieces have overlapped.
const REFUSED: u32 = 1 << 31;

/// In `Pieces::owner`: the protocol.
const PROTOCOL_SHIFT: u32 = 24;
/// In `Pieces::owner`: the owner.
const OWNER: u32 = (1 << PROTOCOL_SHIFT) - 1;

/// Ticks of [`crate::flow::tick`] that a decision waits for more pieces. They follow one another at
/// once, and a sender may use an identification again within seconds.
const LIFETIME: u32 = 4;

impl Pieces {
    /// Of a packet that goes to, or comes from, a backend of this generation; see [`Self::owner`].
    #[inline(always)]
    pub const fn of(backend: u16, generation: u16, owner: u32) -> Self {
        Self {
            backend,
            generation,
            first_end: 0,
            lowest: u16::MAX,
            seen: 0,
            owner,
        }
    }

    /// In two registers.
    #[inline(always)]
    pub const fn words(self) -> [u64; 2] {
        let (backend, generation) = (self.backend as u64, self.generation as u64);
        let (first_end, lowest) = (self.first_end as u64, self.lowest as u64);
        [
            backend | generation << 16 | first_end << 32 | lowest << 48,
            self.seen as u64 | (self.owner as u64) << 32,
        ]
    }

    /// From [`Self::words`].
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fields are taken out of words"
    )]
    pub const fn from_words([first, second]: [u64; 2]) -> Self {
        Self {
            backend: first as u16,
            generation: (first >> 16) as u16,
            first_end: (first >> 32) as u16,
            lowest: (first >> 48) as u16,
            seen: second as u32,
            owner: (second >> 32) as u32,
        }
    }

    /// The same, with what was known of later pieces before.
    #[inline(always)]
    #[must_use]
    pub const fn after(mut self, known: Option<Self>) -> Self {
        if let Some(known) = known {
            self.lowest = known.lowest;
            self.seen = known.seen;
        }
        self
    }

    /// The same after a piece from `start` to `end`, in bytes below 65 536.
    #[inline(always)]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no piece reaches beyond the largest packet"
    )]
    pub const fn with(mut self, start: usize, end: usize) -> Self {
        let (start, end) = (start as u16, end as u16);
        if start == 0 {
            if self.lowest < end {
                self.seen |= REFUSED;
            }
            self.first_end = end;
            return self;
        }
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

    /// The same; its first piece has the header of this protocol.
    #[inline(always)]
    #[must_use]
    pub const fn carrying(mut self, protocol: u8) -> Self {
        self.owner = self.owner & OWNER | (protocol as u32) << PROTOCOL_SHIFT;
        self
    }

    /// What the first piece has the header of, once it has come.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        (self.owner >> PROTOCOL_SHIFT) as u8
    }

    /// Requests: the service. Replies whose first piece has come: the backend's port, the first byte
    /// on the wire first in memory.
    #[inline(always)]
    pub const fn owner(&self) -> u32 {
        self.owner & OWNER
    }

    /// The owner of replies: a port in network byte order.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a port is all there is of it"
    )]
    pub const fn port(&self) -> [u8; 2] {
        (self.owner as u16).to_ne_bytes()
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
    fn words_hold_all_of_it() {
        let pieces = Pieces::of(0x1234, 0x5678, 0x9abc_def0)
            .with(0, 1480)
            .with(2960, 4000)
            .at(77);
        assert_eq!(Pieces::from_words(pieces.words()), pieces);
        assert_eq!(
            bytemuck::bytes_of(&pieces.words()),
            bytemuck::bytes_of(&pieces)
        );
    }

    #[test]
    fn the_owner_stays_what_it_is_whatever_the_protocol() {
        let pieces = Pieces::of(1, 1, 0xffff).carrying(17);
        assert_eq!((pieces.owner(), pieces.protocol()), (0xffff, 17));
        assert_eq!(pieces.carrying(6).protocol(), 6);
    }

    #[test]
    fn pieces_that_overlap_the_first_one_are_refused_in_either_order() {
        let first = Pieces::of(1, 1, 0).with(0, 1480);
        assert!(!first.with(1480, 2960).is_refused());
        assert!(first.with(1472, 2960).is_refused());
        let later = Pieces::of(1, 1, 0).with(2960, 3000).with(1480, 2960);
        assert!(!later.with(0, 1480).is_refused());
        assert!(later.with(0, 1488).is_refused());
        assert!(later.with(0, 1488).at(7).is_refused(), "and it stays so");
    }

    #[test]
    fn a_decision_lasts_for_some_ticks() {
        let pieces = Pieces::of(1, 1, 0).at(100);
        assert!(pieces.is_current(100) && pieces.is_current(104));
        assert!(!pieces.is_current(105));
    }
}
