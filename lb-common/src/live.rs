//! What the generator of live connections, its receivers and the harness agree on; no part of the
//! product.

use bytemuck::{Pod, Zeroable};

/// Bytes before the words of a frame: they leave the IP header at a word's start.
pub const BEFORE_WORDS: usize = 6;
/// Words that the headers of IPv4 and TCP end with.
pub const WORDS: usize = 6;
/// How often every connection speaks; the number of the time is the sequence number that it sends.
pub const TURNS: usize = 8;
/// Connections of one client address, as a power of two.
pub const PORT_BITS: u32 = 6;
/// The lowest port of a client.
pub const FIRST_PORT: u32 = 1024;

/// Where the words are that tell connections apart.
pub const SOURCE_WORD: usize = 2;
/// Destination address, then the ports.
pub const PORTS_WORD: usize = 3;
/// The sequence number.
pub const SEQUENCE_WORD: usize = 4;
/// Flags, window and the TCP checksum.
pub const SUM_WORD: usize = 5;

/// The frame that all connections send, but for what the generator fills in: zeros in the lower bits
/// of the client's address, its port and the sequence number, with checksums that fit those.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Orders {
    /// The headers from byte [`BEFORE_WORDS`] on.
    pub words: [u64; WORDS],
    /// The eight bytes that the frame begins with.
    pub first: u64,
    /// Which time this is, below [`TURNS`].
    pub turn: u32,
    /// The next connection to speak; the generator counts it up.
    pub next: u32,
}

/// Where each of a connection's packets has arrived, by the turn: one more than the backend's
/// number, or 0 where none has, or [`TORN`].
pub type Heard = [u8; TURNS];

/// Two backends have got the same turn of a connection.
pub const TORN: u8 = u8::MAX;

/// Names in the object.
pub mod name {
    /// Sends the next connection's packet, unless it has arrived before.
    pub const SEND: &str = "live_send";
    /// Notes what arrives at a backend, and drops it.
    pub const RECEIVE: &str = "live_receive";
    /// `[Orders; 1]`.
    pub const ORDERS: &str = "ORDERS";
    /// Connection to where its packets have arrived.
    pub const HEARD: &str = "HEARD";
}
