//! Whether the host is fit for a configuration, looked at before anything is touched.

use std::{collections::BTreeSet, fs, net::IpAddr};

use thiserror::Error;

use crate::{
    config::{Config, Service},
    health::Trust,
    neighbour::{Reach, View},
};

/// What the host lacks.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// The process may not do what `run` does.
    #[error(
        "`serin run` needs {0}, which this process lacks; run it as root, or give it these \
         capabilities (AmbientCapabilities= in a systemd unit)"
    )]
    NoPrivilege(String),
    /// A configured interface does not exist.
    #[error(
        "interface `{0}`: not found; create it, or correct node.interfaces (`ip link` lists all)"
    )]
    NoInterface(String),
    /// `nat` needs the kernel to look up routes for others.
    #[error(
        "interface `{interface}`: {family} forwarding is off, and service `{service}` \
         forwards by nat; turn it on with `sysctl -w {key}=1`"
    )]
    NoForwarding {
        /// The interface.
        interface: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// A service that needs it.
        service: String,
        /// The setting.
        key: String,
    },
    /// A backend can't be reached.
    #[error(
        "service `{service}`: backend `{backend}` at {address}: {why}; \
         add a route to it, or correct its address (`ip route get {address}` shows the way)"
    )]
    Unreachable {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
        /// Its address.
        address: IpAddr,
        /// What is wrong.
        why: &'static str,
    },
    /// A pool's checks trust nobody.
    #[error("service `{service}`: pool `{pool}`: health: {why}")]
    NoTrust {
        /// The service.
        service: String,
        /// The pool.
        pool: String,
        /// What is wrong.
        why: String,
    },
}

/// By name and number in linux/capability.h. Before Linux 5.8 there was `CAP_SYS_ADMIN` for both
/// of BPF's, and it still stands for them.
const CAPABILITIES: [(&str, u32); 3] =
    [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
const CAP_SYS_ADMIN: u32 = 21;

/// Refuses a process that could not load the program. Looked at first, since without privileges
/// much else fails, and none of it says why.
pub fn check_privileges() -> Result<(), Unfit> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // Where the kernel does not tell, it will refuse by itself.
    let missing = effective(&status).map(missing).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Unfit::NoPrivilege(missing.join(", ")))
}

/// The process's effective capabilities, by proc(5).
fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective & 1 << number != 0;
    let admin_stands_for = |name: &str| name != "CAP_NET_ADMIN" && has(CAP_SYS_ADMIN);
    let missing = CAPABILITIES
        .into_iter()
        .filter(|&(name, number)| !has(number) && !admin_stands_for(name));
    missing.map(|(name, _)| name).collect()
}

/// All backends' addresses.
pub fn addresses(config: &Config) -> BTreeSet<IpAddr> {
    let pools = config.services.iter().flat_map(|service| &service.pools);
    let backends = pools.flat_map(|pool| &pool.backends);
    backends
        .flat_map(|backend| backend.places().map(|place| place.address))
        .collect()
}

/// Refuses interfaces that don't exist and that nobody has seen: at a start all of them, since at
/// boot one may come later than the others; while running those that the configuration in force
/// does not name, since they were just typed.
pub fn check_interfaces(
    config: &Config,
    view: &View,
    in_force: Option<&[String]>,
) -> Result<(), Unfit> {
    let interfaces = &config.node.interfaces;
    let mut missing = interfaces
        .iter()
        .filter(|name| !view.links.contains_key(*name));
    let refused = match in_force {
        Some(known) => missing.find(|name| !known.contains(name)),
        None if interfaces.iter().any(|name| view.links.contains_key(name)) => None,
        None => missing.next(),
    };
    refused.map_or(Ok(()), |name| Err(Unfit::NoInterface(name.clone())))
}

/// Refuses a host that can't do what the configuration wants. Backends that are `known` already
/// may be out of reach: they were not, when they came.
pub fn check(config: &Config, view: &View, known: &BTreeSet<IpAddr>) -> Result<(), Unfit> {
    for service in &config.services {
        check_forwarding(config, service)?;
        check_reach(service, view, known)?;
        check_trust(service)?;
    }
    Ok(())
}

/// Refuses checks whose authorities can't be read: all backends would be down.
fn check_trust(service: &Service) -> Result<(), Unfit> {
    for pool in &service.pools {
        let verify = pool.health.as_ref().and_then(|health| health.probe.tls());
        if let Some(Err(why)) = verify.map(Trust::load) {
            return Err(Unfit::NoTrust {
                service: service.name.clone(),
                pool: pool.name.clone(),
                why: why.to_string(),
            });
        }
    }
    Ok(())
}

/// What is no error, but should be known.
pub fn remarks(config: &Config) -> Vec<String> {
    crate::config::lint(config)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn check_forwarding(config: &Config, service: &Service) -> Result<(), Unfit> {
    if !service.forward.translates() {
        return Ok(());
    }
    for (v6, family, tree) in [(false, "IPv4", "ipv4"), (true, "IPv6", "ipv6")] {
        if !service
            .listeners
            .iter()
            .any(|listener| listener.address.is_ipv6() == v6)
        {
            continue;
        }
        for interface in &config.node.interfaces {
            let path = format!("/proc/sys/net/{tree}/conf/{interface}/forwarding");
            let setting = fs::read_to_string(path).unwrap_or_default();
            if setting.trim() == "0" {
                return Err(Unfit::NoForwarding {
                    interface: interface.clone(),
                    family,
                    service: service.name.clone(),
                    key: format!("net.{tree}.conf.all.forwarding"),
                });
            }
        }
    }
    Ok(())
}

fn check_reach(service: &Service, view: &View, known: &BTreeSet<IpAddr>) -> Result<(), Unfit> {
    let backends = service.pools.iter().flat_map(|pool| &pool.backends);
    for backend in backends {
        let addresses = backend.places().map(|place| place.address);
        for address in addresses.filter(|address| !known.contains(address)) {
            let why = match view.reach.get(&address) {
                Some(Reach::NoRoute) => "no route to it",
                Some(Reach::Local) => "it is this host's own address",
                Some(Reach::Unlisted { .. }) => {
                    "it is routed over an interface that is none of node.interfaces, where native \
                     XDP may lose what it sends: list that one as well, or set attach = \"generic\""
                }
                Some(Reach::Via(_) | Reach::Resolving { .. }) | None => continue,
            };
            return Err(Unfit::Unreachable {
                service: service.name.clone(),
                backend: backend.name.clone(),
                address,
                why,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        neighbour::{Hop, Link},
        state::fixture::SHOP,
    };

    fn config() -> Config {
        // An interface that no host has, so that no host's settings matter.
        Config::parse(&SHOP.replace("eth0", "serin-no-such")).expect("valid")
    }

    /// The interface is there, and every address but one is reached.
    fn view(odd: &str, reach: Reach) -> View {
        let hop = Hop {
            ifindex: 2,
            source_mac: [2; 6],
            next_hop_mac: [4; 6],
            mtu: 1500,
        };
        let addresses = addresses(&config()).into_iter();
        let mut view = View {
            reach: addresses
                .map(|address| (address, Reach::Via(hop)))
                .collect(),
            ..View::default()
        };
        let link = Link {
            ifindex: 2,
            up: true,
            mac: [2; 6],
            mtu: 1500,
        };
        view.links.insert("serin-no-such".to_owned(), link);
        view.reach.insert(odd.parse().expect("an address"), reach);
        view
    }

    fn says(view: &View) -> String {
        let error = check(&config(), view, &BTreeSet::new()).expect_err("unfit");
        error.to_string()
    }

    /// The interface that is refused where only some of two exist.
    fn refused(present: &[&str], in_force: Option<&[&str]>) -> Option<String> {
        let text = SHOP.replace("[\"eth0\"]", "[\"serin-a\", \"serin-b\"]");
        let config = Config::parse(&text).expect("valid");
        let mut view = view("10.0.1.2", Reach::NoRoute);
        let link = view.links["serin-no-such"];
        let present = present.iter().map(|&name| (name.to_owned(), link));
        view.links = present.collect();
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let in_force: Option<Vec<String>> = in_force.map(owned);
        let checked = check_interfaces(&config, &view, in_force.as_deref());
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn a_start_without_any_interface_names_the_first() {
        assert_eq!(
            refused(&[], None).as_deref(),
            Some(
                "interface `serin-a`: not found; create it, or correct node.interfaces (`ip link` \
                 lists all)"
            )
        );
    }

    #[test]
    fn a_start_waits_for_an_interface_where_another_exists() {
        assert_eq!(refused(&["serin-a"], None), None);
        assert_eq!(refused(&["serin-b"], None), None);
    }

    #[test]
    fn an_interface_that_was_just_typed_must_exist_but_one_in_force_may_be_gone() {
        let new = refused(&["serin-a"], Some(&["serin-a"]));
        assert!(new.is_some_and(|said| said.contains("`serin-b`")));
        assert_eq!(refused(&["serin-a"], Some(&["serin-a", "serin-b"])), None);
        assert_eq!(refused(&[], Some(&["serin-a", "serin-b"])), None);
    }

    #[test]
    fn a_backend_out_of_reach_is_named_with_the_reason() {
        for (reach, why) in [
            (Reach::NoRoute, "no route to it"),
            (Reach::Local, "it is this host's own address"),
        ] {
            let said = says(&view("10.0.1.2", reach));
            let expected = format!("service `shop`: backend `b2` at 10.0.1.2: {why}; add a route");
            assert!(said.starts_with(&expected), "{said}");
        }
    }

    #[test]
    fn a_backend_that_does_not_answer_yet_or_was_there_before_is_no_reason_to_refuse() {
        let resolving = view("10.0.1.2", Reach::Resolving { ifindex: 2 });
        assert_eq!(check(&config(), &resolving, &BTreeSet::new()), Ok(()));
        let lost = view("10.0.1.2", Reach::NoRoute);
        assert_eq!(check(&config(), &lost, &addresses(&config())), Ok(()));
    }

    #[test]
    fn capabilities_are_read_as_the_kernel_writes_them() {
        let status = "Name:\tserin\nCapEff:\t000000c000001000\nCapBnd:\t000001ffffffffff\n";
        assert_eq!(effective(status), Some(0xc0_0000_1000));
        assert_eq!(effective("Name:\tserin\n"), None);
        assert_eq!(effective("CapEff:\tnot hexadecimal\n"), None);
    }

    #[test]
    fn missing_capabilities_are_named_and_those_of_old_kernels_count() {
        let none: [&str; 0] = [];
        assert_eq!(missing(0), ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]);
        assert_eq!(missing(0xc0_0000_1000), none);
        assert_eq!(missing(1 << 39), ["CAP_NET_ADMIN", "CAP_PERFMON"]);
        assert_eq!(missing(1 << CAP_SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert_eq!(missing(1 << CAP_SYS_ADMIN | 1 << 12), none);
    }
}
