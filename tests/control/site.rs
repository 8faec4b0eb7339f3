//! A configuration as data, so that tests can change a part of it and write the whole.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use lb_common::listener::Endpoint;
use lb_userspace::{
    config::{Config, ConfigError, Listen},
    neighbour::{Hop, Link, Reach, View},
    state::compose,
};

/// The only interface.
pub const INTERFACE: &str = "eth0";

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub services: Vec<Service>,
}

/// A service on the VIPs `192.0.2.NUMBER` and `2001:db8::NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub number: u8,
    pub listeners: BTreeSet<Door>,
    /// Lines of its own.
    pub lines: String,
    /// Tables of its own.
    pub tables: String,
    /// How the backends of all its pools are checked; empty for not at all.
    pub health: String,
    pub drain_s: u64,
    pub pools: Vec<Pool>,
}

/// One of the listeners that a service may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    V4,
    V6,
    Second,
    /// Guarded by the toggle `door`: not always there.
    Guarded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    pub backends: Vec<Backend>,
}

/// A server with an address of each family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub number: u8,
    /// Another place has other addresses.
    pub place: u8,
    pub weight: u32,
}

impl Site {
    /// Services with these pools, each of so many backends: `&[&[2, 1]]` is one service, with a
    /// pool of two backends and one of one.
    pub fn new(services: &[&[u8]]) -> Self {
        let services = (0..).zip(services);
        Self {
            services: services.map(|(n, pools)| Service::new(n, pools)).collect(),
        }
    }

    /// The file's text.
    pub fn text(&self, directory: &Path) -> String {
        let at = directory.display();
        let mut text = format!(
            "[node]\ninterfaces = [\"{INTERFACE}\"]\nhash_seed = \"sixteen-or-longer\"\n\
             connections = 1024\npins = \"/sys/fs/bpf/serin-none\"\nstate = \"{at}/state.json\"\n\
             [api]\nsocket = \"{at}/serin.sock\"\n"
        );
        for service in &self.services {
            service.write(&mut text);
        }
        text
    }

    /// What the file means.
    pub fn config(&self, directory: &Path) -> Result<Config, ConfigError> {
        Config::parse(&self.text(directory))
    }

    /// All VIPs.
    pub fn endpoints(&self) -> BTreeSet<Endpoint> {
        self.services.iter().flat_map(Service::endpoints).collect()
    }
}

impl Service {
    pub fn new(number: u8, pools: &[u8]) -> Self {
        let mut next = 0..;
        let pools = (0..).zip(pools).map(|(pool, &count): (u8, _)| Pool {
            name: format!("p{pool}"),
            backends: (&mut next)
                .take(count.into())
                .map(|number| Backend {
                    number,
                    place: 0,
                    weight: 100,
                })
                .collect(),
        });
        Self {
            number,
            listeners: [Door::V4, Door::V6].into(),
            lines: String::new(),
            tables: String::new(),
            health: String::new(),
            drain_s: 5,
            pools: pools.collect(),
        }
    }

    pub fn name(&self) -> String {
        format!("s{}", self.number)
    }

    /// All VIPs that are always there.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let doors = self.listeners.iter().filter(|&&door| door != Door::Guarded);
        doors.map(|door| door.endpoint(self.number)).collect()
    }

    /// Addresses of a backend, by its number.
    pub fn addresses(&self, number: u8) -> Vec<IpAddr> {
        let backends = self.pools.iter().flat_map(|pool| &pool.backends);
        let found = backends.filter(|backend| backend.number == number);
        found
            .flat_map(|backend| backend.addresses(self.number))
            .collect()
    }

    fn write(&self, text: &mut String) {
        let doors = self.listeners.iter();
        let listeners: Vec<String> = doors.map(|door| door.text(self.number)).collect();
        writeln!(
            text,
            "[[service]]\nname = \"{}\"\nlisten = {listeners:?}\ndrain = \"{}s\"\n{}",
            self.name(),
            self.drain_s,
            self.lines
        )
        .expect("a string takes everything");
        for pool in &self.pools {
            pool.write(text, self.number, &self.health);
        }
        text.push_str(&self.tables);
    }
}

impl Pool {
    fn write(&self, text: &mut String, service: u8, health: &str) {
        let backends = self.backends.iter().map(|backend| {
            let addresses = backend
                .addresses(service)
                .map(|address| address.to_string());
            format!(
                "{{ name = \"b{}\", address = {addresses:?}, weight = {} }}",
                backend.number, backend.weight
            )
        });
        let backends: Vec<String> = backends.collect();
        writeln!(
            text,
            "[[service.pool]]\nname = \"{}\"\nbackends = [{}]",
            self.name,
            backends.join(", ")
        )
        .and_then(|()| match health {
            "" => Ok(()),
            health => writeln!(text, "health = {{ {health} }}"),
        })
        .expect("a string takes everything");
    }
}

impl Backend {
    fn addresses(&self, service: u8) -> [IpAddr; 2] {
        let host = self.number + 1;
        let v6 = [0xfd00, service.into(), self.place.into(), 0, 0, 0, 0];
        let mut segments = [0; 8];
        segments[..7].copy_from_slice(&v6);
        segments[7] = host.into();
        [
            Ipv4Addr::new(10, service, self.place, host).into(),
            Ipv6Addr::from(segments).into(),
        ]
    }
}

impl Door {
    pub const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Second];

    fn text(self, service: u8) -> String {
        match self {
            Self::V4 => format!("tcp://192.0.2.{service}:443"),
            Self::V6 => format!("tcp://[2001:db8::{service}]:443"),
            Self::Second => format!("tcp://192.0.2.{service}:80"),
            Self::Guarded => format!("tcp://192.0.2.{service}:25?toggle=door"),
        }
    }

    /// The VIP's key in the maps.
    pub fn endpoint(self, service: u8) -> Endpoint {
        let listen: Listen = self.text(service).parse().expect("a listener");
        compose::endpoint(&listen)
    }
}

/// Next hops for all of these addresses.
pub fn view(addresses: &BTreeSet<IpAddr>) -> View {
    let hop = Hop {
        ifindex: 2,
        source_mac: [2, 0, 0, 0, 0, 1],
        next_hop_mac: [2, 0, 0, 0, 0, 2],
        mtu: 1500,
    };
    let link = Link {
        ifindex: 2,
        up: true,
        mac: hop.source_mac,
        mtu: 1500,
    };
    let reach = addresses.iter().map(|&address| (address, Reach::Via(hop)));
    View {
        reach: reach.collect(),
        links: [(INTERFACE.to_owned(), link)].into(),
    }
}
