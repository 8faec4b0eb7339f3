//! Programs that people really use, as servers and clients in a lab.

mod browser;
mod curl;
mod dns;
mod h2load;
mod iperf;
mod nginx;
mod ofrep;
mod prometheus;
mod ssh;
mod tmux;
mod wrk;

pub use self::{
    browser::Browser,
    curl::{Fetched, curl},
    dns::{Dnsmasq, dig},
    h2load::{H2Loaded, h2load},
    iperf::{IperfServer, Stream, Streamed, iperf},
    nginx::Nginx,
    ofrep::{Asked, Evaluated, evaluate},
    prometheus::{Prometheus, check_metrics},
    ssh::{Keys, Shell, Sshd},
    tmux::Terminal,
    wrk::{WrkPlan, Wrked, wrk},
};
