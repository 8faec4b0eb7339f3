//! A service through its changes: who owns which slot, and what has settled.

use std::collections::BTreeMap;

use super::{Mapping, NONE};

/// What its configuration says of a service.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    pub by_client: bool,
    /// Connections that a change moves are cut.
    pub cuts: bool,
    /// Datagrams belong to sessions.
    pub sessions: bool,
    /// Ticks that a change stands before it settles.
    pub drain: u32,
    /// Ticks for which a session may be silent.
    pub idle: u32,
    /// Ticks after the last change at whose end older connections are cut, if there is such an end.
    pub deadline: Option<u32>,
}

/// Owners of a pool's slots, now and at the last settled state.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    pub current: Vec<u16>,
    pub origin: Vec<u16>,
    /// Tick of the last change.
    changed: Option<u32>,
}

/// One service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub manner: Manner,
    pub now: Mapping,
    pub origin: Mapping,
    /// Tick of the last change of the mapping that has not settled.
    changed: Option<u32>,
    /// Tick of the last change of all.
    last_change: Option<u32>,
    /// The sessions that are there are being pinned, for an order that waits.
    pub arming: bool,
    /// The deadline of the last change is over.
    pub overdue: bool,
    pub pools: BTreeMap<u32, Pool>,
}

impl Service {
    /// A service at rest.
    pub fn at_rest(manner: Manner, now: Mapping) -> Self {
        Self {
            manner,
            origin: now.clone(),
            now,
            ..Self::default()
        }
    }

    /// Whether nothing is on its way.
    pub fn is_settled(&self) -> bool {
        let resting = |pool: &Pool| pool.current == pool.origin;
        self.now.answers_like(&self.origin) && self.pools.values().all(resting)
    }

    /// Whether connections that are not where new ones go are reset.
    pub const fn cuts(&self) -> bool {
        self.manner.cuts || self.overdue
    }

    /// Whether packets may go by a pool's slots.
    fn names(&self, pool: u32) -> bool {
        self.now.names(pool) || self.origin.names(pool)
    }

    /// New connections go by another mapping; what changes nobody's answer has nothing to settle.
    pub fn release(&mut self, now: Mapping, tick: u32) {
        if now == self.now {
            return;
        }
        self.now = now;
        self.begin(tick);
        self.changed = Some(tick);
        if self.now.answers_like(&self.origin) {
            self.origin = self.now.clone();
            self.changed = None;
        }
    }

    /// Slots have other owners; a connection has no origin at a backend that is cut.
    pub fn deal(&mut self, pool: u32, owners: &[u16], is_cut: impl Fn(u16) -> bool, tick: u32) {
        let named = self.names(pool);
        let dealt = self.pools.entry(pool).or_default();
        let is_new = dealt.origin.len() != owners.len();
        let before = dealt.clone();
        dealt.current = owners.to_vec();
        if is_new || !named {
            // Nobody is, or was, sent here.
            dealt.origin.clone_from(&dealt.current);
            dealt.changed = None;
            return;
        }
        for (origin, &owner) in dealt.origin.iter_mut().zip(owners) {
            if *origin == NONE || is_cut(*origin) {
                *origin = owner;
            }
        }
        if (&before.current, &before.origin) != (&dealt.current, &dealt.origin) {
            dealt.changed = Some(tick);
            self.begin(tick);
        }
    }

    /// A change gives all connections its own time.
    const fn begin(&mut self, tick: u32) {
        self.last_change = Some(tick);
        self.overdue = false;
    }

    /// The mapping's change is said to have settled.
    pub fn settle(&mut self, tick: u32) -> Result<(), String> {
        let age = self.changed.map(|changed| tick - changed);
        let early = age.filter(|&age| age < self.manner.drain);
        (self.origin, self.changed) = (self.now.clone(), None);
        early.map_or(Ok(()), |age| Err(format!("settled after {age} ticks")))
    }

    /// A table's change is said to have; that of a pool to which nobody is, or was, sent any more has
    /// nothing to wait for.
    pub fn settle_pool(&mut self, pool: u32, tick: u32) -> Result<(), String> {
        let named = self.names(pool);
        let Some(settled) = self.pools.get_mut(&pool).filter(|pool| !pool.rests()) else {
            return Ok(());
        };
        let age = settled.changed.map(|changed| tick - changed);
        settled.origin.clone_from(&settled.current);
        settled.changed = None;
        match age.filter(|&age| named && age < self.manner.drain) {
            Some(age) => Err(format!("pool {pool} settled after {age} ticks")),
            None => Ok(()),
        }
    }

    /// What should have settled by now, and has not.
    pub fn late(&self, tick: u32) -> Result<(), String> {
        let is_late =
            |changed: Option<u32>| changed.is_some_and(|at| tick - at >= self.manner.drain);
        if is_late(self.changed) {
            return Err(format!("has not settled: {:?}", self.changed));
        }
        let mut pools = self.pools.iter();
        let late = pools.find(|(_, pool)| !pool.rests() && is_late(pool.changed));
        late.map_or(Ok(()), |(id, pool)| {
            Err(format!("pool {id} has not settled: {:?}", pool.changed))
        })
    }

    /// No connection of before the last change is left.
    pub const fn forget(&mut self) {
        self.last_change = None;
    }

    /// Whether the time that connections had after the last change is over.
    pub fn is_overdue(&self, tick: u32) -> bool {
        let since = self.last_change.map(|at| tick - at);
        self.manner
            .deadline
            .zip(since)
            .is_some_and(|(deadline, since)| since > deadline)
    }
}

impl Pool {
    fn rests(&self) -> bool {
        self.current == self.origin
    }
}
