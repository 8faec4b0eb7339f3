//! From the state that was and the configuration that is to the state that should be.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::maps::{MAX_BACKENDS, MAX_LISTENERS, MAX_POOLS, MAX_SERVICES};

use super::{BackendState, PoolState, ServiceState, State, StateError, places};
use crate::{
    config::{Config, Forward, Pool, Service},
    release::{PoolTable, Position},
    seed::Seed,
};

/// The state under `config`: positions, weights and states that were set by command stay.
pub fn reconcile(
    before: &State,
    config: &Config,
    seed: &Seed,
    tick: u32,
) -> Result<State, StateError> {
    let mut state = before.clone();
    state
        .services
        .retain(|name, _| config.service(name).is_some());
    let mut ids = Ids::of(before);
    for service in &config.services {
        let kept = state.services.remove(&service.name);
        let next = match kept {
            Some(kept) => keep(kept, service, seed, tick, &mut state, &mut ids)?,
            None => create(service, seed, &mut state, &mut ids)?,
        };
        state.services.insert(service.name.clone(), next);
    }
    Ok(state)
}

/// Numbers in use, by what they number.
struct Ids {
    services: BTreeSet<u32>,
    pools: BTreeSet<u32>,
    listeners: BTreeSet<u32>,
    backends: BTreeSet<u32>,
}

impl Ids {
    /// Numbers of what was there: those are not given out again by the same change.
    fn of(state: &State) -> Self {
        let services = || state.services.values();
        Self {
            services: services().map(|s| s.id).collect(),
            pools: services()
                .flat_map(|s| s.pools.values().map(|p| p.id))
                .collect(),
            listeners: services()
                .flat_map(|s| s.listeners.values().map(|&id| u32::from(id)))
                .collect(),
            backends: services()
                .flat_map(|s| s.backends.keys().map(|&id| u32::from(id)))
                .collect(),
        }
    }
}

/// The lowest free number from `first` on.
fn take(
    used: &mut BTreeSet<u32>,
    first: u32,
    limit: u32,
    what: &'static str,
) -> Result<u32, StateError> {
    let free = (first..limit).find(|id| !used.contains(id));
    let id = free.ok_or(StateError::Full { what, limit })?;
    used.insert(id);
    Ok(id)
}

/// [`take`] for numbers that the maps hold in 16 bits.
fn take_short(
    used: &mut BTreeSet<u32>,
    first: u32,
    limit: u32,
    what: &'static str,
) -> Result<u16, StateError> {
    let id = take(used, first, limit, what)?;
    u16::try_from(id).map_err(|_| StateError::Full { what, limit })
}

fn create(
    service: &Service,
    seed: &Seed,
    state: &mut State,
    ids: &mut Ids,
) -> Result<ServiceState, StateError> {
    let mut pools = BTreeMap::new();
    let mut backends = BTreeMap::new();
    for pool in &service.pools {
        pools.insert(pool.name.clone(), new_pool(ids)?);
        add_backends(&mut backends, pool, state, ids)?;
    }
    let salts = |number| seed.salt(&service.name, number);
    let active = pools[&service.active].id;
    let mut next = ServiceState {
        id: take(&mut ids.services, 0, MAX_SERVICES, "services")?,
        l2: service.forward == Forward::L2,
        position: Position::new(active, &salts),
        listeners: listeners(&BTreeMap::new(), service, ids)?,
        pools,
        backends,
        baseline: BTreeMap::new(),
    };
    for pool in &service.pools {
        let table = PoolTable::new(&next.owners(&pool.name, seed));
        next.pools.insert(
            pool.name.clone(),
            PoolState {
                table,
                ..next.pools[&pool.name].clone()
            },
        );
    }
    Ok(next)
}

fn keep(
    mut kept: ServiceState,
    service: &Service,
    seed: &Seed,
    tick: u32,
    state: &mut State,
    ids: &mut Ids,
) -> Result<ServiceState, StateError> {
    if kept.l2 != (service.forward == Forward::L2) {
        return Err(StateError::ForwardChanged(service.name.clone()));
    }
    kept.listeners = listeners(&kept.listeners, service, ids)?;
    remove_pools(&mut kept, service)?;
    for pool in &service.pools {
        let is_new = !kept.pools.contains_key(&pool.name);
        if is_new {
            kept.pools.insert(pool.name.clone(), new_pool(ids)?);
        }
        update_backends(&mut kept.backends, pool);
        add_backends(&mut kept.backends, pool, state, ids)?;
    }
    for pool in &service.pools {
        kept.reassign(&pool.name, seed, tick);
    }
    Ok(kept)
}

/// Pools that nobody is sent to, and whose change has settled, may go.
fn remove_pools(kept: &mut ServiceState, service: &Service) -> Result<(), StateError> {
    let gone: Vec<(String, u32)> = kept
        .pools
        .iter()
        .filter(|(name, _)| service.pool(name).is_none())
        .map(|(name, pool)| (name.clone(), pool.id))
        .collect();
    for (name, id) in gone {
        if let Some(why) = use_of(&kept.position, id) {
            return Err(StateError::PoolInUse {
                service: service.name.clone(),
                pool: name,
                why,
            });
        }
        kept.position.forget(id);
        kept.pools.remove(&name);
        for backend in kept
            .backends
            .values_mut()
            .filter(|backend| backend.pool == name)
        {
            backend.leaving = true;
        }
    }
    Ok(())
}

fn use_of(position: &Position, pool: u32) -> Option<&'static str> {
    let (now, origin) = (&position.now, &position.origin);
    if now.active == pool {
        Some("it serves users")
    } else if now.candidate == pool && now.share_ppm > 0 {
        Some("it has a share of the users")
    } else if origin.active == pool || (origin.candidate == pool && origin.share_ppm > 0) {
        Some("its connections drain")
    } else {
        None
    }
}

/// Backends that are gone from the pool, or are elsewhere now, leave; others take new weights.
fn update_backends(backends: &mut BTreeMap<u16, BackendState>, pool: &Pool) {
    for backend in backends
        .values_mut()
        .filter(|b| b.pool == pool.name && !b.leaving)
    {
        let configured = pool.backends.iter().find(|c| c.name == backend.name);
        match configured {
            Some(configured) if places(configured) == backend.places => {
                if configured.weight != backend.configured_weight {
                    backend.configured_weight = configured.weight;
                    backend.weight = None;
                }
            }
            _ => backend.leaving = true,
        }
    }
}

fn add_backends(
    backends: &mut BTreeMap<u16, BackendState>,
    pool: &Pool,
    state: &mut State,
    ids: &mut Ids,
) -> Result<(), StateError> {
    for configured in &pool.backends {
        let known = backends
            .values()
            .any(|b| b.pool == pool.name && b.name == configured.name && !b.leaving);
        if known {
            continue;
        }
        let id = take_short(&mut ids.backends, 1, MAX_BACKENDS, "backends")?;
        let generation = state.next_generation();
        backends.insert(id, BackendState::new(configured, &pool.name, generation));
    }
    Ok(())
}

fn listeners(
    before: &BTreeMap<String, u16>,
    service: &Service,
    ids: &mut Ids,
) -> Result<BTreeMap<String, u16>, StateError> {
    let mut numbered = BTreeMap::new();
    for listener in &service.listeners {
        let text = listener.to_string();
        let id = match before.get(&text) {
            Some(&id) => id,
            None => take_short(&mut ids.listeners, 0, MAX_LISTENERS, "listeners")?,
        };
        numbered.insert(text, id);
    }
    Ok(numbered)
}

fn new_pool(ids: &mut Ids) -> Result<PoolState, StateError> {
    let id = take(&mut ids.pools, 0, MAX_POOLS, "pools")?;
    Ok(PoolState {
        id,
        table: PoolTable::empty(),
    })
}
