//! Where the scenes are played: one lab, one daemon, and servers that are cast anew for each release.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use toml::Table;

use super::scene::{Crowd, Fault, Plan, Scene, usual};
use crate::{
    config::{Attach, Service},
    daemon::Daemon,
    deadline,
    load::{self, Load},
    server::Server,
    topology::{Backend, Lab, VIP_V4, VIP_V6, client_v4},
};

/// Of each pool.
const BACKENDS: usize = 3;
/// Connections a second, of users of each family.
const PER_S: u32 = 800;
/// Longer than a client waits before it sends a SYN again.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Users whom nobody else plays begin here.
const OTHERS: u32 = 20_000;
/// Users behind a gateway: each calls once in five seconds.
const BEHIND: u32 = 5000;
/// All clients, in halves: their route is there already.
const CLIENTS: [&str; 4] = [
    "10.71.0.0/17",
    "10.71.128.0/17",
    "fd71::/49",
    "fd71:0:0:8000::/49",
];

/// How packets come to the backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the edge, both ways.
    Nat,
    /// Through the edge, and past it on their way back.
    L2,
}

impl Way {
    fn lab(self, backends: u8) -> Result<Lab> {
        match self {
            Self::Nat => Lab::routed(backends),
            Self::L2 => Lab::flat(backends),
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Nat => 8080,
            Self::L2 => 80,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::L2 => "l2",
        }
    }
}

/// Dropped from the top: no daemon in a lab that is gone.
pub struct Stage {
    /// The daemon.
    pub daemon: Daemon,
    servers: Vec<Server>,
    way: Way,
    /// The network.
    pub lab: Lab,
}

/// Backends that answer nothing until dropped.
pub(super) struct Silenced<'a>(Vec<&'a Backend>);

impl Stage {
    /// With two pools of three backends each, where all can be seen.
    pub fn set() -> Result<Self> {
        Self::set_in(Way::Nat, Attach::Native)
    }

    /// The same elsewhere.
    pub fn set_in(way: Way, attach: Attach) -> Result<Self> {
        let lab = way.lab(6)?;
        let mut shop = Service::shop(&lab, way.word(), way.port());
        shop.release = Some(Plan::Quarter.release());
        let daemon = Daemon::run(&lab, attach, vec![shop])?;
        Ok(Self {
            daemon,
            servers: Vec::new(),
            way,
            lab,
        })
    }

    /// Has the next release go so.
    pub(super) fn configure(&mut self, release: Table) -> Result<()> {
        let shop = &mut self.daemon.config.service[0];
        if shop.release.as_ref() == Some(&release) {
            return Ok(());
        }
        shop.release = Some(release);
        self.daemon.write_config()?;
        self.daemon.serin(&["apply"]).map(drop)
    }

    /// The name of the pool that is released next, and its backends.
    pub(super) fn candidate(&self) -> Result<(&'static str, &[Backend])> {
        let status = self.daemon.serin(&["status", "shop"])?;
        let (blue, green) = self.lab.backends.split_at(BACKENDS);
        Ok(if status["active"] == "blue" {
            ("green", green)
        } else {
            ("blue", blue)
        })
    }

    /// Starts all servers anew, those of the candidate as the scene has them.
    pub(super) fn cast(&mut self, scene: &Scene, seed: u64) -> Result<()> {
        self.servers.clear();
        let (candidate, _) = self.candidate()?;
        for (number, backend) in self.lab.backends.iter().enumerate() {
            let pool = if number < BACKENDS { "blue" } else { "green" };
            let usual = usual(seed << 8 | number as u64);
            let manner = if pool == candidate {
                scene.manner(number % BACKENDS, usual)
            } else {
                Some(usual)
            };
            if let Some(manner) = manner {
                let name = format!("{}{}", &pool[..1], number % BACKENDS + 1);
                let server = Server::mannered(backend, (pool, &name), self.way.port(), manner)?;
                self.servers.push(server);
            }
        }
        Ok(())
    }

    /// The load that a scene has from its beginning.
    pub(super) fn crowd(&self, scene: &Scene) -> Result<Vec<Load>> {
        match scene.crowd {
            Crowd::Users => [VIP_V4, VIP_V6]
                .into_iter()
                .map(|vip| self.load(vip, PER_S))
                .collect(),
            Crowd::Gateway => Ok(vec![self.gateway(OTHERS)?]),
            Crowd::Nobody => Ok(Vec::new()),
        }
    }

    /// Short connections of users in turn.
    pub(super) fn load(&self, vip: IpAddr, per_s: u32) -> Result<Load> {
        let plan = load::Plan {
            // Each calls once in eight seconds: of latencies a client counts once.
            users: 8 * per_s,
            short_per_s: per_s,
            keep_alive: 0,
            patience: PATIENCE,
            ..load::Plan::thousand(SocketAddr::new(vip, 80))
        };
        Load::start(&self.lab.clients, plan)
    }

    /// Very many connections of one address.
    pub(super) fn gateway(&self, user: u32) -> Result<Load> {
        let plan = load::Plan {
            users: BEHIND,
            first_user: user,
            gateway: true,
            short_per_s: 1000,
            keep_alive: 0,
            patience: PATIENCE,
            ..load::Plan::thousand(SocketAddr::new(VIP_V4, 80))
        };
        Load::start(&self.lab.clients, plan)
    }

    /// A user whom the release under way has drawn for its candidate.
    pub(super) fn drawn(&self, candidate: &str) -> Result<u32> {
        for user in OTHERS..OTHERS + 200 {
            let address = client_v4(user).to_string();
            let told = self.daemon.serin(&["whois", "shop", &address])?;
            if told["way"]["pool"] == candidate {
                return Ok(user);
            }
        }
        anyhow::bail!("of 200 users none is the candidate's")
    }

    /// If the scene wants it, the candidate's backends answer nothing any more.
    pub(super) fn silence(&self, scene: &Scene) -> Result<Silenced<'_>> {
        let mut silenced = Silenced(Vec::new());
        if matches!(scene.fault, Fault::Silent) {
            for backend in self.candidate()?.1 {
                silenced.0.push(backend);
                backend.namespace.ip(&blackholes("add"))?;
            }
        }
        Ok(silenced)
    }

    /// What the daemon says of the release.
    pub(super) fn release(&self) -> Result<Value> {
        Ok(self.daemon.serin(&["status", "shop"])?["release"].take())
    }

    /// `serin explain shop`.
    pub fn explain(&self) -> Result<String> {
        let output = self.daemon.output(&["explain", "shop"])?;
        String::from_utf8(output.stdout).context("`serin explain` wrote no text")
    }

    /// Waits for a state of the release.
    pub(super) fn until(&self, limit: Duration, end: impl Fn(&Value) -> bool) -> Result<Value> {
        let ended = deadline::until("the release's end", limit, || {
            let release = self.release()?;
            Ok(end(&release).then_some(release))
        });
        ended.with_context(|| {
            let told = self.explain().unwrap_or_default();
            format!("{}\n{told}", self.release().unwrap_or_default())
        })
    }
}

/// Orders for nothing to be sent to clients, or for that to end.
fn blackholes(order: &str) -> String {
    let lines = CLIENTS.map(|clients| format!("route {order} blackhole {clients}"));
    lines.join("\n")
}

impl Drop for Silenced<'_> {
    fn drop(&mut self) {
        for backend in &self.0 {
            let restored = backend.namespace.ip(&blackholes("del"));
            if let Err(error) = restored {
                eprintln!("{error:#}");
            }
        }
    }
}

impl Plan {
    pub(super) fn release(self) -> Table {
        let text = match self {
            Self::Quarter => QUARTER,
            Self::Briefly => BRIEFLY,
            Self::Ramp => RAMP,
        };
        text.parse().expect("a table")
    }
}

const QUARTER: &str = "
steps = [{ share = '25%', hold = 'evidence', at_most = '10m' }]
judge = {}";
const BRIEFLY: &str = "
steps = [{ share = '25%', hold = 'evidence', at_most = '1s' }]
judge = {}";
const RAMP: &str = "
steps = [{ share = '5%', hold = '2s' }, { share = '25%', hold = '10m' }]
judge = { min_clients = 20 }";
