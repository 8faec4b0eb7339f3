//! The flow table: connections that a change has touched, and the backend that each stays on.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;

/// A connection: the client's end, and the listener at ours.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKey {
    client: Address,
    /// Network byte order.
    client_port: [u8; 2],
    listener: u16,
}

const _: () = assert!(size_of::<FlowKey>() == 20);

impl FlowKey {
    /// The connection of a client's port (network byte order) to a listener.
    #[inline(always)]
    pub const fn new(client: Address, client_port: [u8; 2], listener: u16) -> Self {
        Self {
            client,
            client_port,
            listener,
        }
    }

    /// The client's address.
    pub const fn client(&self) -> &Address {
        &self.client
    }

    /// The client's port, in network byte order.
    pub const fn client_port(&self) -> [u8; 2] {
        self.client_port
    }

    /// The listener's number.
    pub const fn listener(&self) -> u16 {
        self.listener
    }
}

/// A connection stays on `backend`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Pin {
    backend: u16,
    generation: u16,
    /// Tick of the last packet; the top bit says that the client closed.
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

/// In `Pin::seen`: the client has sent FIN or RST.
const CLOSING: u32 = 1 << 31;

impl Pin {
    /// A pin to a backend of this generation, seen at tick `now`.
    #[inline(always)]
    pub const fn new(backend: u16, generation: u16, now: u32) -> Self {
        Self {
            backend,
            generation,
            seen: now & !CLOSING,
        }
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

    /// The pin after another packet at `now`: once closing, it stays so.
    #[inline(always)]
    #[must_use]
    pub const fn seen(mut self, now: u32, closing: bool) -> Self {
        let closing = if closing {
            CLOSING
        } else {
            self.seen & CLOSING
        };
        self.seen = now & !CLOSING | closing;
        self
    }

    /// Ticks since the last packet.
    pub const fn idle_ticks(&self, now: u32) -> u32 {
        (now & !CLOSING).saturating_sub(self.seen & !CLOSING)
    }

    /// Whether the client has sent FIN or RST.
    pub const fn is_closing(&self) -> bool {
        self.seen & CLOSING != 0
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
}
