//! From one image to another by single writes, each of which leaves a whole state.
//!
//! A table is never changed in place: the images name another index where its content differs.
//! Make before break: whatever is named exists before it is named (interfaces, backends and their
//! replies, ids of servers, tables, records, listeners), and is named no more before it goes (the same way back).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use lb_common::{
    audience::AudienceSet, listener::Endpoint, maps::TABLES_PER_POOL, protocol, quic_lb::ServerKey,
};

use super::{Image, Write};
use crate::config::ServerId;

/// The writes that turn `from` into `to`, in order.
pub fn plan(from: &Image, to: &Image) -> Vec<Write> {
    let mut writes = Vec::new();
    writes.extend(
        to.ports
            .difference(&from.ports)
            .map(|&port| Write::AddPort(port)),
    );
    set(&mut writes, &from.backends, &to.backends, Write::SetBackend);
    set(&mut writes, &from.replies, &to.replies, Write::SetReply);
    set(&mut writes, &from.servers, &to.servers, Write::SetServer);
    set(&mut writes, &from.tables, &to.tables, Write::SetTable);
    set(&mut writes, &from.blocks, &to.blocks, Write::SetBlock);
    set(
        &mut writes,
        &from.audiences,
        &to.audiences,
        |number, set| Write::SetAudiences(number, Box::new(set)),
    );
    if from.protect != to.protect {
        writes.push(Write::SetProtect(to.protect));
    }
    writes.extend(aside(from, to));
    set(&mut writes, &from.records, &to.records, Write::SetRecord);
    set(
        &mut writes,
        &from.listeners,
        &to.listeners,
        Write::SetListener,
    );

    remove(
        &mut writes,
        &from.listeners,
        &to.listeners,
        Write::RemoveListener,
    );
    remove(&mut writes, &from.records, &to.records, Write::RemoveRecord);
    remove(&mut writes, &from.tables, &to.tables, Write::RemoveTable);
    remove(
        &mut writes,
        &from.audiences,
        &to.audiences,
        Write::RemoveAudiences,
    );
    remove(&mut writes, &from.blocks, &to.blocks, Write::RemoveBlock);
    let gone = &from.audience_numbers() - &to.audience_numbers();
    writes.extend(gone.into_iter().map(Write::ForgetAudience));
    remove(&mut writes, &from.servers, &to.servers, Write::RemoveServer);
    remove(&mut writes, &from.replies, &to.replies, Write::RemoveReply);
    remove(
        &mut writes,
        &from.backends,
        &to.backends,
        Write::RemoveBackend,
    );
    writes.extend(
        from.ports
            .difference(&to.ports)
            .map(|&port| Write::RemovePort(port)),
    );
    writes
}

/// Where several services that run get other records, all of these are written before the first is
/// stored: the stores follow one another as closely as can be.
fn aside(from: &Image, to: &Image) -> Vec<Write> {
    let changed = to.records.iter().filter(|(service, record)| {
        let live = from.records.get(service);
        live.is_some_and(|live| live != *record)
    });
    let puts: Vec<Write> = changed
        .map(|(&service, &record)| Write::PutRecord(service, record))
        .collect();
    if puts.len() < 2 { Vec::new() } else { puts }
}

fn set<K: Ord + Clone, V: PartialEq + Clone>(
    writes: &mut Vec<Write>,
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
    write: impl Fn(K, V) -> Write,
) {
    let changed = to
        .iter()
        .filter(|(key, value)| from.get(key) != Some(value));
    writes.extend(changed.map(|(key, value)| write(key.clone(), value.clone())));
}

fn remove<K: Ord + Clone, V>(
    writes: &mut Vec<Write>,
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
    write: impl Fn(K) -> Write,
) {
    let gone = from.keys().filter(|key| !to.contains_key(key));
    writes.extend(gone.map(|key| write(key.clone())));
}

impl Image {
    /// The numbers of all audiences.
    pub fn audience_numbers(&self) -> BTreeSet<u32> {
        let rules = self.audiences.values().flat_map(AudienceSet::rules);
        rules.map(|rule| rule.number).collect()
    }

    /// The image after one more write.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::AddPort(port) => drop(self.ports.insert(*port)),
            Write::SetBackend(index, backend) => drop(self.backends.insert(*index, *backend)),
            Write::SetReply(endpoint, reply) => drop(self.replies.insert(*endpoint, *reply)),
            Write::SetServer(key, server) => drop(self.servers.insert(*key, *server)),
            Write::SetTable(pool, table) => drop(self.tables.insert(*pool, table.clone())),
            Write::SetBlock(base, block) => drop(self.blocks.insert(*base, block.clone())),
            Write::SetAudiences(number, set) => drop(self.audiences.insert(*number, **set)),
            Write::SetProtect(protect) => self.protect = *protect,
            Write::RemoveAudiences(number) => drop(self.audiences.remove(number)),
            Write::RemoveBlock(base) => drop(self.blocks.remove(base)),
            Write::ForgetAudience(_) | Write::PutRecord(..) => {}
            Write::SetRecord(service, record) => drop(self.records.insert(*service, *record)),
            Write::SetListener(vip, listener) => drop(self.listeners.insert(*vip, *listener)),
            Write::RemoveListener(vip) => drop(self.listeners.remove(vip)),
            Write::RemoveRecord(service) => drop(self.records.remove(service)),
            Write::RemoveTable(pool) => drop(self.tables.remove(pool)),
            Write::RemoveServer(key) => drop(self.servers.remove(key)),
            Write::RemoveReply(endpoint) => drop(self.replies.remove(endpoint)),
            Write::RemoveBackend(index) => drop(self.backends.remove(index)),
            Write::RemovePort(port) => drop(self.ports.remove(port)),
        }
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = |endpoint: &Endpoint| {
            let port = u16::from_be_bytes(endpoint.port());
            let protocol = match endpoint.protocol() {
                protocol::TCP => "tcp",
                protocol::UDP => "udp",
                _ => "icmp",
            };
            let address = IpAddr::from(*endpoint.address());
            if endpoint.is_portless() {
                return format!("{address}, {protocol} without a port");
            }
            format!("{protocol}://{}", SocketAddr::new(address, port))
        };
        match self {
            Self::AddPort(ifindex) => write!(f, "allow sending on interface {ifindex}"),
            Self::SetBackend(index, entry) => {
                write!(
                    f,
                    "set backend {} to {}",
                    index >> 1,
                    IpAddr::from(*entry.address())
                )
            }
            Self::SetReply(from, _) => write!(f, "take replies from {}", place(from)),
            Self::SetServer(key, server) => {
                let backend = server.backend();
                write!(f, "send {} to backend {backend}", told(key))
            }
            Self::SetTable(index, _) => {
                write!(f, "write table {index} of pool {}", index / TABLES_PER_POOL)
            }
            Self::SetBlock(base, block) => {
                write!(
                    f,
                    "write {} words of prefixes at {base}",
                    block.words().len()
                )
            }
            Self::SetAudiences(number, set) => {
                let rules = set.rules().count();
                write!(f, "write set {number} of {rules} audiences")
            }
            Self::SetProtect(Some(_)) => write!(f, "store the protection's settings"),
            Self::SetProtect(None) => write!(f, "turn protection off"),
            Self::RemoveAudiences(number) => write!(f, "retire set {number} of audiences"),
            Self::RemoveBlock(base) => write!(f, "retire the prefixes at {base}"),
            Self::ForgetAudience(number) => write!(f, "clear the counters of audience {number}"),
            Self::PutRecord(service, _) => write!(f, "write record of service {service} aside"),
            Self::SetRecord(service, record) => {
                write!(
                    f,
                    "store record of service {service}, share {} ppm",
                    record.share_ppm
                )
            }
            Self::SetListener(vip, _) => write!(f, "listen on {}", place(vip)),
            Self::RemoveListener(vip) => write!(f, "stop listening on {}", place(vip)),
            Self::RemoveRecord(service) => write!(f, "remove service {service}"),
            Self::RemoveTable(index) => write!(f, "retire table {index}"),
            Self::RemoveServer(key) => write!(f, "no longer know {}", told(key)),
            Self::RemoveReply(from) => write!(f, "stop taking replies from {}", place(from)),
            Self::RemoveBackend(index) => write!(f, "remove backend {}", index >> 1),
            Self::RemovePort(ifindex) => write!(f, "stop sending on interface {ifindex}"),
        }
    }
}

/// What connection ids tell of a server.
fn told(key: &ServerKey) -> String {
    let (octets, length) = key.id();
    let id = ServerId::of(&octets[..length]);
    let (service, rotation) = (key.service(), key.rotation());
    format!("server id {id} of service {service}, rotation {rotation},")
}

#[cfg(test)]
mod tests;
