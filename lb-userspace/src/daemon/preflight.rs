//! Whether the host is fit for a configuration, looked at before anything is touched.

use std::{collections::BTreeSet, fs, net::IpAddr};

use thiserror::Error;

use crate::{
    config::{Config, Forward, Service},
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

/// Refuses a host that can't do what the configuration wants. Backends that are `known` already
/// may be out of reach: they were not, when they came.
pub fn check(config: &Config, view: &View, known: &BTreeSet<IpAddr>) -> Result<(), Unfit> {
    for name in &config.node.interfaces {
        if !view.links.contains_key(name) {
            return Err(Unfit::NoInterface(name.clone()));
        }
    }
    for service in &config.services {
        check_forwarding(config, service)?;
        check_reach(service, view, known)?;
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
    if service.forward != Forward::Nat {
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
