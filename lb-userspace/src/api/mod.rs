//! The control interface: JSON over HTTP on a unix socket, and what of it can be read over TCP.

pub mod client;
pub mod http;
pub mod judged;
pub mod model;
mod ofrep;
pub mod server;
pub mod toggles;
