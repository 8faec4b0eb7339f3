//! Real clients and servers in network namespaces, through the real daemon. These tests need root.

#[macro_use]
mod modes;

mod crowd;
mod hosted;
mod report;
mod stage;

mod apply;
mod checks;
mod connections;
mod crash;
mod cutover;
mod footprint;
mod health;
mod hops;
mod interfaces;
mod outside;
mod programs;
mod ramp;
mod reach;
mod refused;
mod restart;
mod settle;
mod states;
mod store;
mod weights;
mod whois;
