//! The control interface: JSON over HTTP on a unix socket.

pub mod client;
pub mod model;
pub mod server;
