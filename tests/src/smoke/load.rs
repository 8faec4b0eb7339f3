//! The load generator.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;

use super::PORT;
use crate::{
    deadline,
    failure::Failure,
    load::{Load, Log, Plan},
    server::Server,
    syns::SynRecorder,
    topology::Lab,
};

#[test]
fn a_thousand_users_make_two_thousand_requests_a_second_without_a_failure() -> Result<()> {
    const SECONDS: usize = 3;
    let lab = Lab::routed(4)?;
    let backend = &lab.backends[0];
    let server = Server::start(backend, "v1", "b1", PORT)?;
    let syns = SynRecorder::start(&backend.namespace)?;
    let plan = Plan::thousand(SocketAddr::new(backend.v4, PORT));

    let load = Load::start(&lab.clients, plan)?;
    load.whole_round(Duration::from_secs(5))?;
    deadline::pass(Duration::from_secs(SECONDS as u64))?;
    let log = load.stop()?;

    eprintln!(
        "{} requests, median {} µs, 99% within {} µs, all within {} µs",
        log.requests.len(),
        log.latency_us(500),
        log.latency_us(990),
        log.latency_us(1000)
    );
    assert_eq!(log.failures(), [].into());
    assert_eq!(log.moved_connections(), [0; 0]);
    assert!(
        log.requests.len() > 1900 * SECONDS,
        "{}",
        log.requests.len()
    );
    assert_eq!(server.requests(), log.requests.len() as u64);
    assert_eq!(log.latest().len(), 1000);
    every_connection_has_its_syn(&log, &syns);
    Ok(())
}

fn every_connection_has_its_syn(log: &Log, syns: &SynRecorder) {
    let seen = syns.seen();
    let opened: Vec<_> = log
        .requests
        .iter()
        .filter(|request| request.opened)
        .collect();

    assert_eq!(seen.len(), opened.len(), "a SYN for each connection");
    for request in opened {
        let syn = seen
            .iter()
            .rfind(|syn| Some(syn.source) == request.source && syn.at_ns >= request.began_ns)
            .expect("the SYN of a connection");
        assert!(syn.at_ns <= request.began_ns + 1000 * request.took_us + 1000);
    }
}

#[test]
fn load_runs_over_ipv6_and_counts_failures_by_reason() -> Result<()> {
    let lab = Lab::routed(1)?;
    let backend = &lab.backends[0];
    let plan = Plan {
        users: 50,
        keep_alive: 10,
        ..Plan::thousand(SocketAddr::new(backend.v6, PORT))
    };
    let refused = Load::run(&lab.clients, plan, Duration::from_millis(300))?;
    let _server = Server::start(backend, "v1", "b1", PORT)?;
    let answered = Load::run(&lab.clients, plan, Duration::from_millis(300))?;

    assert_eq!(
        refused.failures().keys().collect::<Vec<_>>(),
        [&Failure::Refused]
    );
    assert_eq!(refused.failed(), refused.requests.len());
    assert!(answered.requests.len() > 300, "{}", answered.requests.len());
    assert_eq!(answered.failed(), 0);
    Ok(())
}
