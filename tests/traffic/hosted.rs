//! A lab whose backends run nginx.

use anyhow::Result;
use serin_tests::{
    config::{Attach, Service},
    daemon::Daemon,
    real::Nginx,
    topology::Lab,
};

use crate::stage::{Way, names};

/// Dropped from the top: no daemon in a lab that is gone.
pub struct Hosted {
    /// The daemon.
    pub daemon: Daemon,
    _servers: Vec<Nginx>,
    /// The network.
    pub lab: Lab,
}

impl Hosted {
    /// With so many backends, and the names and versions of [`Service::shop`].
    pub fn by(way: Way, attach: Attach, backends: u8) -> Result<Self> {
        let lab = way.lab(backends)?;
        let named = lab.backends.iter().zip(names(lab.backends.len()));
        let servers = named
            .map(|(backend, (version, name))| Nginx::start(backend, version, &name, way.port()));
        let servers = servers.collect::<Result<_>>()?;
        let shop = Service::shop(&lab, way.word(), way.port());
        Ok(Self {
            daemon: Daemon::run(&lab, attach, vec![shop])?,
            _servers: servers,
            lab,
        })
    }
}
