//! Orders about a service's release.

use std::time::Instant;

use super::{Control, ControlError, release::by_hand};
use crate::{
    api::model::Done,
    dataplane::Dataplane,
    journal::Happened,
    release::{Position, Refusal},
    state::{Order, ServiceState, StateError},
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
        let seed = self.seed.clone();
        let salts = |number| seed.salt(service, number);
        let id = state.pools[&pool].id;
        let order = Order::Share {
            share_ppm,
            to: to.map(str::to_owned),
        };
        self.release(service, began, (&pool, order, ""), tick, |position| {
            position.share(id, share_ppm, tick, &salts)
        })
    }

    /// Sends all clients to another pool in one store.
    pub fn cutover(
        &mut self,
        service: &str,
        to: Option<&str>,
        reason: &str,
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
        let to = to.map(str::to_owned);
        let order = Order::Cutover { to };
        self.release(service, began, (&pool, order, reason), tick, |position| {
            position.cutover(id, tick)
        })
    }

    /// Takes the share back, or else the last cutover. A release that is under way is aborted.
    pub fn rollback(&mut self, service: &str, tick: u32) -> Result<Done, ControlError> {
        let began = Instant::now();
        if self.state.service(service)?.is_released() {
            return self.abort(service, "rolled back by hand", tick);
        }
        if let Some(done) = self.call_off(service, began, tick)? {
            return Ok(done);
        }
        let order = ("", Order::Rollback, "");
        self.release(service, began, order, tick, |position| {
            position.rollback(tick)
        })
    }

    fn release(
        &mut self,
        service: &str,
        began: Instant,
        (pool, order, reason): (&str, Order, &str),
        tick: u32,
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
        let back = matches!(order, Order::Rollback);
        let run = self.touched_by_hand(service, state, &next);
        let next = Position { run, ..next };
        let shown = self.shown(service, &next, back, tick)?;
        require_served(service, state, &shown)?;
        let happened = match &order {
            Order::Share { .. } => Happened::Share,
            Order::Rollback => Happened::RolledBack,
            Order::Cutover { .. }
            | Order::Weight { .. }
            | Order::Admin { .. }
            | Order::Apply
            | Order::Toggle { .. }
            | Order::Release(_) => Happened::Cutover,
        };
        let why = match reason {
            "" => format!("`{order}` by hand"),
            reason => reason.to_owned(),
        };
        let touched = (!state.position.covers(&shown)).then_some(shown.touched_ppm);
        if let Some(done) = self.arm(service, (order, reason), touched, began, tick)? {
            return Ok(done);
        }
        let baseline = self.connections(self.state.service(service)?)?;
        let stored = back.then(|| self.store_back(service, &next)).flatten();
        let state = self.state.service(service)?;
        let event = by_hand(state, next.run.as_ref(), happened);
        let mut whole = self.state.clone();
        let state = whole.service_mut(service)?;
        state.position = next;
        state.end_pending(None);
        state.baseline = baseline;
        state.reassign_dead(&self.seed, tick);
        if !back {
            self.show(&mut whole, service, tick)?;
        }
        self.will_note(service, event, &why);
        let commit = if back {
            self.commit_back(whole, stored)?
        } else {
            self.commit(whole)?
        };
        let mut done = self.done(service, &commit, began, tick)?;
        if event == Happened::TakenOver {
            let note = "the release is yours now: no step moves it any more; begin another with \
                        `serin start --replace`";
            done.notes.push(note.to_owned());
        }
        Ok(done)
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
            state.id == now.active || (state.id == now.candidate && now.sends_to_candidate())
        })
    }

    pub(super) fn named_pool(&self, service: &str, name: &str) -> Result<String, StateError> {
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
    pub(super) fn candidate_for(
        &self,
        service: &str,
        to: Option<&str>,
    ) -> Result<String, ControlError> {
        if let Some(to) = to {
            return Ok(self.named_pool(service, to)?);
        }
        let now = &self.position.now;
        if now.sends_to_candidate() {
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
pub(super) fn require_servable(
    service: &str,
    state: &ServiceState,
    pool: &str,
) -> Result<(), ControlError> {
    if state.can_serve(pool) {
        return Ok(());
    }
    let why = if state.is_dead(pool) {
        format!(
            "pool `{pool}`: all its backends are down; bring one up (`serin status {service}` \
             shows them, the daemon's log why)"
        )
    } else {
        format!(
            "pool `{pool}` has no backend that takes connections; \
             make one ready with `serin ready {service} BACKEND`"
        )
    };
    Err(ControlError::Unfit {
        service: service.to_owned(),
        why,
    })
}

/// Every pool that gets users at a position must be able to serve them.
pub(super) fn require_served(
    service: &str,
    state: &ServiceState,
    position: &Position,
) -> Result<(), ControlError> {
    let now = &position.now;
    let candidate = now.sends_to_candidate().then_some(now.candidate);
    let mut pools = candidate.into_iter().chain([now.active]);
    pools.try_for_each(|pool| require_servable(service, state, state.pool_name(pool)))
}

pub(super) fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
