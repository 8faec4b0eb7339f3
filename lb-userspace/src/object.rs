//! The compiled XDP programs, embedded.

use aya::include_bytes_aligned;

/// The product's program.
pub static SERIN: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/serin-xdp"));

/// The benchmark's programs; the linker leaves them out of the `serin` binary, which never names them.
pub static BENCH: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/serin-bench"));

/// The generator and the receiver of the test with a million live connections; left out likewise.
pub static LIVE: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/serin-live"));
