//! Real clients and servers in network namespaces, through the real daemon. These tests need root.

#[macro_use]
mod modes;

mod blue_green;
mod bulk;
mod crowd;
mod hosted;
mod report;
mod stage;

mod apply;
mod audience;
mod audience_changes;
mod audience_places;
mod canary;
mod checks;
mod connections;
mod crash;
mod cut;
mod cutover;
mod dashboard;
mod echo;
mod fault_points;
mod flood;
mod footprint;
mod fragments;
mod gates;
mod health;
mod hops;
mod in_flight;
mod interfaces;
mod judge;
mod jumbo;
mod metrics;
mod notify;
mod outside;
mod path_mtu;
mod pipeline;
mod programs;
mod quic;
mod quic_lb;
mod ramp;
mod reach;
mod refused;
mod restart;
mod sessions;
mod settle;
mod states;
mod store;
mod takeover;
mod toggles;
mod top;
mod tunnel;
mod weights;
mod whois;
