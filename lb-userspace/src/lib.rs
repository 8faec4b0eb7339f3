//! Serin's daemon and command line: the policy. `main.rs` is the binary `serin`.

pub mod cli;

pub mod config;

pub mod journal;
pub mod judge;
pub mod release;
pub mod seed;
pub mod share;
pub mod state;

mod fault;
mod http;

pub mod control;
pub mod gates;
pub mod health;

pub mod dataplane;
pub mod neighbour;
pub mod notify;
pub mod object;

pub mod api;
pub mod daemon;
pub mod metrics;
pub mod web;
