//! What people order.

use std::time::Instant;

use super::{Commit, Control, ControlError};
use crate::{
    api::model::Done,
    config::Config,
    dataplane::{Dataplane, plan::plan},
    release::{Position, Refusal},
    seed::Seed,
    state::{Admin, ServiceState, StateError, compose, reconcile},
};

impl<D: Dataplane> Control<D> {
    /// Sends part of the clients to a pool that is not active.
    pub fn share(
        &mut self,
        service: &str,
        share_ppm: u32,
        to: Option<&str>,
        tick: u32,
    ) -> Result<Done, ControlError> {
        let began = Instant::now();
        let state = self.state.service(service)?;
        let pool = state.candidate_for(service, to)?;
        if share_ppm > 0 {
            require_servable(service, state, &pool)?;
        }
        let seed = self.seed.clone();
        let salts = |number| seed.salt(service, number);
        let id = state.pools[&pool].id;
        self.release(service, began, &pool, |position| {
            position.share(id, share_ppm, tick, &salts)
        })
    }

    /// Sends all clients to another pool in one store.
    pub fn cutover(
        &mut self,
        service: &str,
        to: Option<&str>,
        tick: u32,
    ) -> Result<Done, ControlError> {
        let began = Instant::now();
        let state = self.state.service(service)?;
        let pool = match to {
            Some(to) => state.named_pool(service, to)?,
            None => state.candidate_for(service, None)?,
        };
        require_servable(service, state, &pool)?;
        let id = state.pools[&pool].id;
        self.release(service, began, &pool, |position| position.cutover(id, tick))
    }

    /// Takes the share back, or else the last cutover.
    pub fn rollback(&mut self, service: &str, tick: u32) -> Result<Done, ControlError> {
        let began = Instant::now();
        self.release(service, began, "", |position| position.rollback(tick))
    }

    /// Sets a backend's weight.
    pub fn weight(
        &mut self,
        service: &str,
        backend: &str,
        weight: u32,
        tick: u32,
    ) -> Result<Done, ControlError> {
        self.backend(service, backend, tick, |state, id, _| {
            if let Some(backend) = state.backends.get_mut(&id) {
                backend.weight = Some(weight);
            }
        })
    }

    /// Sets a backend's administrative state.
    pub fn admin(
        &mut self,
        service: &str,
        backend: &str,
        admin: Admin,
        tick: u32,
    ) -> Result<Done, ControlError> {
        self.backend(service, backend, tick, |state, id, generation| {
            if let Some(backend) = state.backends.get_mut(&id) {
                backend.admin = admin;
                if admin == Admin::Maint {
                    // Pins of its live connections are void from now on.
                    backend.generation = generation;
                }
            }
        })
    }

    /// Takes another configuration, all of it or nothing; `dry_run` only tells the writes.
    pub fn apply(
        &mut self,
        config: Config,
        dry_run: bool,
        tick: u32,
    ) -> Result<Vec<String>, ControlError> {
        self.check_fixed(&config)?;
        let seed = Seed::new(&config.node.hash_seed);
        let next = reconcile(&self.state, &config, &seed, tick)?;
        let image = compose::compose(&config, &next, &self.view);
        let writes = plan(&self.image, &image)
            .iter()
            .map(ToString::to_string)
            .collect();
        if !dry_run {
            let before = std::mem::replace(&mut self.config, config);
            if let Err(error) = self.commit(next) {
                self.config = before;
                return Err(error);
            }
        }
        Ok(writes)
    }

    /// Reads the daemon's own configuration file again, or another.
    pub fn read_config(&self, file: Option<&std::path::Path>) -> Result<Config, ControlError> {
        Ok(Config::load(file.unwrap_or(&self.source))?)
    }

    fn check_fixed(&self, config: &Config) -> Result<(), ControlError> {
        let (now, next) = (&self.config.node, &config.node);
        let fixed = [
            (now.hash_seed != next.hash_seed, "node.hash_seed"),
            (
                now.client_prefix != next.client_prefix,
                "node.client_prefix",
            ),
            (now.connections != next.connections, "node.connections"),
            (now.pins != next.pins, "node.pins"),
            (now.state != next.state, "node.state"),
            (now.attach != next.attach, "node.attach"),
            (self.config.api != config.api, "api.socket"),
        ];
        match fixed.iter().find(|(differs, _)| *differs) {
            Some((_, key)) => Err(ControlError::Fixed(key)),
            None => Ok(()),
        }
    }

    fn release(
        &mut self,
        service: &str,
        began: Instant,
        pool: &str,
        change: impl FnOnce(&Position) -> Result<Position, Refusal>,
    ) -> Result<Done, ControlError> {
        let state = self.state.service(service)?;
        let next = change(&state.position).map_err(|refusal| {
            let pool = match refusal {
                Refusal::UnderWay(other) => state.pool_name(other),
                Refusal::AlreadyActive | Refusal::NothingToRollBack => pool,
            };
            let object = if pool.is_empty() {
                String::new()
            } else {
                format!("pool `{pool}`: ")
            };
            ControlError::Refused {
                service: service.to_owned(),
                object,
                refusal,
            }
        })?;
        require_position_servable(service, state, &next)?;
        let baseline = self.connections(state)?;
        let mut whole = self.state.clone();
        let state = whole.service_mut(service)?;
        state.position = next;
        state.baseline = baseline;
        let commit = self.commit(whole)?;
        self.done(service, &commit, began)
    }

    fn backend(
        &mut self,
        service: &str,
        backend: &str,
        tick: u32,
        change: impl FnOnce(&mut ServiceState, u16, u16),
    ) -> Result<Done, ControlError> {
        let began = Instant::now();
        let mut whole = self.state.clone();
        let generation = whole.next_generation();
        let state = whole.service_mut(service)?;
        let id = state
            .backend_id(backend)
            .ok_or_else(|| no_backend(service, backend, state))?;
        let pool = state.backends[&id].pool.clone();
        let served = state.can_serve(&pool);
        change(state, id, generation);
        if served && state.is_serving(&pool) && !state.can_serve(&pool) {
            let why = format!(
                "backend `{backend}` is the last of pool `{pool}` that takes connections, and \
                 users are on it; cut over to another pool first, or make another backend ready"
            );
            return Err(ControlError::Unfit {
                service: service.to_owned(),
                why,
            });
        }
        state.reassign(&pool, &self.seed, tick);
        let commit: Commit = self.commit(whole)?;
        self.done(service, &commit, began)
    }
}

impl ServiceState {
    /// The pool being released, if one is.
    pub fn candidate(&self) -> Option<&str> {
        let now = &self.position.now;
        (now.candidate != now.active).then(|| self.pool_name(now.candidate))
    }

    /// Whether users are sent to a pool.
    pub fn is_serving(&self, pool: &str) -> bool {
        let now = &self.position.now;
        self.pools.get(pool).is_some_and(|state| {
            state.id == now.active || (state.id == now.candidate && now.share_ppm > 0)
        })
    }

    fn named_pool(&self, service: &str, name: &str) -> Result<String, StateError> {
        if self.pools.contains_key(name) {
            return Ok(name.to_owned());
        }
        let known = list(self.pools.keys());
        Err(StateError::NoPool {
            service: service.to_owned(),
            pool: name.to_owned(),
            known,
        })
    }

    /// The pool that is meant when none is named: the candidate of the release under way, or the
    /// only other one.
    fn candidate_for(&self, service: &str, to: Option<&str>) -> Result<String, ControlError> {
        if let Some(to) = to {
            return Ok(self.named_pool(service, to)?);
        }
        let now = &self.position.now;
        if now.share_ppm > 0 {
            return Ok(self.pool_name(now.candidate).to_owned());
        }
        let mut others = self.pools.iter().filter(|(_, pool)| pool.id != now.active);
        if let (Some((name, _)), None) = (others.next(), others.next()) {
            return Ok(name.clone());
        }
        let why = format!(
            "which pool? name one of {} with --to",
            list(self.pools.keys())
        );
        Err(ControlError::Unfit {
            service: service.to_owned(),
            why,
        })
    }
}

/// A pool must be able to take the users that an order would send it.
fn require_servable(service: &str, state: &ServiceState, pool: &str) -> Result<(), ControlError> {
    if state.can_serve(pool) {
        return Ok(());
    }
    let why = format!(
        "pool `{pool}` has no backend that takes connections; \
         make one ready with `serin ready {service} BACKEND`"
    );
    Err(ControlError::Unfit {
        service: service.to_owned(),
        why,
    })
}

fn require_position_servable(
    service: &str,
    state: &ServiceState,
    position: &Position,
) -> Result<(), ControlError> {
    require_servable(service, state, state.pool_name(position.now.active))
}

fn no_backend(service: &str, backend: &str, state: &ServiceState) -> StateError {
    let present = state.backends.values().filter(|backend| !backend.leaving);
    StateError::NoBackend {
        service: service.to_owned(),
        backend: backend.to_owned(),
        known: list(present.map(|backend| &backend.name)),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
