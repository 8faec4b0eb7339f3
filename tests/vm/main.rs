//! What only a stock kernel has: its verifier, bonds, VLAN devices and tunnels. `cargo xtask vm` runs
//! these tests in a virtual machine; elsewhere they want the modules that `xtask/src/vm/modules.rs`
//! lists.

mod stage;

mod bond;
mod forward;
mod programs;
mod tunnel;
mod vlan;
