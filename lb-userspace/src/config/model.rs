//! What the file means. [`Config::parse`] makes no value that breaks what is said here.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use hyper::Uri;
use ipnet::IpNet;
use lb_common::encap;
use serde::{Deserialize, Serialize};

use super::{
    quic_lb::{Format, ServerId},
    toggle::Toggle,
};
use crate::{journal::Happened, release::engine::Plan};

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What holds for the whole host.
    pub node: Node,
    /// Where the daemon is controlled.
    pub api: Api,
    /// Switches that are turned at run time, in the order of the file.
    pub toggles: Vec<Toggle>,
    /// The services, in the order of the file; none is an empty data plane.
    pub services: Vec<Service>,
    /// Who is told of what happens.
    pub notify: Vec<Notify>,
    /// Where each service is among all, by its name.
    pub(super) places: BTreeMap<String, usize>,
}

/// `[[notify]]`: somebody who is told of what happens, by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Its own, or the host's; each once.
    pub name: String,
    /// With `http` or `https`, and a host.
    pub url: Uri,
    /// Of these alone; none for all.
    pub events: Vec<Happened>,
    /// Of these alone; none for all.
    pub services: Vec<String>,
    /// Where the secrets are that sign a message.
    pub secret_file: Option<PathBuf>,
    /// Those who may vouch for it, instead of the host's.
    pub ca: Option<PathBuf>,
    /// How it is told.
    pub format: NotifyFormat,
}

/// The form of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyFormat {
    /// `CloudEvents` 1.0, structured, as JSON.
    CloudEvents,
    /// What Slack and those that are like it take.
    Slack,
}

/// `[node]`: what holds for the whole host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Interfaces that the program is attached to; at least one, each once.
    pub interfaces: Vec<String>,
    /// Where in the interface's receive path it is attached.
    pub attach: Attach,
    /// Key of all hashes; the same on every host that shares VIPs.
    pub hash_seed: String,
    /// Entries of the flow table.
    pub connections: u32,
    /// What of an address tells clients apart.
    pub client_prefix: ClientPrefix,
    /// Outer headers of encapsulated packets.
    pub encap: Encap,
    /// Answers to packets that are larger than a backend's next hop takes, a second and CPU.
    pub too_big_per_second: u32,
    /// Echo requests to a VIP are answered before the kernel sees them.
    pub answer_echo: bool,
    /// Directory on bpffs for what outlives the daemon.
    pub pins: PathBuf,
    /// The state file.
    pub state: PathBuf,
    /// Databases that tell the country or AS of an address.
    pub geoip: Vec<PathBuf>,
    /// What is kept from all services.
    pub protect: Option<Protect>,
}

/// `[node.protect]`: what is kept from all services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protect {
    /// Sources whose packets are dropped.
    pub deny: Arc<[IpNet]>,
    /// New connections that a source may begin a second, 0 for any number.
    pub syn_per_second: u32,
    /// Those that it may begin at once.
    pub syn_burst: u32,
}

/// Where XDP programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// Native where the driver can, else generic.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the network stack, for any driver.
    Generic,
}

/// Leading bits of a client's address that tell it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPrefix {
    /// Of 32 bits.
    pub v4: u8,
    /// Of 128 bits.
    pub v6: u8,
}

impl Default for ClientPrefix {
    /// An IPv4 address, or the /64 that an IPv6 host chooses its addresses from (RFC 4291).
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

/// Outer headers of encapsulated packets, with `forward = "ipip"` and `"gue"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encap {
    /// Prefix of outer IPv4 sources.
    pub v4: (Ipv4Addr, u8),
    /// Prefix of outer IPv6 sources.
    pub v6: (Ipv6Addr, u8),
    /// Destination port of Generic UDP Encapsulation.
    pub gue_port: u16,
}

impl Default for Encap {
    fn default() -> Self {
        Self {
            v4: encap::SOURCES_V4,
            v6: encap::SOURCES_V6,
            gue_port: encap::GUE_PORT,
        }
    }
}

/// `[api]`: where the daemon is controlled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The unix socket.
    pub socket: PathBuf,
    /// Where the same can be read over TCP, and no order given; nothing for nowhere.
    pub http: Option<SocketAddr>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/serin/serin.sock"),
            http: None,
        }
    }
}

/// `[[service]]`: what is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique in the file.
    pub name: String,
    /// At least one; they cut over together.
    pub listeners: Vec<Listen>,
    /// How packets reach a backend.
    pub forward: Forward,
    /// What chooses the backend inside a pool.
    pub affinity: Affinity,
    /// What becomes of live connections when their answer changes.
    pub connections: Connections,
    /// What a UDP datagram belongs to.
    pub datagram: Datagram,
    /// How the servers' connection ids tell them, on the listeners of QUIC; empty where they don't.
    pub quic_lb: Vec<Format>,
    /// How long a session may be silent, and so how long a change of a service with sessions waits for
    /// those that are there; 1 second to 1 hour.
    pub idle: Duration,
    /// How long a change stands before it settles; 1 second to 24 hours.
    pub drain: Duration,
    /// When, after the last change, connections that are not where new ones would go are cut; no
    /// shorter than `drain`, and never without.
    pub drain_deadline: Option<Duration>,
    /// Name of the pool that serves at the first start; one of `pools`.
    pub active: String,
    /// What becomes of the users of a pool whose backends are all down.
    pub on_dead_pool: OnDeadPool,
    /// At least two, each with a backend of weight above 0.
    pub pools: Vec<Pool>,
    /// At most 32; the first that a client is in answers, before the share.
    pub audiences: Vec<Audience>,
    /// What a release goes through by itself; without, orders alone move users.
    pub release: Option<Plan>,
}

/// `[[service.audience]]`: clients that get an answer of their own. All conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    /// Unique in its service.
    pub name: String,
    /// Prefixes, one of which has the client's address; nothing for any.
    pub sources: Option<Arc<[IpNet]>>,
    /// Where the client's address is.
    pub geography: Geography,
    /// The prefixes that `geography` means, once its databases were read; nothing for any.
    pub located: Option<Arc<[IpNet]>>,
    /// Source ports; empty for any.
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// Code points, a bit each; nothing for any.
    pub dscp: Option<u64>,
    /// VLAN ids; empty for any.
    pub vlan: Vec<RangeInclusive<u16>>,
    /// Announced TCP segment sizes.
    pub mss: Option<RangeInclusive<u16>>,
    /// TTLs or hop limits.
    pub ttl: Option<RangeInclusive<u16>>,
    /// The candidate's share among these clients, in parts per million.
    pub share_ppm: u32,
    /// While this toggle is off, it is not looked at.
    pub toggle: Option<String>,
}

/// Countries and autonomous systems; empty for any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geography {
    /// By the two letters of ISO 3166.
    pub countries: Vec<String>,
    /// By number.
    pub asns: Vec<u32>,
}

impl Geography {
    /// Whether every place will do.
    pub const fn is_anywhere(&self) -> bool {
        self.countries.is_empty() && self.asns.is_empty()
    }
}

/// How packets reach a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// The destination is rewritten, and so is the reply's source.
    Nat,
    /// Only the frame is readdressed; the backend has the VIP and answers the client directly.
    L2,
    /// As `L2`, inside an IP packet to the backend, which may so be anywhere.
    Ipip,
    /// As `Ipip`, inside a UDP datagram.
    Gue,
}

/// What becomes of live connections when their answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// They stay where they are.
    Drain,
    /// They are reset.
    Cut,
}

/// What a UDP datagram belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// To nothing: it takes the new answer.
    Stateless,
    /// To a session with its client's port, which a change does not move.
    Session,
}

/// What chooses the backend inside a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Each connection by itself.
    Connection,
    /// The client, by its [`ClientPrefix`].
    Client,
}

/// What becomes of the users of a pool whose backends are all down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeadPool {
    /// A candidate's go to the active pool, and the active pool's to a candidate that has a share.
    Fallback,
    /// Their packets are dropped, and counted as such.
    Drop,
}

/// A VIP address, port and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The VIP.
    pub address: IpAddr,
    /// The VIP's port, not 0.
    pub port: u16,
    /// Port of the backends that name none, where it is not the listener's.
    pub to: Option<u16>,
    /// The datagrams are QUIC's.
    pub quic: bool,
    /// While this toggle is off, its packets are left to the kernel.
    pub toggle: Option<String>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// `[[service.pool]]`: one version of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Unique in its service.
    pub name: String,
    /// How its backends are checked; without, they are taken for up.
    pub health: Option<Health>,
    /// At least one.
    pub backends: Vec<Backend>,
}

/// `health`: how the backends of a pool are checked, each at all of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked of them.
    pub probe: Probe,
    /// The port, where it is not the one that serves.
    pub port: Option<u16>,
    /// From the start of one check to that of the next; 100 ms to 1 hour.
    pub interval: Duration,
    /// How long a check may take; 10 ms to 1 minute, and no longer than the interval.
    pub timeout: Duration,
    /// Good checks in a row that bring a backend up; 1 to 100.
    pub rise: u32,
    /// Failed checks in a row that take a backend down; 1 to 100.
    pub fall: u32,
    /// The longest time that good checks of a flapping backend are not believed; up to 1 hour, and
    /// 0 where all backends are believed alike.
    pub damping: Duration,
    /// In what time a backend that has come up gets its whole part of the pool; 1 second to 1 hour,
    /// and nothing where it gets it at once.
    pub slow_start: Option<Duration>,
}

/// What a check asks of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// To accept a connection.
    Tcp,
    /// To answer a GET.
    Http(HttpProbe),
    /// To call itself serving (`grpc.health.v1.Health/Check`).
    Grpc(GrpcProbe),
}

/// A GET over HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Path and query.
    pub path: String,
    /// Whom it is for, where that is not the address: `Host`, and the name that TLS asks for.
    pub host: Option<String>,
    /// The answers that are good.
    pub status: Statuses,
    /// With TLS, and how.
    pub tls: Option<Verify>,
}

/// A call over HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcProbe {
    /// The service that is asked for; the server as a whole if it is empty.
    pub service: String,
    /// Whom it is for, where that is not the address: `:authority`, and the name that TLS asks for.
    pub host: Option<String>,
    /// With TLS, and how.
    pub tls: Option<Verify>,
}

/// What is asked of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verify {
    /// Nothing. A check holds no secret, and tells whether a server serves rather than who it is.
    Nothing,
    /// One of the authorities that the host trusts vouches for the name.
    System,
    /// One of the authorities in this PEM file does.
    File(PathBuf),
}

impl Verify {
    /// What is asked of a server that is told a secret, or believed: that these vouch for it, or else
    /// the host's authorities.
    pub fn by(authorities: Option<&PathBuf>) -> Self {
        authorities.map_or(Self::System, |file| Self::File(file.clone()))
    }
}

/// HTTP statuses, as a list of ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(pub Vec<RangeInclusive<u16>>);

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Unique in its service, over all pools.
    pub name: String,
    /// Where it is over IPv4.
    pub v4: Option<Place<Ipv4Addr>>,
    /// Where it is over IPv6.
    pub v6: Option<Place<Ipv6Addr>>,
    /// Its part of the pool, relative to the others'; 0 to 65535.
    pub weight: u32,
    /// What connection ids tell it by: one at least for each format of its service. Unique in its
    /// service, over all pools.
    pub server_ids: Vec<ServerId>,
}

/// An address, and a port where it is not the listener's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<A> {
    /// Unicast, and not the host's own.
    pub address: A,
    /// Not 0.
    pub port: Option<u16>,
}

impl Config {
    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(*self.places.get(name)?)
    }

    /// The same, to change it.
    pub fn service_mut(&mut self, name: &str) -> Option<&mut Service> {
        self.services.get_mut(*self.places.get(name)?)
    }
}

impl Forward {
    /// Whether the destination becomes the backend's own; else the backend has the VIP, answers
    /// clients by itself, and keeps the listener's port.
    pub const fn translates(self) -> bool {
        matches!(self, Self::Nat)
    }
}

impl Service {
    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }
}

impl Pool {
    /// The sum of its backends' weights.
    pub fn weight(&self) -> u64 {
        self.backends.iter().map(|b| u64::from(b.weight)).sum()
    }
}

impl Listen {
    /// The port of backends that name none.
    pub fn backend_port(&self) -> u16 {
        self.to.unwrap_or(self.port)
    }
}

impl Backend {
    /// Its addresses, IPv4 first, with the ports that it names itself.
    pub fn places(&self) -> impl Iterator<Item = Place<IpAddr>> {
        let v4 = self.v4.map(|place| place.map(IpAddr::V4));
        v4.into_iter()
            .chain(self.v6.map(|place| place.map(IpAddr::V6)))
    }

    /// Where connections to `listener` go with `forward = "nat"`; nothing if the backend has no
    /// address of the listener's family.
    pub fn endpoint(&self, listener: &Listen) -> Option<SocketAddr> {
        let place = match listener.address {
            IpAddr::V4(_) => self.v4?.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6?.map(IpAddr::V6),
        };
        let port = place.port.unwrap_or_else(|| listener.backend_port());
        Some(SocketAddr::new(place.address, port))
    }
}

impl Probe {
    /// How it uses TLS, if it does.
    pub const fn tls(&self) -> Option<&Verify> {
        match self {
            Self::Tcp => None,
            Self::Http(http) => http.tls.as_ref(),
            Self::Grpc(grpc) => grpc.tls.as_ref(),
        }
    }
}

impl Statuses {
    /// Whether a status is among them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl Default for Statuses {
    /// What a browser would not call an error.
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls().is_some() { "s" } else { "" };
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Http(http) => write!(f, "http{tls} {}", http.path),
            Self::Grpc(grpc) => write!(f, "{}", format!("grpc{tls} {}", grpc.service).trim_end()),
        }
    }
}

impl<A> Place<A> {
    /// The same place with its address in another type.
    pub fn map<B>(self, convert: impl FnOnce(A) -> B) -> Place<B> {
        Place {
            address: convert(self.address),
            port: self.port,
        }
    }
}

/// Gives an enum's values the words that the file has for them.
macro_rules! words {
    ($kind:ty: $($word:literal = $value:ident),+) => {
        impl $kind {
            /// All values, with the words that the file has for them.
            pub(super) const WORDS: &[(&str, Self)] = &[$(($word, Self::$value)),+];
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$value => $word),+
                })
            }
        }
    };
}

words!(Attach: "auto" = Auto, "native" = Native, "generic" = Generic);
words!(Forward: "nat" = Nat, "l2" = L2, "ipip" = Ipip, "gue" = Gue);
words!(Affinity: "connection" = Connection, "client" = Client);
words!(Connections: "drain" = Drain, "cut" = Cut);
words!(Datagram: "stateless" = Stateless, "session" = Session);
words!(OnDeadPool: "fallback" = Fallback, "drop" = Drop);
words!(Protocol: "tcp" = Tcp, "udp" = Udp);
