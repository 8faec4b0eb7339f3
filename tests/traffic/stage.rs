//! What most tests play on: a lab, a server on each backend, and the daemon with a service `shop`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use serde_json::Value;
use serin_tests::{
    config::{Attach, Config, Service},
    daemon::Daemon,
    server::Server,
    syns::SynRecorder,
    topology::{Lab, VIP_V4, VIP_V6, client_v4, client_v6},
};

use crate::{audience::table, report};

/// The service's TCP and UDP endpoint of each family.
pub const VIPS: [SocketAddr; 2] = [SocketAddr::new(VIP_V4, 80), SocketAddr::new(VIP_V6, 80)];

/// Where a daemon that is [watched](Stage::watched) serves what can be read, in the edge's namespace.
pub const HTTP: &str = "127.0.0.1:9180";

/// How packets are forwarded, and in which lab.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// In the routed lab; servers listen on another port than the VIP's.
    Nat,
    /// In the flat lab.
    L2,
    /// In the flat lab; backends run `serin decap`, which the test starts.
    Ipip,
    /// As `Ipip`.
    Gue,
}

impl Way {
    /// The lab that it needs.
    pub fn lab(self, backends: u8) -> Result<Lab> {
        match self {
            Self::Nat => Lab::routed(backends),
            Self::L2 | Self::Ipip | Self::Gue => Lab::flat(backends),
        }
    }

    /// Where servers listen.
    pub const fn port(self) -> u16 {
        match self {
            Self::Nat => 8080,
            Self::L2 | Self::Ipip | Self::Gue => 80,
        }
    }

    /// The word in the config.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
        }
    }
}

/// Blue (b1, b2, …) runs v1 and is active, green (g1, g2, …) runs v2.
///
/// Dropped from the top: no daemon in a lab that is gone.
pub struct Stage {
    /// The daemon.
    pub daemon: Daemon,
    /// By backend; taking one away closes its connections.
    pub servers: Vec<Server>,
    /// The network.
    pub lab: Lab,
}

impl Stage {
    /// With four backends.
    pub fn set(way: Way, attach: Attach) -> Result<Self> {
        Self::with(way, attach, 4, |_| ())
    }

    /// With so many backends, and changes to the service before the daemon starts.
    pub fn with(
        way: Way,
        attach: Attach,
        backends: u8,
        adjust: impl FnOnce(&mut Service),
    ) -> Result<Self> {
        Self::configured(way, attach, backends, |config| {
            adjust(&mut config.service[0]);
        })
    }

    /// With changes to the whole configuration.
    pub fn configured(
        way: Way,
        attach: Attach,
        backends: u8,
        adjust: impl FnOnce(&mut Config),
    ) -> Result<Self> {
        let lab = way.lab(backends)?;
        let servers = serve(&lab, way.port())?;
        let shop = Service::shop(&lab, way.word(), way.port());
        let mut daemon = Daemon::prepare(&lab, attach, vec![shop])?;
        adjust(&mut daemon.config);
        daemon.write_config()?;
        daemon.start(&lab)?;
        Ok(Self {
            daemon,
            servers,
            lab,
        })
    }

    /// With a release that is judged and goes on for long, told at [`HTTP`] as well. It is judged by what
    /// no busy machine makes worse; latencies are measured all the same.
    pub fn watched() -> Result<Self> {
        let signals = vec!["connect", "early-reset", "reset"];
        let step = table([("share", "25%".into()), ("hold", "10m".into())]);
        let release = table([
            ("steps", vec![step].into()),
            ("judge", table([("signals", signals.into())]).into()),
        ]);
        Self::configured(Way::Nat, Attach::Native, 4, |config| {
            config.api.http = Some(HTTP.to_owned());
            config.service[0].release = Some(release);
        })
    }

    /// Runs a command that must succeed.
    pub fn serin(&self, line: &str) -> Result<Value> {
        self.daemon.serin(&words(line))
    }

    /// `serin status shop`.
    pub fn status(&self) -> Result<Value> {
        self.serin("status shop")
    }

    /// Whether a backend, which the status must show, is on its way out.
    pub fn leaving(&self, backend: &str) -> Result<bool> {
        let status = self.status()?;
        let found = report::find(&status, backend).context("no such backend")?;
        Ok(found["leaving"] == true)
    }

    /// Takes the config as it is now.
    pub fn apply(&self) -> Result<Value> {
        self.daemon.write_config()?;
        self.serin("apply")
    }

    /// The service as configured.
    pub fn shop(&mut self) -> &mut Service {
        &mut self.daemon.config.service[0]
    }

    /// Records SYNs at each backend from now on.
    pub fn syns(&self) -> Result<Vec<SynRecorder>> {
        let namespaces = self.lab.backends.iter().map(|backend| &backend.namespace);
        namespaces.map(SynRecorder::start).collect()
    }
}

/// A user's address of the family of `target`.
pub fn user(number: u32, target: SocketAddr) -> IpAddr {
    if target.is_ipv4() {
        client_v4(number)
    } else {
        client_v6(number)
    }
}

/// The words of a command line.
pub fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Version and name of each of so many backends, as in [`Service::shop`].
pub fn names(backends: usize) -> impl Iterator<Item = (&'static str, String)> {
    let half = backends / 2;
    let blue = (1..=half).map(|number| ("v1", format!("b{number}")));
    let green = (1..=backends - half).map(|number| ("v2", format!("g{number}")));
    blue.chain(green)
}

fn serve(lab: &Lab, port: u16) -> Result<Vec<Server>> {
    let named = lab.backends.iter().zip(names(lab.backends.len()));
    let servers =
        named.map(|(backend, (version, name))| Server::start(backend, version, &name, port));
    servers.collect()
}
