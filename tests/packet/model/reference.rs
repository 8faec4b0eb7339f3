//! The model: what DESIGN's sections 2 and 3 say, in plain words of Rust. Of Serin's own code it
//! has the hash functions, and nothing else.
//!
//! It knows no "touched" and no flags, since those are only how the program saves work: a pin that
//! there is, is obeyed; and an origin is the last settled state, kept whole.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use lb_common::{address::Address, hash, node::Node, pool::SLOTS};

/// No backend.
pub const NONE: u16 = 0;

/// Which pool a client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    pub active: u32,
    pub candidate: u32,
    pub share_ppm: u32,
    pub salt: u64,
}

/// Owners of a pool's slots, now and at the last settled state.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    pub current: Vec<u16>,
    pub origin: Vec<u16>,
    /// Tick of the last change.
    pub changed: Option<u32>,
}

/// One service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub by_client: bool,
    pub drain_ticks: u32,
    pub now: Mapping,
    pub origin: Mapping,
    /// Tick of the last change of the mapping.
    pub changed: Option<u32>,
    pub pools: BTreeMap<u32, Pool>,
}

/// A connection: the client's end, and whose listener it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub service: usize,
    pub client: Address,
    pub port: u16,
    pub vip: (Address, u16),
    pub protocol: u8,
}

/// A connection stays on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub backend: u16,
    pub generation: u16,
    pub seen: u32,
    pub closing: bool,
    /// Nothing but the connection's first packet was seen.
    pub half_open: bool,
    /// It shows that a server which leaves is needed by the connection that its id tells.
    by_id: bool,
    /// When its last packet came by the machine's clock, which the program goes by.
    met: Instant,
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
    Datagram,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    To(u16),
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
}

/// Old and new answer for a flow.
struct Answer {
    current: u16,
    origin: u16,
    moving: bool,
}

/// A pin whose client has closed stays for so many ticks.
const CLOSING_TICKS: u32 = 56;
/// A pin of a connection of which only the first packet was seen stays for so many.
const HALF_OPEN_TICKS: u32 = 60;
/// A pin is surely one of a handshake that goes on if its last packet came within this time; the
/// program draws the line at 32 s.
const FRESH: Duration = Duration::from_secs(25);

impl Mapping {
    fn pool(&self, client: u64) -> u32 {
        if hash::bucket(client, self.salt) < self.share_ppm {
            self.candidate
        } else {
            self.active
        }
    }

    /// Whether every client gets the same from both.
    fn answers_like(&self, other: &Self) -> bool {
        let only = |mapping: &Self| match mapping.share_ppm {
            0 => Some(mapping.active),
            1_000_000 => Some(mapping.candidate),
            _ => None,
        };
        match (only(self), only(other)) {
            (Some(one), Some(another)) => one == another,
            (None, None) => self == other,
            _ => false,
        }
    }

    fn names(&self, pool: u32) -> bool {
        self.active == pool || self.candidate == pool
    }
}

impl Model {
    /// Whether what becomes of a packet is not for the model to say: on a busy machine its pin is older
    /// by the program's clock than by the test's, or was made for another connection of its socket.
    pub fn is_unclear(&self, flow: &Flow, role: Role, id: Option<&[u8]>) -> bool {
        let old = |pin: &Pin| role == Role::Initial && pin.met.elapsed() > FRESH;
        let pin = self.pins.get(flow);
        pin.is_some_and(|pin| old(pin) || (pin.by_id && self.server(id).is_none()))
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
    pub fn pass(&mut self, flow: Flow, role: Role, id: Option<&[u8]>, tick: u32) -> Fate {
        if let Some(server) = self.server(id) {
            if server.leaving && self.pinned(&flow, role, tick).is_none() {
                self.pin(flow, server.backend, tick, role == Role::Initial);
                let pin = self.pins.get_mut(&flow);
                pin.expect("its backend is there").by_id = true;
            }
            return Fate::To(server.backend);
        }
        let answer = self.answer(&flow);
        let chosen = match role {
            Role::Datagram => answer.current,
            Role::Initial => self.pinned(&flow, role, tick).unwrap_or_else(|| {
                if answer.moving {
                    self.pin(flow, answer.current, tick, true);
                }
                answer.current
            }),
            Role::Opens => {
                self.pins.remove(&flow);
                if answer.moving {
                    self.pin(flow, answer.current, tick, true);
                }
                answer.current
            }
            Role::GoesOn | Role::Closes => self.resume(flow, &answer, role, tick),
        };
        match chosen {
            NONE => Fate::Empty,
            id if self.backends.contains_key(&id) => Fate::To(id),
            _ => Fate::Lost,
        }
    }

    fn resume(&mut self, flow: Flow, answer: &Answer, role: Role, tick: u32) -> u16 {
        if let Some(backend) = self.pinned(&flow, role, tick) {
            return backend;
        }
        // A connection that is over needs no pin.
        if answer.moving && role != Role::Closes {
            self.pin(flow, answer.origin, tick, false);
        }
        answer.origin
    }

    /// The backend that a connection is pinned to; a pin that is void goes.
    fn pinned(&mut self, flow: &Flow, role: Role, tick: u32) -> Option<u16> {
        let holds = |pin: &Pin| self.backends.get(&pin.backend) == Some(&pin.generation);
        if let Some(pin) = self.pins.get_mut(flow).filter(|pin| holds(pin)) {
            (pin.seen, pin.met) = (tick, Instant::now());
            pin.closing |= role == Role::Closes;
            pin.half_open &= matches!(role, Role::Closes | Role::Initial);
            return Some(pin.backend);
        }
        self.pins.remove(flow);
        None
    }

    /// A backend that is not there can't be pinned to.
    fn pin(&mut self, flow: Flow, backend: u16, tick: u32, half_open: bool) {
        if let Some(&generation) = self.backends.get(&backend) {
            let pin = Pin {
                backend,
                generation,
                seen: tick,
                closing: false,
                half_open,
                by_id: false,
                met: Instant::now(),
            };
            self.pins.insert(flow, pin);
        }
    }

    /// The backend of a connection of unknown past.
    pub fn origin(&self, flow: &Flow) -> u16 {
        self.answer(flow).origin
    }

    fn answer(&self, flow: &Flow) -> Answer {
        let service = &self.services[flow.service];
        let client = self.node.client_hash(&flow.client, !flow.client.is_v4());
        let slot = self.slot(flow, client);
        let (pool, before) = (service.now.pool(client), service.origin.pool(client));
        let owner = |owners: &Vec<u16>| owners[slot];
        let current = owner(&service.pools[&pool].current);
        let here_before = owner(&service.pools[&pool].origin);
        let origin = owner(&service.pools[&before].origin);
        Answer {
            current,
            // Nobody can have come from a pool that had no backend.
            origin: if origin == NONE { current } else { origin },
            moving: pool != before || current != here_before,
        }
    }

    fn slot(&self, flow: &Flow, client: u64) -> usize {
        let slot = if self.services[flow.service].by_client {
            hash::client_slot(client, SLOTS)
        } else {
            let ports = (flow.port.to_be_bytes(), flow.vip.1.to_be_bytes());
            let key = self.node.key();
            let hash = key.flow(&flow.client, &flow.vip.0, ports, flow.protocol);
            hash::slot(hash, SLOTS)
        };
        slot as usize
    }

    /// Whether a pin may be taken away: it is void, its connection is over or forgotten, or it says
    /// what would happen anyhow.
    pub fn may_go(&self, flow: &Flow, pin: &Pin, tick: u32) -> bool {
        let service = &self.services[flow.service];
        let idle = tick - pin.seen;
        let forgotten = idle > service.drain_ticks;
        let closed = pin.closing && idle > CLOSING_TICKS.min(service.drain_ticks);
        let unfinished = pin.half_open && idle > HALF_OPEN_TICKS.min(service.drain_ticks);
        let void = self.backends.get(&pin.backend) != Some(&pin.generation);
        let idempotent = service.is_settled() && self.answer(flow).current == pin.backend;
        void || forgotten || closed || unfinished || idempotent
    }
}

impl Service {
    /// Whether nothing is on its way.
    pub fn is_settled(&self) -> bool {
        let resting = |pool: &Pool| pool.current == pool.origin;
        self.now.answers_like(&self.origin) && self.pools.values().all(resting)
    }

    /// New connections go by another mapping; what changes nobody's answer has nothing to settle.
    pub fn release(&mut self, now: Mapping, tick: u32) {
        if now == self.now {
            return;
        }
        self.now = now;
        self.changed = Some(tick);
        if now.answers_like(&self.origin) {
            self.origin = now;
            self.changed = None;
        }
    }

    /// Slots have other owners; a connection has no origin at a backend that is cut.
    pub fn deal(&mut self, pool: u32, owners: Vec<u16>, is_cut: impl Fn(u16) -> bool, tick: u32) {
        let named = self.now.names(pool) || self.origin.names(pool);
        let dealt = self.pools.entry(pool).or_default();
        if dealt.current != owners {
            dealt.current = owners;
            dealt.changed = Some(tick);
        }
        if dealt.origin.len() != dealt.current.len() || !named {
            // Nobody is, or was, sent here.
            dealt.origin.clone_from(&dealt.current);
            return;
        }
        for (origin, &owner) in dealt.origin.iter_mut().zip(&dealt.current) {
            if *origin == NONE || is_cut(*origin) {
                *origin = owner;
            }
        }
    }

    /// The mapping's change has stood for long enough.
    pub fn settle(&mut self, tick: u32) -> Result<(), String> {
        let early = self.early(self.changed, tick);
        (self.origin, self.changed) = (self.now, None);
        early.map_or(Ok(()), |age| Err(format!("settled after {age} ticks")))
    }

    /// A table's change has; that of a pool to which nobody is, or was, sent any more has nothing to
    /// wait for.
    pub fn settle_pool(&mut self, pool: u32, tick: u32) -> Result<(), String> {
        let named = self.now.names(pool) || self.origin.names(pool);
        let pools = &mut self.pools;
        let changed = pools.get(&pool).and_then(|pool| pool.changed);
        let changed = changed.filter(|_| named);
        if let Some(pool) = pools.get_mut(&pool) {
            pool.origin.clone_from(&pool.current);
            pool.changed = None;
        }
        let early = self.early(changed, tick);
        early.map_or(Ok(()), |age| {
            Err(format!("pool {pool} settled after {age} ticks"))
        })
    }

    fn early(&self, changed: Option<u32>, tick: u32) -> Option<u32> {
        let age = tick - changed?;
        (age < self.drain_ticks).then_some(age)
    }
}
