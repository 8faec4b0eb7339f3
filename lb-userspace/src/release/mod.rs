//! The release engine: pure functions from a state, an order and a time to a new state.
//!
//! No clock, no socket, no kernel: what comes of a state in the maps is `state::compose`'s work.

pub mod condition;
pub mod engine;
mod mapping;
mod position;
mod table;

pub use self::{
    mapping::{Mapping, PoolId},
    position::{Position, Refusal, Salts},
    table::{Cut, PoolTable},
};
