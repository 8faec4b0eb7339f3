//! From the state that was and the configuration that is to the state that should be.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::maps::{MAX_BACKENDS, MAX_POOLS, MAX_SERVICES};

use super::{
    Audiences, BackendState, Kept, PoolState, ServiceState, State, StateError, endpoints,
    ids::{Ids, take, take_short},
    listeners::listeners,
    next_generation, places, server_ids, toggles,
};
use crate::{
    config::{Affinity, Config, OnDeadPool, Pool, Service},
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
    state.toggles = toggles::kept(&before.toggles, &config.toggles);
    let mut ids = Ids::of(before, image);
    for service in &config.services {
        let kept = state.services.remove(&service.name);
        let next = match kept {
            Some(kept) => {
                let fresh = !image.records.contains_key(&kept.id);
                let mut next = keep(kept, service, seed, tick, &mut state, &mut ids)?;
                let open = state.open_audiences(service, next.position.run.as_ref());
                next.judge_by(service, &open, &mut ids, tick)?;
                // Nobody was judged before, or it is not known by what.
                let begins = fresh && next.position.epoch == 0;
                if begins || !next.knows_origin_set() {
                    next.position.origin.audiences = next.position.now.audiences;
                }
                next
            }
            None => create(service, seed, &mut state, &mut ids)?,
        };
        state.services.insert(service.name.clone(), next);
    }
    state.tell_releases();
    let gone = before.listener_numbers();
    let gone = gone
        .difference(&state.listener_numbers())
        .copied()
        .collect();
    state.retired = &before.retired | &gone;
    let protect = config.node.protect.as_ref();
    let protect =
        protect.map(|configured| Kept::next(before.protect.as_ref(), configured, &mut ids));
    state.protect = protect.transpose()?;
    state.dealt = true;
    endpoints::check(config, &state)?;
    server_ids::check(&state)?;
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
        forward: service.forward,
        by_client: service.affinity == Affinity::Client,
        falls_back: service.on_dead_pool == OnDeadPool::Fallback,
        position: Position::new(active, &salts),
        before: None,
        pending: None,
        ended: None,
        last_change: None,
        cut: 0,
        orphaned: 0,
        listeners: listeners(None, service, ids)?,
        pools,
        backends,
        audiences: Audiences::default(),
        baseline: BTreeMap::new(),
    };
    next.judge_by(service, &state.open_audiences(service, None), ids, 0)?;
    next.position = next.position.settled().swept();
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
    let before = kept.clone();
    kept.listeners = listeners(Some(&kept), service, ids)?;
    kept.falls_back = service.on_dead_pool == OnDeadPool::Fallback;
    remove_pools(&mut kept, service, tick)?;
    for pool in &service.pools {
        let is_new = !kept.pools.contains_key(&pool.name);
        if is_new {
            kept.pools.insert(pool.name.clone(), new_pool(ids)?);
        }
        update_backends(&mut kept.backends, pool, tick);
        add_backends(&mut kept.backends, pool, state, ids)?;
    }
    for pool in &service.pools {
        // Dealing is dear, and comes to the same where nothing differs.
        if !state.dealt || !kept.deals_like(&before, &pool.name) {
            kept.reassign(&pool.name, seed, tick);
        }
    }
    Ok(kept)
}

impl ServiceState {
    /// Whether a pool's slots are dealt alike in both, by its own backends.
    fn deals_like(&self, other: &Self, pool: &str) -> bool {
        let parts = |state: &Self| -> Vec<_> {
            let members = state.members(pool);
            let part = |(id, b): (u16, &BackendState)| {
                (id, b.weight(), b.takes_connections(), b.slow_start)
            };
            members.map(part).collect()
        };
        let alone = |state: &Self| state.pools.contains_key(pool) && state.stand_in(pool).is_none();
        alone(self) && alone(other) && parts(self) == parts(other)
    }
}

/// Refuses what would send live connections elsewhere, with no table that knows where they were.
fn check_fixed(kept: &ServiceState, service: &Service) -> Result<(), StateError> {
    let fixed = [
        (kept.forward != service.forward, "forward"),
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
fn remove_pools(kept: &mut ServiceState, service: &Service, tick: u32) -> Result<(), StateError> {
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
            backend.leave(tick);
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
    } else if now.candidate == pool && now.sends_to_candidate() {
        Some("it has a share of the users")
    } else if origin.active == pool || (origin.candidate == pool && origin.sends_to_candidate()) {
        Some("its connections drain")
    } else {
        None
    }
}

/// Backends that are gone from the pool, or are elsewhere now, leave; others take new weights, and
/// those that are no longer checked are up.
fn update_backends(backends: &mut BTreeMap<u16, BackendState>, pool: &Pool, tick: u32) {
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
                backend.server_ids.clone_from(&configured.server_ids);
            }
            _ => backend.leave(tick),
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

#[cfg(test)]
mod tests {
    use super::super::{
        Admin,
        fixture::{Fixture, SHOP},
    };
    use super::*;

    #[test]
    fn a_weight_by_command_stands_until_the_configured_one_changes() {
        let mut fixture = Fixture::new(SHOP);
        fixture
            .service_mut("shop")
            .backend_mut("b1")
            .expect("there")
            .weight = Some(7);
        let weight = |fixture: &Fixture| fixture.service("shop").backends[&1].weight();
        fixture.apply(SHOP).expect("the same");
        assert_eq!(weight(&fixture), 7);
        let heavier = SHOP.replace("\"10.0.1.1\" }", "\"10.0.1.1\", weight = 200 }");
        fixture.apply(&heavier).expect("another weight");
        assert_eq!(weight(&fixture), 200);
    }

    #[test]
    fn an_administrative_state_outlasts_a_new_configuration() {
        let mut fixture = Fixture::new(SHOP);
        fixture
            .service_mut("shop")
            .backend_mut("b1")
            .expect("there")
            .admin = Admin::Drain;
        fixture
            .apply(&SHOP.replace("10.0.1.2", "10.0.1.9"))
            .expect("b2 moves");
        assert_eq!(fixture.service("shop").backends[&1].admin, Admin::Drain);
    }

    #[test]
    fn a_backend_at_another_address_is_another_one_and_the_old_one_leaves() {
        let mut fixture = Fixture::new(SHOP);
        let before = fixture.service("shop").backends[&2].clone();
        fixture
            .apply(&SHOP.replace("10.0.1.2", "10.0.1.9"))
            .expect("b2 moves");
        let shop = fixture.service("shop");
        assert!(shop.backends[&2].leaving && !shop.backends[&4].leaving);
        assert_ne!(shop.backends[&4].generation, before.generation);
        assert!(!shop.owners("blue", &Seed::new("x")).contains(&2));
    }

    #[test]
    fn a_backend_that_changes_its_pool_is_another_one() {
        let mut fixture = Fixture::new(SHOP);
        let b2 = ", { name = \"b2\", address = \"10.0.1.2\" }";
        let g1 = "{ name = \"g1\", address = \"10.0.2.1\" }";
        let moved = SHOP.replace(b2, "").replace(g1, &format!("{g1}{b2}"));
        fixture.apply(&moved).expect("b2 goes to green");
        let shop = fixture.service("shop");
        assert!(shop.backends[&2].leaving);
        assert_eq!(shop.backends[&fixture.id("b2")].pool, "green");
    }

    #[test]
    fn a_service_removed_and_added_by_one_change_shares_no_number_with_another() {
        let mut fixture = Fixture::new(SHOP);
        fixture
            .apply(&SHOP.replace("\"shop\"", "\"blog\""))
            .expect("another service");
        let blog = fixture.service("blog");
        assert_eq!(blog.id, 1);
        assert!(blog.pools.values().all(|pool| pool.id >= 2));
        assert!(blog.backends.keys().all(|&id| id >= 4));
    }

    #[test]
    fn only_pools_of_which_something_differs_are_dealt_anew() {
        let mut fixture = Fixture::new(SHOP);
        let nobody = PoolTable::empty();
        let shop = fixture.service_mut("shop");
        shop.pools
            .values_mut()
            .for_each(|pool| pool.table = nobody.clone());
        let heavier = SHOP.replace("\"10.0.1.1\" }", "\"10.0.1.1\", weight = 200 }");
        fixture.apply(&heavier).expect("another weight in blue");
        let table =
            |fixture: &Fixture, pool: &str| fixture.service("shop").pools[pool].table.clone();
        assert!(table(&fixture, "blue") != nobody && table(&fixture, "green") == nobody);

        // What the maps hold may be what a daemon before this one was about to replace.
        fixture.state.dealt = false;
        fixture.apply(&heavier).expect("the same");
        assert_ne!(table(&fixture, "green"), nobody);
    }

    #[test]
    fn the_active_pool_of_the_file_is_for_the_first_start_only() {
        let mut fixture = Fixture::new(SHOP);
        fixture
            .apply(&SHOP.replace("\nlisten", "\nactive = \"green\"\nlisten"))
            .expect("kept");
        let shop = fixture.service("shop");
        assert_eq!(shop.pool_name(shop.position.now.active), "blue");
    }

    #[test]
    fn how_connections_are_dealt_can_not_change_while_the_service_runs() {
        for (line, key) in [
            ("affinity = \"client\"", "affinity"),
            ("forward = \"l2\"", "forward"),
        ] {
            let mut fixture = Fixture::new(SHOP);
            let other = SHOP.replace("\nlisten", &format!("\n{line}\nlisten"));
            let error = fixture
                .apply(&other)
                .expect_err("live connections")
                .to_string();
            let expected = format!("service `shop`: {key} can't change while the service runs");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_pool_in_use_says_by_whom() {
        let without_green = SHOP.replace("\"green\"", "\"red\"");
        let salts = |_: u64| 1;
        let mut fixture = Fixture::new(SHOP);
        let green = fixture.service("shop").pools["green"].id;
        let shared = fixture.service("shop").position.share(green, 10, 1, &salts);
        fixture.service_mut("shop").position = shared.expect("a share");
        let error = fixture
            .apply(&without_green)
            .expect_err("in use")
            .to_string();
        assert!(
            error.contains("can't be removed while it has a share of the users"),
            "{error}"
        );
        let cut = fixture
            .service("shop")
            .position
            .cutover(green, 2)
            .expect("cut over");
        fixture.service_mut("shop").position = cut;
        let error = fixture
            .apply(&without_green)
            .expect_err("in use")
            .to_string();
        assert!(
            error.contains("can't be removed while it serves users"),
            "{error}"
        );
    }
}
