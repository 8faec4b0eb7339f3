//! Programs that people really use, as servers and clients in a lab.

mod curl;
mod iperf;
mod nginx;
mod wrk;

pub use self::{
    curl::{Fetched, curl},
    iperf::{IperfServer, Stream, Streamed, iperf},
    nginx::Nginx,
    wrk::{WrkPlan, Wrked, wrk},
};
