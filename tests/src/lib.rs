//! Serin's test harness: a network in namespaces, real servers and clients, and the real daemon.
//!
//! Everything here that the kernel holds (namespaces, programs, processes) is freed by `Drop`.
//! Nothing here touches an interface of the namespace in which it was started.

// What the rest stands on.
pub mod clock;
pub mod command;
pub mod deadline;
pub mod decap;
pub mod interrupt;
pub mod judge;
pub mod leftovers;
pub mod process;
pub mod serial;
pub mod unique;

// The network.
pub mod mac;
pub mod mmdb;
pub mod netns;
pub mod topology;
pub mod veth;
pub mod xdp_pass;

// Traffic, and what is seen of it.
pub mod certificate;
pub mod client;
pub mod dns;
pub mod failure;
pub mod flood;
pub mod grpc;
mod hosted;
pub mod http;
pub mod load;
pub mod manner;
pub mod ping;
pub mod real;
pub mod server;
pub mod syns;
pub mod volley;
pub mod websocket;

// Serin itself, and what may be said of its numbers.
pub mod binomial;
pub mod config;
pub mod daemon;

pub mod bench;
pub mod connections;
pub mod demo;
pub mod scenes;
pub mod services;

#[cfg(test)]
mod smoke;
