//! Programs that people really use.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

use super::PORT;
use crate::{
    real::{self, IperfServer, Nginx, Stream, WrkPlan},
    topology::{Lab, client_v4, client_v6},
};

#[test]
fn real_programs_work_in_the_lab() -> Result<()> {
    let lab = Lab::routed(1)?;
    let backend = &lab.backends[0];
    let _nginx = Nginx::start(backend, "v1", "b1", PORT)?;
    let _iperf = IperfServer::start(backend, 5201)?;
    let url = format!("http://{}:{PORT}/", backend.v4);
    let target = SocketAddr::new(backend.v4, 5201);

    let fetched = real::curl(&lab.clients, client_v4(9), &url, &[])?;
    let fetched_v6 = real::curl(&lab.clients, client_v6(9), &url_v6(backend.v6), &[])?;
    let plan = WrkPlan {
        connections: 16,
        seconds: 1,
        short: false,
    };
    let wrked = real::wrk(&lab.clients, &url, plan)?;
    let tcp = real::iperf(&lab.clients, client_v4(9), target, Stream::Tcp, 1)?;
    let udp = Stream::Udp {
        bits_per_s: 10_000_000,
    };
    let udp = real::iperf(&lab.clients, client_v4(9), target, udp, 1)?;

    eprintln!("{wrked:?}\n{tcp:?}\n{udp:?}");
    assert_eq!(
        fetched.answer().map(|answer| answer.client),
        Some(client_v4(9))
    );
    assert_eq!(
        fetched_v6.answer().map(|answer| answer.client),
        Some(client_v6(9))
    );
    assert!(wrked.requests > 1000, "{wrked:?}");
    assert_eq!((wrked.socket_errors, wrked.bad_statuses), (0, 0));
    assert!(tcp.bits_per_s > 1e8, "{tcp:?}");
    assert_eq!(udp.lost_packets, 0);
    Ok(())
}

fn url_v6(address: IpAddr) -> String {
    format!("http://[{address}]:{PORT}/")
}
