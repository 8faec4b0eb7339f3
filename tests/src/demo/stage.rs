//! What the demo plays on: the lab, its servers, the daemon and the load.

use std::net::SocketAddr;

use anyhow::Result;
use toml::Table;

use super::{USERS, release};
use crate::{
    config::{Attach, Service},
    daemon::Daemon,
    load::{Load, Log, Plan},
    server::Server,
    syns::SynRecorder,
    topology::{Lab, VIP_V4},
};

/// The one service's name.
pub(super) const SERVICE: &str = "shop";
/// The version that pool blue runs.
pub(super) const V1: &str = "v1";
/// The version that pool green runs.
pub(super) const V2: &str = "v2";
/// The backend whose weight is changed.
pub(super) const G1: &str = "g1";

const SERVERS: [(&str, &str); 4] = [(V1, "b1"), (V1, "b2"), (V2, G1), (V2, "g2")];
pub(super) const PORT: u16 = 8080;
/// Shorter than the demo, so that bands settle while it runs, and longer than the kept connections
/// are ever silent.
const DRAIN: &str = "5s";

/// Dropped from the top: no load on a daemon that is gone, no daemon in a lab that is gone.
pub(super) struct Stage {
    pub(super) load: Load,
    pub(super) daemon: Daemon,
    /// What reaches the backends of v1 and of v2.
    pub(super) syns: Vec<(&'static str, SynRecorder)>,
    _servers: Vec<Server>,
    pub(super) lab: Lab,
}

impl Stage {
    pub(super) fn set() -> Result<Self> {
        let lab = Lab::routed(4)?;
        let mut servers = Vec::new();
        let mut syns = Vec::new();
        for (backend, (version, name)) in lab.backends.iter().zip(SERVERS) {
            servers.push(Server::start(backend, version, name, PORT)?);
            syns.push((version, SynRecorder::start(&backend.namespace)?));
        }
        let mut daemon = Daemon::prepare(&lab, Attach::Native, vec![shop(&lab)])?;
        daemon.config.toggle = vec![release::toggle()];
        daemon.write_config()?;
        daemon.start(&lab)?;
        let load = Load::start(&lab.clients, plan())?;
        Ok(Self {
            load,
            daemon,
            syns,
            _servers: servers,
            lab,
        })
    }

    /// Gives the service another release, by an edit of the file.
    pub(super) fn configure(&mut self, release: Table) -> Result<()> {
        self.daemon.config.service[0].release = Some(release);
        self.daemon.write_config()?;
        self.daemon.serin(&["apply"]).map(drop)
    }

    /// Ends the load, then takes everything down.
    pub(super) fn close(self) -> Result<Log> {
        self.load.stop()
    }
}

/// The load on the stage.
pub(super) fn plan() -> Plan {
    Plan {
        users: USERS,
        ..Plan::thousand(SocketAddr::new(VIP_V4, 80))
    }
}

fn shop(lab: &Lab) -> Service {
    let mut shop = Service::shop(lab, "nat", PORT);
    SERVICE.clone_into(&mut shop.name);
    DRAIN.clone_into(&mut shop.drain);
    shop.audience = vec![release::audience()];
    shop.release = Some(release::canary(lab));
    shop
}
