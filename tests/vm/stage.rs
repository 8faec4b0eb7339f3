//! A release on a network of the test's own, with a load that slow CPUs can bear.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    load::{Load, Log, Plan},
    server::Server,
    topology::{Lab, VIP_V4, VIP_V6},
};

/// Blue is the lab's first backend, green its second.
pub struct Stage {
    // Dropped from the top: no daemon in a lab that is gone.
    pub daemon: Daemon,
    _servers: Vec<Server>,
    pub lab: Lab,
}

const LIMIT: Duration = Duration::from_secs(10);

impl Stage {
    /// Servers on both backends, and a daemon whose config a test may change before it starts.
    pub fn prepare(lab: Lab, forward: &str, attach: Attach) -> Result<Self> {
        let port = if forward == "nat" { 8080 } else { 80 };
        let names = [("v1", "b1"), ("v2", "g1")];
        let servers = lab.backends.iter().zip(names);
        let servers =
            servers.map(|(backend, (version, name))| Server::start(backend, version, name, port));
        let shop = Service::shop(&lab, forward, port);
        Ok(Self {
            _servers: servers.collect::<Result<_>>()?,
            daemon: Daemon::prepare(&lab, attach, vec![shop])?,
            lab,
        })
    }

    /// Starts the daemon, with the config as it is now.
    pub fn start(&mut self) -> Result<()> {
        self.daemon.write_config()?;
        self.daemon.start(&self.lab)
    }

    /// What `serin status` says of an interface.
    pub fn interface(&self, name: &str) -> Result<String> {
        let status = self.daemon.serin(&["status"])?;
        Ok(status["interfaces"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// A share, a cutover and a rollback under load on both VIPs; in the middle, `meanwhile` happens.
    /// Asserts that no request failed and that no connection changed its server.
    pub fn release(&self, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let loads = [VIP_V4, VIP_V6]
            .map(|vip| Load::start(&self.lab.clients, plan(SocketAddr::new(vip, 80))));
        let [v4, v6] = loads;
        let loads = [v4?, v6?];
        let round = || loads.iter().try_for_each(|load| load.whole_round(LIMIT));
        round()?;
        self.daemon.serin(&["share", "shop", "50%"])?;
        round()?;
        self.daemon.serin(&["cutover", "shop"])?;
        round()?;
        meanwhile()?;
        round()?;
        self.daemon.serin(&["rollback", "shop"])?;
        round()?;
        for load in loads {
            assert_unharmed(&load.stop()?);
        }
        Ok(())
    }
}

/// Few users, and patient ones, since a network that changes loses packets.
fn plan(target: SocketAddr) -> Plan {
    Plan {
        users: 20,
        short_per_s: 30,
        keep_alive: 5,
        keep_alive_per_s: 10,
        patience: Duration::from_secs(30),
        ..Plan::thousand(target)
    }
}

fn assert_unharmed(log: &Log) {
    assert_eq!(log.failures(), [].into(), "of {}", log.requests.len());
    assert_eq!(log.moved_connections(), [0; 0]);
    let mut versions: Vec<&str> = log
        .new_connections()
        .iter()
        .map(|(_, answer)| answer.version.as_str())
        .collect();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions, ["v1", "v2"]);
}
