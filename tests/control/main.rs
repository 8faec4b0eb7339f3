//! The control tier: the daemon's core over a data plane in memory, its API and its command line.
//! Needs no privileges, and never touches the kernel's maps.

// Serin's core, with clients that talk while it works.
mod clients;
mod site;
mod twin;
mod world;

mod canary;
mod crash;
mod model;
mod promises;
mod state_file;
mod thousand;
mod toggles;

// What is outside: sockets and processes.
mod fake;
mod geography;
mod http;
mod judge;
mod judged;
mod program;

mod api;
mod check;
mod cli;
mod privileges;
