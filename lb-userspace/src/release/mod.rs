//! The release engine: pure functions from a state, an order and a time to a new state.
//!
//! No clock, no socket, no kernel: what comes of a state in the maps is `state::compose`'s work.

pub mod condition;
pub mod engine;
mod position;
mod table;

pub use self::{
    position::{Mapping, PoolId, Position, Refusal, Salts},
    table::{Cut, PoolTable},
};
