//! The model: what DESIGN's sections 2 and 3 say, in plain words of Rust. Of Serin's own code it
//! has the hash functions, and nothing else.
//!
//! It knows no "touched" and no flags, since those are only how the program saves work: a pin that
//! there is, is obeyed; and an origin is the last settled state, kept whole.

mod mapping;
mod pin;
mod service;
mod way;

use std::collections::{BTreeMap, HashMap};

use lb_common::{address::Address, hash, node::Node, pool::SLOTS};

use self::way::Then;
pub use self::{
    mapping::Mapping,
    pin::Pin,
    service::{Manner, Service},
    way::Answer,
};
use super::audience::Marks;

/// No backend.
pub const NONE: u16 = 0;

/// A connection: the client's end, and whose listener it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub service: usize,
    pub client: Address,
    pub port: u16,
    /// All of its packets come by it.
    pub vlan: Option<u16>,
    pub vip: (Address, u16),
    pub protocol: u8,
}

/// The server that a connection id tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    pub backend: u16,
    /// It has left the configuration.
    pub leaving: bool,
}

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Opens,
    /// Opens, or goes on with a handshake: QUIC's.
    Initial,
    GoesOn,
    Closes,
    /// Closes by a reset, which none is answered with.
    Resets,
    Datagram,
}

/// A packet as the model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Met<'a> {
    pub flow: Flow,
    pub role: Role,
    pub marks: Marks,
    /// What its connection id says of its server.
    pub id: Option<&'a [u8]>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    To(u16),
    /// The client is told that there is no connection.
    Reset,
    /// The pool has no backend.
    Empty,
    /// The backend is not there.
    Lost,
}

/// Everything that decides.
pub struct Model {
    pub node: Node,
    pub services: Vec<Service>,
    pub pins: HashMap<Flow, Pin>,
    /// Generation of each backend that is there, by id.
    pub backends: HashMap<u16, u16>,
    /// Who is known by which id, of the service of QUIC.
    pub servers: HashMap<Vec<u8>, Server>,
    /// Packets of each service's audiences, by name.
    pub counted: Vec<BTreeMap<String, u64>>,
}

impl Flow {
    pub const fn is_udp(&self) -> bool {
        self.protocol == lb_common::protocol::UDP
    }
}

impl Role {
    const fn closes(self) -> bool {
        matches!(self, Self::Closes | Self::Resets)
    }

    /// Whether it decides for its connection, or for itself.
    const fn decides(self) -> bool {
        matches!(self, Self::Opens | Self::Initial | Self::Datagram)
    }
}

impl Model {
    /// Services that nobody has come to yet.
    pub fn new(node: Node, services: Vec<Service>) -> Self {
        Self {
            node,
            pins: HashMap::new(),
            backends: HashMap::new(),
            servers: HashMap::new(),
            counted: vec![BTreeMap::new(); services.len()],
            services,
        }
    }

    /// Whether what becomes of a packet is not for the model to say: on a busy machine its pin is older
    /// by the program's clock than by the test's, or was made for another connection of its socket.
    pub fn is_unclear(&self, met: &Met<'_>) -> bool {
        let pin = self.pins.get(&met.flow);
        pin.is_some_and(|pin| {
            pin.is_stale(met.role) || (pin.by_id && self.server(met.id).is_none())
        })
    }

    /// The server that a connection id tells, if that is there.
    fn server(&self, id: Option<&[u8]>) -> Option<Server> {
        let server = self.servers.get(id?).copied();
        server.filter(|server| self.backends.contains_key(&server.backend))
    }

    /// Whether a connection id tells a server that has left the configuration.
    pub fn is_left(&self, id: Option<&[u8]>) -> bool {
        self.server(id).is_some_and(|server| server.leaving)
    }

    /// Lets a packet pass: where it goes, and what pin it leaves.
    pub fn pass(&mut self, met: &Met<'_>, tick: u32) -> Fate {
        let first = met.role.decides().then_some(&met.marks);
        let mut answer = self.answer(&met.flow, first);
        self.count(met.flow.service, answer.audience);
        let server = self.server(met.id);
        if let Some(server) = server {
            answer.current = server.backend;
            answer.origin = server.backend;
            answer.moving = server.leaving;
            if !server.leaving {
                return Fate::To(server.backend);
            }
        }
        let way = self.way(met, &answer, tick);
        self.keep(&met.flow, way, tick);
        if let Some(server) = server {
            if matches!(way.then, Then::Pinned | Then::HalfOpen) {
                let pin = self.pins.get_mut(&met.flow);
                pin.expect("its backend is there").by_id = true;
            }
            // Two connections of one socket may have different servers, and have one pin.
            return Fate::To(server.backend);
        }
        match way.to {
            _ if way.then == Then::Cut => Fate::Reset,
            NONE => Fate::Empty,
            id if self.backends.contains_key(&id) => Fate::To(id),
            _ => Fate::Lost,
        }
    }

    fn count(&mut self, service: usize, audience: Option<usize>) {
        if let Some(audience) = audience {
            let name = &self.services[service].now.audiences[audience].name;
            *self.counted[service].entry(name.clone()).or_default() += 1;
        }
    }

    fn pinned(&mut self, flow: &Flow, role: Role, tick: u32) -> Option<u16> {
        let holds = |pin: &Pin| self.backends.get(&pin.backend) == Some(&pin.generation);
        if let Some(pin) = self.pins.get_mut(flow).filter(|pin| holds(pin)) {
            pin.meet(role, tick);
            return Some(pin.backend);
        }
        self.pins.remove(flow);
        None
    }

    /// The answers for a packet of a flow; `first` is what it shows, if it decides.
    pub fn answer(&self, flow: &Flow, first: Option<&Marks>) -> Answer {
        let service = &self.services[flow.service];
        let client = self.client(flow);
        let slot = hash::place(self.scattered(flow), SLOTS) as usize;
        let now = service.now.judge(flow, client, first);
        let before = service.origin.judge(flow, client, None);
        let current = service.pools[&now.pool].current[slot];
        let here_before = service.pools[&now.pool].origin[slot];
        let origin = service.pools[&before.pool].origin[slot];
        Answer {
            current,
            // Nobody can have come from a pool that had no backend.
            origin: if origin == NONE { current } else { origin },
            audience: now.audience,
            moving: now.pool != before.pool || current != here_before || now.pins,
            opened: now.opened,
        }
    }

    fn client(&self, flow: &Flow) -> u64 {
        self.node.client_hash(&flow.client, !flow.client.is_v4())
    }

    /// The flow's hash, or the client's where that decides.
    pub fn scattered(&self, flow: &Flow) -> u64 {
        if self.services[flow.service].manner.by_client {
            return hash::scatter_client(self.client(flow));
        }
        let ports = (flow.port.to_be_bytes(), flow.vip.1.to_be_bytes());
        let key = self.node.key();
        hash::scatter(key.flow(&flow.client, &flow.vip.0, ports, flow.protocol))
    }
}
