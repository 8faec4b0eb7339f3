//! What the benchmark tells its wrapper program; no part of the product.

use bytemuck::{Pod, Zeroable};

/// Bytes before the words of a template: they leave the IP header at a word's start, so that no
/// word cuts a field of IP or TCP.
pub const BEFORE_WORDS: usize = 6;
/// Words that the headers of IPv4 and TCP end with.
pub const WORDS_V4: usize = 6;
/// Words that the headers of IPv6 and TCP end within.
pub const WORDS_V6: usize = 9;

/// The benchmark's orders: the packet of flow 0, and how to make the others of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Plan {
    /// The frame's headers from byte [`BEFORE_WORDS`] on, the client's host and port zero.
    pub words: [u64; WORDS_V6],
    /// The eight bytes that the frame begins with.
    pub first: u64,
    /// One less than the number of flows, which is a power of two; all ones for "each is new".
    pub flow_mask: u32,
    /// 1 for IPv6.
    pub v6: u32,
    /// 1 where the client is the destination: replies.
    pub reply: u32,
    /// Bytes that an encapsulated packet is longer by.
    pub overhead: u32,
    /// Bytes of the frame.
    pub length: u32,
    reserved: u32,
}

/// Programs of the wrapper object: floors first.
pub mod program {
    /// Returns `XDP_PASS` and nothing else.
    pub const PASS: &str = "bench_pass";
    /// Swaps the frame's addresses and returns `XDP_TX`.
    pub const SWAP: &str = "bench_swap";
    /// Restores the headers of the next flow, and does nothing with them.
    pub const FLOOR: &str = "bench_floor";
    /// Restores the headers of the next flow, then takes the packet through Serin.
    pub const SERIN: &str = "bench_serin";
    /// [`FLOOR`], and moves the frame's start once.
    pub const FLOOR_OUTER: &str = "bench_floor_outer";
    /// [`SERIN`], and moves the frame's start back behind the outer header.
    pub const SERIN_OUTER: &str = "bench_serin_outer";
}
