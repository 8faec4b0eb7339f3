//! Single packets through the loaded program: tables of what comes in, and what must come out.
//!
//! Every test has a data plane of its own, in a network namespace of its own; needs root.

mod case;
mod frame;
mod ingress;
mod lab;
mod outcome;
mod random;
mod tunnel;
mod world;

// What leaves, byte by byte.
mod decap;
mod echo;
mod encap;
mod evicted;
mod fragments;
mod icmp;
mod l2;
mod nat;
mod redirect;
mod reply;
mod sums;
mod too_big;
mod vlan;

// What does not, and why.
mod broken;
mod chains;
mod lies;
mod next_hops;
mod noise;
mod options;
mod passed;
mod portless;
mod protect;
mod truncated;

// Which backend.
mod arithmetic;
mod audience;
mod cut;
mod flood;
mod flow;
mod full_table;
mod generations;
mod missing;
mod model;
mod quic;
mod quic_lb;
mod ramp;
mod remembered;
mod rest;
mod restart;
mod sessions;
mod signal;
mod stack;
mod taken;
mod whois;

// What the daemon sees, and what it all costs.
mod budget;
mod image;
mod interrupted;
mod sweep;
