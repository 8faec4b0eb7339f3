//! Real clients and servers in network namespaces, through the real daemon. These tests need root.

#[macro_use]
mod modes;

mod crowd;
mod hosted;
mod report;
mod stage;

mod apply;
mod checks;
mod crash;
mod cut;
mod cutover;
mod flood;
mod footprint;
mod health;
mod hops;
mod in_flight;
mod interfaces;
mod outside;
mod programs;
mod quic;
mod ramp;
mod reach;
mod refused;
mod restart;
mod sessions;
mod settle;
mod states;
mod store;
mod takeover;
mod weights;
mod whois;
