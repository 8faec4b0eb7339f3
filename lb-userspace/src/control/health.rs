//! What the checks have found.

use std::collections::BTreeSet;

use super::{Control, ControlError, settle::slow_start_ticks};
use crate::{
    dataplane::Dataplane,
    health::{Name, Verdicts},
    state::{ServiceState, SlowStart, State},
};

impl<D: Dataplane> Control<D> {
    /// Carries out what the checks say, as far as it is news: the slots of a backend that is down
    /// go to the others of its pool, and return when it is up, at once or in steps. What operators want of it stays.
    pub fn health(&mut self, verdicts: &Verdicts, tick: u32) -> Result<(), ControlError> {
        if self.verdicts != *verdicts {
            self.verdicts.clone_from(verdicts);
        }
        let news: Vec<(&Name, bool)> = self.state.contradicted(verdicts).collect();
        if news.is_empty() {
            return Ok(());
        }
        let before = self.state.clone();
        let mut next = before.clone();
        let mut pools = BTreeSet::new();
        for (name, up) in news {
            let service = next.service_mut(&name.service)?;
            if let Some(backend) = service.backend_mut(&name.backend) {
                backend.set_up(up);
                if up && slow_start_ticks(&self.config, &name.service, &backend.pool).is_some() {
                    backend.slow_start = Some(SlowStart::new(tick));
                }
                pools.insert((&name.service, backend.pool.clone()));
            }
        }
        for (service, pool) in pools {
            next.service_mut(service)?.reassign(&pool, &self.seed, tick);
        }
        hold_anew(&before, &mut next, self.dataplane.clock_ms());
        self.commit_unkept(next)?;
        tell_pools(&before, &self.state);
        // A second step, after the wait for packets that go by the tables before. If it fails,
        // `tend` tries it again.
        let mut next = self.state.clone();
        next.void_pins();
        self.commit_unkept(next).map(drop)
    }
}

/// A step whose candidate has come back is held from the start: nobody has tried it meanwhile.
fn hold_anew(before: &State, after: &mut State, now_ms: u64) {
    for (name, state) in &mut after.services {
        let lacked = before.services.get(name);
        if lacked.is_some_and(ServiceState::lacks_candidate)
            && !state.lacks_candidate()
            && let Some(run) = &mut state.position.run
        {
            *run = run.held_anew(now_ms);
        }
    }
}

/// Says of each pool that has died or come back where its users are.
fn tell_pools(before: &State, after: &State) {
    for (name, service) in &after.services {
        let before = before.services.get(name);
        for pool in service.pools.keys() {
            let was_dead = before.is_some_and(|before| before.is_dead(pool));
            match (was_dead, service.is_dead(pool)) {
                (false, true) => tell_dead(name, service, pool),
                (true, false) => tracing::info!("service `{name}`: pool `{pool}`: serves again"),
                (true, true) | (false, false) => {}
            }
        }
    }
}

fn tell_dead(name: &str, service: &ServiceState, pool: &str) {
    let fate = match service.stand_in(pool) {
        Some(other) => format!("its users are sent to pool `{other}`"),
        None => "packets to it are dropped, and counted as empty_pool".to_owned(),
    };
    tracing::error!("service `{name}`: pool `{pool}`: all its backends are down; {fate}");
}
