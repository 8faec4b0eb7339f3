//! The control interface: JSON over HTTP on a unix socket, and what of it can be read over TCP.

pub mod client;
pub mod http;
pub mod judged;
mod metrics;
pub mod model;
mod ofrep;
pub mod replayed;
pub mod server;
pub mod stream;
pub mod toggles;
