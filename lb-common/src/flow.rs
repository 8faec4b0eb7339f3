//! The flow table: connections that a change has touched, and the backend that each stays on.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// A connection: the client's end, and the listener at ours.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKey {
    client: Address,
    /// In memory: the client's port in network byte order, the listener, four zeros; one word
    /// for the same reason as in [`crate::listener::Endpoint`].
    port_listener: u64,
}

const _: () = assert!(size_of::<FlowKey>() == 24);

impl FlowKey {
    /// The connection of a client's port (network byte order) to a listener.
    #[inline(always)]
    pub const fn new(client: Address, client_port: [u8; 2], listener: u16) -> Self {
        let [a, b] = listener.to_ne_bytes();
        let bytes = [client_port[0], client_port[1], a, b, 0, 0, 0, 0];
        Self {
            client,
            port_listener: u64::from_ne_bytes(bytes),
        }
    }

    /// The client's address.
    pub const fn client(&self) -> &Address {
        &self.client
    }

    /// The client's port, in network byte order.
    pub const fn client_port(&self) -> [u8; 2] {
        let [high, low, ..] = self.port_listener.to_ne_bytes();
        [high, low]
    }

    /// The listener's number.
    pub const fn listener(&self) -> u16 {
        let [_, _, a, b, ..] = self.port_listener.to_ne_bytes();
        u16::from_ne_bytes([a, b])
    }
}

/// A connection stays on `backend`.
///
/// The kernel may give an evicted entry to another connection while a packet still holds it. So it
/// is read by one load, and of it only the tick is ever written in place: the worst that such a
/// packet can do is to keep the other connection's pin a little longer.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Pin {
    backend: u16,
    generation: u16,
    /// Tick of the last packet in the lower 30 bits, 36 years; see the marks above them.
    seen: u32,
}

const _: () = assert!(size_of::<Pin>() == 8);

/// The tick of a time of `CLOCK_MONOTONIC` in nanoseconds. A tick is 2^30 ns (1.07 s): a shift,
/// where seconds would be a division.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "32 bits of ticks last for 146 years"
)]
pub const fn tick(nanoseconds: u64) -> u32 {
    (nanoseconds >> 30) as u32
}

/// Ticks for which a packet that may start a connection is taken for one of the connection that its
/// tuple has. Longer than a handshake's own repetitions, and about as long as QUIC's connections live
/// without a packet.
pub const FRESH_TICKS: u32 = 30;

/// In `Pin::seen`: the client has sent FIN or RST.
const CLOSING: u32 = 1 << 31;
/// In `Pin::seen`: nothing but the connection's first packet has been seen.
const HALF_OPEN: u32 = 1 << 30;
/// In `Pin::seen`: the tick.
const TICK: u32 = HALF_OPEN - 1;

impl Pin {
    /// A pin to a backend of this generation, seen at tick `now`.
    #[inline(always)]
    pub const fn new(backend: u16, generation: u16, now: u32) -> Self {
        Self {
            backend,
            generation,
            seen: now & TICK,
        }
    }

    /// The pin of a connection whose handshake is under way.
    #[inline(always)]
    pub const fn half_open(backend: u16, generation: u16, now: u32) -> Self {
        let mut pin = Self::new(backend, generation, now);
        pin.seen |= HALF_OPEN;
        pin
    }

    /// The pin at `entry`, all of it as it was at one moment.
    ///
    /// # Safety
    ///
    /// `entry` must point to a live entry of the flow table.
    #[inline(always)]
    pub unsafe fn load(entry: *const Self) -> Self {
        // SAFETY: the caller answers for the entry, and `Pin` has a word's size and alignment.
        bytemuck::must_cast(unsafe { entry.cast::<u64>().read_volatile() })
    }

    /// Writes the tick and the mark of `pin` into the entry, and nothing else.
    ///
    /// # Safety
    ///
    /// `entry` must point to a live entry of the flow table.
    #[inline(always)]
    pub unsafe fn store_seen(entry: *mut Self, pin: Self) {
        // SAFETY: the caller answers for the entry.
        let place = unsafe { &raw mut (*entry).seen };
        // SAFETY: as above; the field is aligned.
        unsafe { place.write_volatile(pin.seen) };
    }

    /// The backend's id.
    #[inline(always)]
    pub const fn backend(&self) -> u16 {
        self.backend
    }

    /// The backend's generation when the pin was made.
    #[inline(always)]
    pub const fn generation(&self) -> u16 {
        self.generation
    }

    /// The pin after another packet at `now`: it is open then, and once closing, it stays so.
    #[inline(always)]
    #[must_use]
    pub const fn seen(mut self, now: u32, closing: bool) -> Self {
        let closing = if closing {
            CLOSING
        } else {
            self.seen & CLOSING
        };
        self.seen = now & TICK | closing;
        self
    }

    /// The pin after another packet that makes it no live one.
    #[inline(always)]
    #[must_use]
    pub const fn seen_half_open(self, now: u32, closing: bool) -> Self {
        let mut pin = self.seen(now, closing);
        pin.seen |= HALF_OPEN;
        pin
    }

    /// Ticks since the last packet.
    pub const fn idle_ticks(&self, now: u32) -> u32 {
        (now & TICK).saturating_sub(self.seen & TICK)
    }

    /// Whether the client has sent FIN or RST.
    pub const fn is_closing(&self) -> bool {
        self.seen & CLOSING != 0
    }

    /// Whether nothing but the connection's first packet has been seen.
    pub const fn is_half_open(&self) -> bool {
        self.seen & HALF_OPEN != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closing_pin_stays_closing_and_ages() {
        let pin = Pin::new(3, 1, 100).seen(105, true).seen(107, false);
        assert!(pin.is_closing());
        assert_eq!(pin.idle_ticks(117), 10);
    }

    #[test]
    fn a_half_open_pin_is_open_after_its_second_packet() {
        let pin = Pin::half_open(3, 1, 100);
        assert!(pin.is_half_open() && !pin.is_closing());
        assert_eq!(pin.idle_ticks(101), 1);
        assert_eq!(pin.seen(101, false), Pin::new(3, 1, 101));
    }
}
