//! What the benchmark tells its wrapper program; no part of the product.

use bytemuck::{Pod, Zeroable};

/// Bytes that a template may have.
pub const TEMPLATE: usize = 96;

/// Bytes that the wrapper restores before each run: Ethernet, IPv6 and TCP headers.
pub const HEADERS_V6: usize = 74;
/// Bytes that the wrapper restores before each run: Ethernet, IPv4 and TCP headers.
pub const HEADERS_V4: usize = 54;

/// The benchmark's orders.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Plan {
    /// The packet of flow 0.
    pub template: [u8; TEMPLATE],
    /// One less than the number of flows, which is a power of two; all ones for "each is new".
    pub flow_mask: u32,
    /// 1 for IPv6.
    pub v6: u32,
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
}
