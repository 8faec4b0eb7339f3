//! Where we are: what the configuration leaves open, what commands have changed, and which
//! numbers stand for which names. Kept in one file over restarts.

mod audiences;
pub mod compose;
mod endpoints;
mod error;
mod file;
#[cfg(test)]
pub(crate) mod fixture;
mod health;
mod ids;
mod listeners;
mod pending;
pub mod portless;
mod protect;
mod reconcile;
mod server_ids;
pub mod slow_start;
mod sound;
mod space;
mod toggles;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::audience::AudienceSet;
use serde::{Deserialize, Deserializer, Serialize};

pub use self::{
    audiences::{Audiences, Compiled},
    error::StateError,
    file::{FileError, StateFile},
    pending::{Ended, Order, Pending},
    protect::Kept,
    reconcile::reconcile,
    slow_start::SlowStart,
    sound::Unsound,
    toggles::{ToggleState, Turned},
};
use crate::{
    config::{Backend, Forward, Place, ServerId},
    dataplane::maglev::{self, Share},
    journal::Entry,
    release::{PoolTable, Position},
    seed::Seed,
};

/// The runtime state of all services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// By name.
    pub services: BTreeMap<String, ServiceState>,
    /// The generation given out last; tells backends apart that had the same id one after another.
    pub generation: u16,
    /// Numbers of listeners that are gone: not given out again until a sweep has removed the pins
    /// that name them.
    pub retired: BTreeSet<u16>,
    /// Services that this state moves all or none: where a crash came between their records' stores,
    /// the next start makes those that are left.
    #[serde(default)]
    pub together: BTreeSet<String>,
    /// By name: those that the configuration has.
    #[serde(default)]
    pub toggles: BTreeMap<String, ToggleState>,
    /// What the audit log has to be told of how this state came to be. It may have been since: the
    /// entries' numbers say so.
    #[serde(default)]
    pub outbox: Vec<Entry>,
    /// All pools' slots have been dealt by what is said of their backends. A file does not know what
    /// the maps hold.
    #[serde(skip)]
    pub dealt: bool,
    /// What is kept from all services. The kernel's pinned maps are where it is kept over a restart.
    #[serde(skip)]
    pub protect: Option<Kept>,
}

/// The runtime state of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Its number in the maps.
    pub id: u32,
    /// How packets reach a backend; can't change while connections live.
    #[serde(alias = "l2", deserialize_with = "forward_or_l2")]
    pub forward: Forward,
    /// The client chooses the backend, not the connection; can't change either.
    pub by_client: bool,
    /// Users of a pool whose backends are all down go to another one; else they are dropped.
    #[serde(default = "yes")]
    pub falls_back: bool,
    /// Where the release stands.
    pub position: Position,
    /// Where it stood one record earlier: there it still stands if a crash came between saving
    /// `position` and storing its record.
    pub before: Option<Position>,
    /// The order that waits until the sessions that are there have been pinned.
    #[serde(default)]
    pub pending: Option<Pending>,
    /// How the last order that waited so has ended.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// Tick of the last change, as long as pins of it may be left.
    #[serde(default)]
    pub last_change: Option<u32>,
    /// Connections that were still alive, and not where new ones go, at the end of a drain's deadline.
    #[serde(default)]
    pub cut: u64,
    /// Connections that outlasted a change and were silent for its whole drain, so that their pins were
    /// removed.
    #[serde(default)]
    pub orphaned: u64,
    /// Numbers of the listeners, by their text in the configuration.
    pub listeners: BTreeMap<String, u16>,
    /// By name.
    pub pools: BTreeMap<String, PoolState>,
    /// By id; also those that have left the configuration but still have connections.
    pub backends: BTreeMap<u16, BackendState>,
    /// Its audiences.
    #[serde(default)]
    pub audiences: Audiences,
    /// Connections by backend at the last change of the mapping, to measure the share since.
    pub baseline: BTreeMap<u16, u64>,
}

/// The runtime state of one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolState {
    /// Its number in the maps.
    pub id: u32,
    /// Its table.
    pub table: PoolTable,
}

/// The runtime state of one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendState {
    /// Unique among those that have not left.
    pub name: String,
    /// Name of its pool.
    pub pool: String,
    /// Pins carry it; a pin of another generation is void.
    pub generation: u16,
    /// Where it is.
    pub places: Vec<(IpAddr, Option<u16>)>,
    /// The configured weight.
    pub configured_weight: u32,
    /// A weight set by command, until the configured one changes.
    pub weight: Option<u32>,
    /// What its operator wants of it.
    pub admin: Admin,
    /// Whether its checks pass; it does until they have failed, and without checks always.
    #[serde(default = "yes")]
    pub up: bool,
    /// Since it came up, where its pool wants that to be gentle.
    #[serde(default)]
    pub slow_start: Option<SlowStart>,
    /// In `maint` or down: the pins of its connections are void.
    pub voided: bool,
    /// Gone from the configuration; stays until its last connection ends.
    pub leaving: bool,
    /// The tick at which it left.
    #[serde(default)]
    pub left: Option<u32>,
    /// What connection ids tell it by.
    #[serde(default)]
    pub server_ids: Vec<ServerId>,
}

/// A backend's administrative state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admin {
    /// Serves.
    #[default]
    Ready,
    /// No new connections; live ones stay.
    Drain,
    /// Nothing at all; live connections are cut.
    Maint,
}

impl std::fmt::Display for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        })
    }
}

impl State {
    /// A service by name.
    pub fn service(&self, name: &str) -> Result<&ServiceState, StateError> {
        self.services
            .get(name)
            .ok_or_else(|| StateError::NoService(name.to_owned()))
    }

    /// Numbers of the sets of audiences that the positions name.
    pub fn audience_sets(&self) -> BTreeSet<u32> {
        let positions = self.services.values().map(|service| &service.position);
        positions.flat_map(Position::audience_sets).collect()
    }

    /// A service by name, to change it.
    pub fn service_mut(&mut self, name: &str) -> Result<&mut ServiceState, StateError> {
        self.services
            .get_mut(name)
            .ok_or_else(|| StateError::NoService(name.to_owned()))
    }

    /// Voids the pins of backends in `maint` or down. Only once no packet goes by a table that still names
    /// such a backend: it would make another pin.
    pub fn void_pins(&mut self) {
        let services = self.services.values_mut();
        let backends = services.flat_map(|service| service.backends.values_mut());
        for backend in backends.filter(|b| b.is_to_be_voided()) {
            let void = backend.generation;
            while backend.generation == void {
                backend.generation = next_generation(&mut self.generation);
            }
            backend.voided = true;
        }
    }
}

const fn yes() -> bool {
    true
}

/// State files used to say only whether it is `l2`.
fn forward_or_l2<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Forward, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Forward(Forward),
        L2(bool),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Forward(forward) => forward,
        Either::L2(true) => Forward::L2,
        Either::L2(false) => Forward::Nat,
    })
}

/// A generation for one more backend; it comes again after 65 535 others.
fn next_generation(last: &mut u16) -> u16 {
    *last = last.checked_add(1).unwrap_or(1);
    *last
}

impl ServiceState {
    /// Whether it has a pool with this id.
    pub fn has_pool(&self, id: u32) -> bool {
        self.pools.values().any(|pool| pool.id == id)
    }

    /// Name of the pool with this id.
    pub fn pool_name(&self, id: u32) -> &str {
        let found = self.pools.iter().find(|(_, pool)| pool.id == id);
        found.map_or("?", |(name, _)| name)
    }

    /// The backends of a pool that have not left, with their ids.
    pub fn members(&self, pool: &str) -> impl Iterator<Item = (u16, &BackendState)> {
        let members = self
            .backends
            .iter()
            .filter(move |(_, b)| b.pool == pool && !b.leaving);
        members.map(|(&id, backend)| (id, backend))
    }

    /// A backend that has not left, to change it.
    pub fn backend_mut(&mut self, name: &str) -> Option<&mut BackendState> {
        let mut backends = self.backends.values_mut();
        backends.find(|backend| backend.name == name && !backend.leaving)
    }

    /// Whether a pool has a backend that may take connections.
    pub fn can_serve(&self, pool: &str) -> bool {
        self.members(pool)
            .any(|(_, backend)| backend.takes_connections())
    }

    /// The owners of a pool's slots, by weights and states.
    pub fn owners(&self, pool: &str, seed: &Seed) -> Vec<u16> {
        let pool = self.stand_in(pool).unwrap_or(pool);
        let whole = self.dealt(pool, seed, BackendState::takes_connections);
        if !self.is_starting(pool) || !self.has_steady(pool) {
            return whole;
        }
        // A slot that a starting backend does not have yet is where it would be without it.
        let steady = |b: &BackendState| b.takes_connections() && b.slow_start.is_none();
        let mut slots = self.dealt(pool, seed, steady);
        for (slot, (owner, whole)) in slots.iter_mut().zip(whole).enumerate() {
            let starting = self.backends.get(&whole).and_then(|b| b.slow_start);
            if starting.is_some_and(|slow_start| slow_start.has(slot)) {
                *owner = whole;
            }
        }
        slots
    }

    /// The slots, dealt among those backends of a pool that `serve`.
    fn dealt(&self, pool: &str, seed: &Seed, serve: impl Fn(&BackendState) -> bool) -> Vec<u16> {
        let mut members: Vec<_> = self.members(pool).collect();
        // Hosts that share VIPs must agree, whatever ids they have given out.
        members.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        let shares: Vec<Share> = members
            .iter()
            .map(|(_, b)| Share {
                hashes: seed.permutation(&b.name),
                weight: b.weight(),
            })
            .collect();
        let up: Vec<bool> = members.iter().map(|(_, b)| serve(b)).collect();
        let owner = |slot: Option<usize>| slot.map_or(lb_common::backend::NONE, |i| members[i].0);
        maglev::build(&shares, &up).into_iter().map(owner).collect()
    }

    /// Deals a pool's slots anew; live connections stay, but for those of backends in `maint` or
    /// down.
    pub fn reassign(&mut self, pool: &str, seed: &Seed, tick: u32) {
        self.deal(pool, seed, tick);
        self.reassign_dead(seed, tick);
    }

    fn deal(&mut self, pool: &str, seed: &Seed, tick: u32) {
        let owners = self.owners(pool, seed);
        let backends = &self.backends;
        let cut = |id: u16| backends.get(&id).is_none_or(BackendState::is_cut);
        let table = self
            .pools
            .get(pool)
            .map(|state| state.table.reassigned(&owners, &cut, tick));
        if let (Some(table), Some(state)) = (table, self.pools.get_mut(pool)) {
            // Also where it takes back what has moved connections.
            if self.position.names(state.id) && table.slots() != state.table.slots() {
                self.last_change = self.last_change.max(Some(tick));
            }
            state.table = table;
        }
    }

    /// Whether something is on its way to being settled.
    pub fn is_moving(&self) -> bool {
        self.position.is_moving() || self.pools.values().any(|pool| pool.table.is_moving())
    }

    /// Whether pins may exist.
    pub fn is_touched(&self) -> bool {
        self.position.touched_ppm > 0
            || self.pins_at_rest()
            || self.pools.values().any(|pool| pool.table.is_touched())
    }
}

impl ServiceState {
    /// Whether connections are pinned whatever the release does: an audience has a condition that
    /// only first packets meet.
    pub fn pins_at_rest(&self) -> bool {
        self.named_sets().any(AudienceSet::pins)
    }

    /// All conditions of the audiences, see [`lb_common::audience::condition`].
    pub fn conditions(&self) -> u32 {
        self.named_sets().fold(0, |all, set| all | set.conditions())
    }

    /// The sets of audiences that the record names.
    fn named_sets(&self) -> impl Iterator<Item = &AudienceSet> {
        let named = self.position.audience_sets().into_iter();
        named.filter_map(|number| Some(&self.audiences.sets.get(&number)?.set))
    }
}

impl BackendState {
    /// A backend as configured.
    pub fn new(backend: &Backend, pool: &str, generation: u16) -> Self {
        Self {
            name: backend.name.clone(),
            pool: pool.to_owned(),
            generation,
            places: places(backend),
            configured_weight: backend.weight,
            weight: None,
            admin: Admin::Ready,
            up: true,
            slow_start: None,
            voided: false,
            leaving: false,
            left: None,
            server_ids: backend.server_ids.clone(),
        }
    }

    /// Whether pins of its connections are to be made void, and are not yet.
    pub fn is_to_be_voided(&self) -> bool {
        self.is_cut() && !self.voided
    }

    /// Whether it has left too lately to know who is still on it: connections whose ids tell their
    /// server had no pins until it left.
    pub fn is_awaited(&self, drain: u32, tick: u32) -> bool {
        let told = !self.server_ids.is_empty();
        told && self.left.is_some_and(|at| tick.saturating_sub(at) < drain)
    }

    /// Takes it out of the configuration.
    pub fn leave(&mut self, tick: u32) {
        self.leaving = true;
        self.left = Some(tick);
    }

    /// The weight that is asked of it: by command, or else by the configuration.
    pub fn weight(&self) -> u32 {
        self.weight.unwrap_or(self.configured_weight)
    }

    /// Whether it may be given new connections.
    pub fn takes_connections(&self) -> bool {
        self.is_wanted() && self.up
    }
}

/// A backend's addresses, each with the port that it names itself.
pub fn places(backend: &Backend) -> Vec<(IpAddr, Option<u16>)> {
    backend
        .places()
        .map(|Place { address, port }| (address, port))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_comes_again_only_after_all_the_others() {
        let mut last = 0;
        let given: BTreeSet<u16> = (0..65_535).map(|_| next_generation(&mut last)).collect();
        assert_eq!(
            (given.len(), given.first(), next_generation(&mut last)),
            (65_535, Some(&1), 1)
        );
    }

    #[test]
    fn pins_of_a_backend_in_maint_are_voided_once() {
        let mut fixture = fixture::Fixture::new(fixture::SHOP);
        let state = &mut fixture.state;
        let generations = |state: &State| -> Vec<u16> {
            state.services["shop"]
                .backends
                .values()
                .map(|b| b.generation)
                .collect()
        };
        state
            .services
            .get_mut("shop")
            .and_then(|s| s.backend_mut("b1"))
            .expect("b1")
            .admin = Admin::Maint;
        state.generation = 65_535;
        state.void_pins();
        // The generation after the last is the first, which b1 has.
        assert_eq!(generations(state), [2, 2, 3]);
        state.void_pins();
        assert_eq!(generations(state), [2, 2, 3]);
    }

    #[test]
    fn hosts_deal_slots_alike_whatever_numbers_they_have_given_out() {
        let here = fixture::Fixture::new(fixture::SHOP);
        let mut there = fixture::Fixture::new(fixture::SHOP);
        let shop = there.service_mut("shop");
        let (b1, b2) = (shop.backends[&1].clone(), shop.backends[&2].clone());
        shop.backends.extend([(1, b2), (2, b1)]);
        let seed = Seed::new("seed");
        let names = |service: &ServiceState| -> Vec<String> {
            let owners = service.owners("blue", &seed).into_iter();
            owners
                .map(|id| service.backends[&id].name.clone())
                .collect()
        };
        assert!(names(here.service("shop")) == names(there.service("shop")));
    }
}
