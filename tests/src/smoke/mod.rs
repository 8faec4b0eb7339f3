//! The harness itself works, without Serin: plain routing through the edge. These tests need root.

mod lab;
mod load;
mod programs;
mod traffic;

/// Where servers listen.
const PORT: u16 = 8080;
