//! Serin's daemon and command line: the policy. `main.rs` is the binary `serin`.

pub mod dataplane;
pub mod object;
