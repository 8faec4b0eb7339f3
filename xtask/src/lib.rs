//! The toolchain pins of this workspace, and how its build scripts find what is pinned.
//!
//! `cargo xtask` (the binary) installs and reports; this library only looks.
//! It never installs, downloads or asks the network, so that `lb-userspace/build.rs` may use it.

pub mod ebpf;
pub mod linker;
pub mod pins;
pub mod program;
pub mod toolchain;
pub mod version;
