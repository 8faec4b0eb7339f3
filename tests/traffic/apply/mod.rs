//! `serin apply`: from one config to another by what differs, and all or nothing.

mod backends;
mod listeners;
mod pools;
mod refused;
