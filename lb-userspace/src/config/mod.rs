//! The configuration file: what may be. The daemon never writes it.
//!
//! `raw` reads the file as it was typed, with the place of every value. `node`, `service`, `pool`
//! and the parsers of single values give it meaning. `clash` and `endpoint` compare what belongs
//! to different services. What comes out is a [`Config`], or every problem of the file at once.

mod address;
mod audience;
mod authority;
mod clash;
mod colours;
mod endpoint;
mod errors;
mod faults;
mod gate;
pub mod geography;
mod health;
mod judge;
pub mod lint;
mod listen;
mod model;
mod node;
mod notify;
pub mod outline;
mod pool;
mod probe;
#[cfg(test)]
mod property;
pub mod quic_lb;
mod raw;
mod release;
#[cfg(test)]
mod samples;
mod service;
mod setting;
mod shape;
pub mod timeline;
mod toggle;

use std::{collections::BTreeSet, fs, path::Path};

use faults::Faults;
use raw::Section;

pub use address::AddressError;
pub use audience::{VLANS, code_points};
pub use clash::Clash;
pub use errors::{ConfigError, Fault, Position, Problem, ValueError};
pub use gate::{GateError, GateFault};
pub use judge::{JudgeFault, Rejudged, rejudged, unseen, visible};
pub use lint::{Finding, lint};
pub use listen::ListenError;
pub use model::{
    Affinity, Api, Attach, Audience, Backend, ClientPrefix, Config, Connections, Datagram, Encap,
    Forward, Geography, GrpcProbe, Health, HttpProbe, Listen, Node, Notify, NotifyFormat,
    OnDeadPool, Place, Pool, Probe, Protect, Protocol, Service, Statuses, Verify,
};
pub use outline::outline;
pub use quic_lb::{Format, ServerId};
pub use release::PlanFault;
pub use setting::SettingError;
pub use toggle::{Guarded, Part, Toggle};

impl Config {
    /// Reads a configuration from its text. The error holds all problems that the text has.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let faults = Faults::new(text);
        let config = Section::root(text, &faults).and_then(|root| root.read(read));
        faults.judge(config)
    }

    /// Reads the configuration file at `path`, and the databases that it names. Fails if one of them
    /// can't be read or has a problem.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError::read(path, error))?;
        let mut config = Self::parse(&text).map_err(|error| error.in_file(path))?;
        geography::locate(&mut config).map_err(|error| ConfigError::from(error).in_file(path))?;
        Ok(config)
    }
}

/// The whole file; nothing only where a problem has been reported.
fn read(root: &mut Section) -> Option<Config> {
    if !root.contains("node") {
        root.refuse(Fault::NoNode);
    }
    let node = root.table("node", node::read).flatten();
    let api = root.table("api", node::read_api).unwrap_or_default();
    let mut names = BTreeSet::new();
    let services = root.tables("service", "service", |section| {
        service::read(section, &mut names)
    });
    let services: Vec<_> = services.into_iter().flatten().flatten().collect();
    let toggles = toggle::read_all(root);
    toggle::check(&toggles, &services, root.faults());
    let notify = notify::read_all(root, &services);
    clash::check(&services, root.faults());
    if let Some(node) = &node {
        check_databases(node, &services, root.faults());
    }
    let places = services.iter().enumerate();
    let places = places.map(|(place, service)| (service.name.clone(), place));
    Some(Config {
        node: node?,
        api,
        places: places.collect(),
        toggles,
        services,
        notify,
    })
}

/// An audience that asks for a place needs a database that tells places.
fn check_databases(node: &Node, services: &[Service], faults: &Faults) {
    let audiences = services
        .iter()
        .flat_map(|service| service.audiences.iter().map(move |a| (service, a)));
    for (service, audience) in audiences {
        if !audience.geography.is_anywhere() && node.geoip.is_empty() {
            let object = format!("service `{}`: audience `{}`", service.name, audience.name);
            faults.of(object, Fault::NoDatabase);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, Ipv6Addr},
        path::PathBuf,
        time::Duration,
    };

    use super::{samples, *};

    #[test]
    fn defaults_fill_what_the_file_leaves_out() {
        let config = Config::parse(&samples::shop("")).expect("valid");
        let service = config.service("shop").expect("there");
        assert_eq!(config.node.attach, Attach::Auto);
        assert_eq!(config.node.connections, 1_048_576);
        assert_eq!(config.node.client_prefix, ClientPrefix { v4: 32, v6: 64 });
        assert_eq!(config.node.encap, Encap::default());
        assert_eq!(config.node.too_big_per_second, 1000);
        assert_eq!(config.node.pins, PathBuf::from("/sys/fs/bpf/serin"));
        assert_eq!(
            config.node.state,
            PathBuf::from("/var/lib/serin/state.json")
        );
        assert_eq!(config.api.socket, PathBuf::from("/run/serin/serin.sock"));
        assert_eq!(service.forward, Forward::Nat);
        assert_eq!(service.affinity, Affinity::Connection);
        assert_eq!(service.drain, Duration::from_mins(15));
        assert_eq!(service.active, "blue");
        assert_eq!(service.on_dead_pool, OnDeadPool::Fallback);
        assert_eq!(service.pools[0].health, None);
        assert_eq!(service.pools[0].backends[0].weight, 100);
    }

    #[test]
    fn every_built_key_is_read() {
        let config = Config::parse(samples::EVERY_KEY).expect("valid");
        let service = config.service("shop").expect("there");
        let backend = &service.pools[1].backends[0];
        assert_eq!(config.node.interfaces, ["eth0", "eth1.100"]);
        assert_eq!(config.node.attach, Attach::Generic);
        assert_eq!(config.node.client_prefix, ClientPrefix { v4: 24, v6: 56 });
        let encap = Encap {
            v4: (Ipv4Addr::new(10, 200, 0, 0), 14),
            v6: (Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 0), 48),
            gue_port: 6081,
        };
        assert_eq!(config.node.encap, encap);
        assert_eq!(config.node.too_big_per_second, 10);
        assert_eq!(config.api.socket, PathBuf::from("/tmp/serin.sock"));
        assert_eq!(config.api.http, "127.0.0.1:9180".parse().ok());
        assert_eq!(service.affinity, Affinity::Client);
        assert_eq!(service.drain, Duration::from_secs(90));
        assert_eq!(service.active, "green");
        assert_eq!(service.on_dead_pool, OnDeadPool::Drop);
        assert!(service.pools[1].health.is_some());
        assert_eq!(service.listeners[0].to, Some(8443));
        assert_eq!((backend.name.as_str(), backend.weight), ("g1", 7));
        let place = backend.v4.expect("an IPv4 address");
        assert_eq!(
            (place.address, place.port),
            (Ipv4Addr::new(10, 0, 2, 11), Some(9443))
        );
        assert!(backend.v6.is_some());
    }

    #[test]
    fn no_service_at_all_is_an_empty_data_plane() {
        let config = Config::parse(samples::NODE).expect("valid");
        assert_eq!(config.services, []);
    }

    #[test]
    fn a_file_without_node_says_what_to_add() {
        samples::refuses("", "the file has no [node]; add it with `interfaces`");
    }

    #[test]
    fn a_node_of_another_type_is_not_also_missing() {
        let text = samples::problems("node = 3");
        assert_eq!(
            text,
            "line 1, column 8: the file gives `node` an integer; it takes a table"
        );
    }

    #[test]
    fn syntax_errors_show_line_and_column() {
        samples::refuses(
            "[node]\ninterfaces = [\"eth0\"\n",
            "line 2, column 21: the file is not TOML: unclosed array",
        );
        samples::refuses("[node]\nattach = auto", "line 2, column 10: ");
    }

    #[test]
    fn all_problems_come_at_once_in_the_order_of_the_file() {
        let text = samples::problems(
            "[node]\ninterfaces = [\"eth0\"]\nhash_sed = \"x\"\nconnections = 5\n\
             [api]\nsocket = 3\n[[service]]\nname = \"a b\"\ndrain = \"soon\"",
        );
        let lines: Vec<_> = text.lines().collect();
        let expected = [
            "line 1, column 1: [node] has no `hash_seed`",
            "line 3, column 1: [node] has the unknown key `hash_sed`",
            "line 4, column 15: [node] sets `connections`",
            "line 6, column 10: [api] gives `socket` an integer",
            "line 7, column 1: service 1 has no listener",
            "line 7, column 1: service 1 has no pool",
            "line 8, column 8: service 1 sets `name` to `a b`",
            "line 9, column 9: service 1 sets `drain` to `soon`",
        ];
        assert_eq!(lines.len(), expected.len(), "{text}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}");
        }
    }

    #[test]
    fn two_services_of_one_name_are_refused() {
        let text = samples::shop("") + &samples::service("shop", 444, 9);
        samples::refuses(
            &text,
            "service `shop` has the name of an earlier service; rename one",
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named_in_the_error() {
        let error = Config::load(Path::new("/nowhere/serin.toml")).expect_err("no such file");
        assert!(error.to_string().starts_with("/nowhere/serin.toml: "));
        assert!(error.problems().is_empty());
    }

    #[test]
    fn a_file_with_a_problem_is_named_on_every_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("serin.toml");
        fs::write(&path, "[node]").expect("written");
        let error = Config::load(&path).expect_err("two keys are missing");
        let text = error.to_string();
        let prefix = format!("{}: line 1, column 1: [node] ", path.display());
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.starts_with(&prefix)), "{text}");
    }
}
