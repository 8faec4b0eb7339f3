//! From the state that was and the configuration that is to the state that should be.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::maps::{MAX_BACKENDS, MAX_POOLS, MAX_SERVICES};

use super::{
    BackendState, PoolState, ServiceState, State, StateError, endpoints,
    ids::{Ids, take, take_short},
    listeners::listeners,
    next_generation, places,
};
use crate::{
    config::{Affinity, Config, Forward, OnDeadPool, Pool, Service},
    dataplane::Image,
    release::{PoolTable, Position},
    seed::Seed,
};

/// The state under `config`: positions, weights and states that were set by command stay.
/// `image` is what the maps hold; its numbers are not given out, even where no state knows them.
pub fn reconcile(
    before: &State,
    image: &Image,
    config: &Config,
    seed: &Seed,
    tick: u32,
) -> Result<State, StateError> {
    let mut state = before.clone();
    state
        .services
        .retain(|name, _| config.service(name).is_some());
    let mut ids = Ids::of(before, image);
    for service in &config.services {
        let kept = state.services.remove(&service.name);
        let next = match kept {
            Some(kept) => keep(kept, service, seed, tick, &mut state, &mut ids)?,
            None => create(service, seed, &mut state, &mut ids)?,
        };
        state.services.insert(service.name.clone(), next);
    }
    let gone = before.listener_numbers();
    let gone = gone
        .difference(&state.listener_numbers())
        .copied()
        .collect();
    state.retired = &before.retired | &gone;
    endpoints::check(config, &state)?;
    Ok(state)
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
        by_client: service.affinity == Affinity::Client,
        falls_back: service.on_dead_pool == OnDeadPool::Fallback,
        position: Position::new(active, &salts),
        before: None,
        listeners: listeners(None, service, ids)?,
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
    check_fixed(&kept, service)?;
    kept.listeners = listeners(Some(&kept), service, ids)?;
    kept.falls_back = service.on_dead_pool == OnDeadPool::Fallback;
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

/// Refuses what would send live connections elsewhere, with no table that knows where they were.
fn check_fixed(kept: &ServiceState, service: &Service) -> Result<(), StateError> {
    let fixed = [
        (kept.l2 != (service.forward == Forward::L2), "forward"),
        (
            kept.by_client != (service.affinity == Affinity::Client),
            "affinity",
        ),
    ];
    match fixed.into_iter().find(|(differs, _)| *differs) {
        Some((_, what)) => Err(StateError::Fixed {
            service: service.name.clone(),
            what,
        }),
        None => Ok(()),
    }
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
        kept.pools.remove(&name);
        for backend in kept
            .backends
            .values_mut()
            .filter(|backend| backend.pool == name)
        {
            backend.leaving = true;
        }
    }
    let there: BTreeSet<u32> = kept.pools.values().map(|pool| pool.id).collect();
    kept.position.keep_pools(|id| there.contains(&id));
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

/// Backends that are gone from the pool, or are elsewhere now, leave; others take new weights, and
/// those that are no longer checked are up.
fn update_backends(backends: &mut BTreeMap<u16, BackendState>, pool: &Pool) {
    for backend in backends
        .values_mut()
        .filter(|b| b.pool == pool.name && !b.leaving)
    {
        let configured = pool.backends.iter().find(|c| c.name == backend.name);
        match configured {
            Some(configured) if places(configured) == backend.places => {
                if pool.health.is_none() {
                    backend.set_up(true);
                }
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
        let generation = next_generation(&mut state.generation);
        backends.insert(id, BackendState::new(configured, &pool.name, generation));
    }
    Ok(())
}

fn new_pool(ids: &mut Ids) -> Result<PoolState, StateError> {
    let id = take(&mut ids.pools, 0, MAX_POOLS, "pools")?;
    Ok(PoolState {
        id,
        table: PoolTable::empty(),
    })
}
