//! Serin's config file, as far as the harness writes it. Tests change fields before they start a
//! daemon, or between two `serin apply`.

use std::path::Path;

use serde::Serialize;

use crate::topology::{Backend, Lab, VIP_V4, VIP_V6};

/// The whole file.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// The host.
    pub node: Node,
    /// Where the daemon listens.
    pub api: Api,
    /// What is released.
    pub service: Vec<Service>,
    /// Switches that are turned at run time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub toggle: Vec<toml::Table>,
    /// Who is told of what happens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<toml::Table>,
}

/// `[node]`
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Where to attach.
    pub interfaces: Vec<String>,
    /// `native`, `generic` or `auto`.
    pub attach: Attach,
    /// The key of the hash.
    pub hash_seed: String,
    /// Size of the flow table.
    pub connections: u32,
    /// How many senders of packets that are too big are told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub too_big_per_second: Option<u32>,
    /// Whether pings to a VIP are answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_echo: Option<bool>,
    /// The directory of pins in bpffs.
    pub pins: String,
    /// The state file.
    pub state: String,
    /// Databases of countries and autonomous systems.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub geoip: Vec<String>,
    /// What is kept from all services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect: Option<toml::Table>,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// By the driver.
    Native,
    /// By the kernel's generic hook.
    Generic,
    /// Native where the driver can.
    Auto,
}

/// `[api]`
#[derive(Clone, Debug, Serialize)]
pub struct Api {
    /// The unix socket.
    pub socket: String,
    /// Where it can be read over TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
}

/// `[[service]]`
#[derive(Clone, Debug, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Listeners: `tcp://192.0.2.80:80?to=8080`.
    pub listen: Vec<String>,
    /// `nat`, `l2`, `ipip` or `gue`.
    pub forward: String,
    /// `connection` or `client`.
    pub affinity: String,
    /// `drain` or `cut`.
    pub connections: String,
    /// `stateless` or `session`.
    pub datagram: String,
    /// How long a session may be silent: `30s`.
    pub idle: String,
    /// How long a change lasts: `15m`.
    pub drain: String,
    /// When what has outlasted it is cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_deadline: Option<String>,
    /// The pool that is active at the first start.
    pub active: String,
    /// The versions.
    pub pool: Vec<Pool>,
    /// Clients with an answer of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<toml::Table>,
    /// What a release goes through by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<toml::Table>,
    /// How connection ids tell their server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quic_lb: Option<toml::Table>,
}

/// `[[service.pool]]`
#[derive(Clone, Debug, Serialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its servers.
    pub backends: Vec<PoolBackend>,
}

/// One of `backends`.
#[derive(Clone, Debug, Serialize)]
pub struct PoolBackend {
    /// Its name.
    pub name: String,
    /// Its address and port of each family.
    pub address: Vec<String>,
    /// Its part of the pool's traffic.
    pub weight: u32,
    /// What connection ids tell it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
}

impl Config {
    /// For a daemon on a lab's edge that keeps its files in `directory` and its pins in `pins`.
    pub fn new(lab: &Lab, attach: Attach, directory: &Path, pins: &Path) -> Self {
        let file = |name: &str| directory.join(name).display().to_string();
        Self {
            node: Node {
                interfaces: lab.edge_interfaces.clone(),
                attach,
                hash_seed: "lab".to_owned(),
                connections: 65_536,
                too_big_per_second: None,
                answer_echo: None,
                pins: pins.display().to_string(),
                state: file("state.json"),
                geoip: Vec::new(),
                protect: None,
            },
            api: Api {
                socket: file("serin.sock"),
                http: None,
            },
            service: Vec::new(),
            toggle: Vec::new(),
            notify: Vec::new(),
        }
    }

    /// The text of the file.
    ///
    /// # Panics
    /// Never: every field has a form in TOML.
    pub fn text(&self) -> String {
        toml::to_string(self).expect("plain strings and numbers")
    }
}

impl Service {
    /// A shop with pools `blue` (the first half of the lab's backends, named b1, b2, …) and
    /// `green` (the second half: g1, g2, …), on TCP and UDP port 80 of both VIPs.
    ///
    /// With `nat` the servers listen on `port`; the others can't change a port, so there it is 80.
    pub fn shop(lab: &Lab, forward: &str, port: u16) -> Self {
        let (blue, green) = lab.backends.split_at(lab.backends.len() / 2);
        let address = |backend: &Backend| match forward {
            "nat" => backend.endpoints(port),
            _ => backend.addresses(),
        };
        let pool = |name: &str, letter: char, backends: &[Backend]| Pool {
            name: name.to_owned(),
            backends: (1..)
                .zip(backends)
                .map(|(number, backend)| PoolBackend {
                    name: format!("{letter}{number}"),
                    address: address(backend),
                    weight: 1,
                    server_id: None,
                })
                .collect(),
        };
        Self {
            name: "shop".to_owned(),
            listen: listeners(),
            forward: forward.to_owned(),
            affinity: "connection".to_owned(),
            connections: "drain".to_owned(),
            datagram: "stateless".to_owned(),
            idle: "30s".to_owned(),
            drain: "15m".to_owned(),
            drain_deadline: None,
            active: "blue".to_owned(),
            pool: vec![pool("blue", 'b', blue), pool("green", 'g', green)],
            audience: Vec::new(),
            release: None,
            quic_lb: None,
        }
    }
}

fn listeners() -> Vec<String> {
    ["tcp", "udp"]
        .iter()
        .flat_map(|protocol| {
            [
                format!("{protocol}://{VIP_V4}:80"),
                format!("{protocol}://[{VIP_V6}]:80"),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_tables_of_the_contract() {
        let config = Config {
            node: Node {
                interfaces: vec!["front".to_owned()],
                attach: Attach::Native,
                hash_seed: "lab".to_owned(),
                connections: 1,
                too_big_per_second: None,
                answer_echo: None,
                pins: "/sys/fs/bpf/x".to_owned(),
                state: "/tmp/x/state.json".to_owned(),
                geoip: Vec::new(),
                protect: None,
            },
            api: Api {
                socket: "/tmp/x/serin.sock".to_owned(),
                http: None,
            },
            toggle: Vec::new(),
            notify: Vec::new(),
            service: vec![Service {
                name: "shop".to_owned(),
                listen: listeners(),
                forward: "nat".to_owned(),
                affinity: "connection".to_owned(),
                connections: "drain".to_owned(),
                datagram: "stateless".to_owned(),
                idle: "30s".to_owned(),
                drain: "15m".to_owned(),
                drain_deadline: None,
                active: "blue".to_owned(),
                pool: vec![Pool {
                    name: "blue".to_owned(),
                    backends: vec![PoolBackend {
                        name: "b1".to_owned(),
                        address: vec!["10.72.0.2:8080".to_owned()],
                        weight: 1,
                        server_id: None,
                    }],
                }],
                audience: Vec::new(),
                release: None,
                quic_lb: None,
            }],
        };

        let table: toml::Table = config.text().parse().expect("TOML");

        assert_eq!(table["node"]["attach"].as_str(), Some("native"));
        let shop = &table["service"][0];
        assert_eq!(shop["listen"][3].as_str(), Some("udp://[2001:db8::80]:80"));
        assert_eq!(
            shop["pool"][0]["backends"][0]["weight"].as_integer(),
            Some(1)
        );
    }
}
