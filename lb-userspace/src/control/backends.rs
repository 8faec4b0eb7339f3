//! Orders about one backend.

use std::time::Instant;

use lb_common::hash::BUCKETS;

use super::{Control, ControlError, audit::Subject, orders::list, settle::slow_start_ticks};
use crate::{
    api::model::Done,
    dataplane::Dataplane,
    journal::Happened,
    state::{Admin, BackendState, Order, ServiceState, SlowStart, StateError},
};

impl<D: Dataplane> Control<D> {
    /// Sets a backend's weight.
    pub fn weight(
        &mut self,
        service: &str,
        backend: &str,
        weight: u32,
        tick: u32,
    ) -> Result<Done, ControlError> {
        let order = Order::Weight {
            backend: backend.to_owned(),
            weight,
        };
        self.backend(service, (backend, order), tick, |backend| {
            backend.weight = Some(weight);
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
        let starts = |pool: &str| slow_start_ticks(&self.config, service, pool).is_some();
        let pool = self.state.service(service)?.backend(backend);
        let starts = pool.is_some_and(|backend| starts(&backend.pool));
        let order = Order::Admin {
            backend: backend.to_owned(),
            admin,
        };
        let done = self.backend(service, (backend, order), tick, |backend| {
            // Who comes from a repair is as cold as who comes from the dead.
            let returns = backend.admin == Admin::Maint && admin == Admin::Ready;
            if returns && starts && backend.up {
                backend.slow_start = Some(SlowStart::new(tick));
            }
            backend.admin = admin;
            backend.voided = false;
        })?;
        if done.arming_s.is_some() {
            return Ok(done);
        }
        // A second step, after the wait for packets that go by the tables before.
        let mut next = self.state.clone();
        next.void_pins();
        self.commit(next).map_err(ControlError::unfinished)?;
        Ok(done)
    }

    fn backend(
        &mut self,
        service: &str,
        (backend, order): (&str, Order),
        tick: u32,
        change: impl FnOnce(&mut BackendState),
    ) -> Result<Done, ControlError> {
        let began = Instant::now();
        let mut whole = self.state.clone();
        let state = whole.service_mut(service)?;
        let found = state.backend_mut(backend).map(|backend| {
            let before = backend.clone();
            change(backend);
            (backend.pool.clone(), before)
        });
        let (pool, before) = found.ok_or_else(|| no_backend(service, backend, state))?;
        if is_emptied(self.state.service(service)?, state, &pool) {
            let why = format!(
                "backend `{backend}` is the last of pool `{pool}` that takes connections, and \
                 users are on it; cut over to another pool first, or make another backend ready"
            );
            return Err(ControlError::Unfit {
                service: service.to_owned(),
                why,
            });
        }
        // A change of weights may move any client's sessions; in `maint`, they are not to stay.
        let cuts = matches!(
            order,
            Order::Admin {
                admin: Admin::Maint,
                ..
            }
        );
        let touched = (!cuts).then_some(BUCKETS);
        if let Some(done) = self.arm(service, (order.clone(), ""), touched, began, tick)? {
            return Ok(done);
        }
        state.reassign(&pool, &self.seed, tick);
        state.end_pending(None);
        self.will_note_about(service, subject(&order, &before));
        let commit = self.commit(whole)?;
        self.done(service, &commit, began, tick)
    }
}

/// What an order about a backend is to the audit log.
fn subject(order: &Order, before: &BackendState) -> Subject {
    let (event, before_it, after) = match order {
        Order::Admin { admin, .. } => {
            let event = match admin {
                Admin::Ready => Happened::Ready,
                Admin::Drain => Happened::Drain,
                Admin::Maint => Happened::Maint,
            };
            (event, before.admin.to_string(), admin.to_string())
        }
        Order::Weight { weight, .. } => (
            Happened::Weight,
            before
                .weight
                .unwrap_or(before.configured_weight)
                .to_string(),
            weight.to_string(),
        ),
        Order::Share { .. }
        | Order::Cutover { .. }
        | Order::Rollback
        | Order::Release(_)
        | Order::Toggle { .. }
        | Order::Apply => (Happened::Applied, String::new(), order.to_string()),
    };
    Subject {
        event,
        cause: format!("`{order}` by hand"),
        object: Some(before.name.clone()),
        before: Some(before_it),
        after: Some(after),
    }
}

/// Whether users are on a pool that could serve them before, and can't now.
pub(super) fn is_emptied(before: &ServiceState, next: &ServiceState, pool: &str) -> bool {
    before.can_serve(pool) && next.is_serving(pool) && !next.can_serve(pool)
}

fn no_backend(service: &str, backend: &str, state: &ServiceState) -> StateError {
    let present = state.backends.values().filter(|backend| !backend.leaving);
    StateError::NoBackend {
        service: service.to_owned(),
        backend: backend.to_owned(),
        known: list(present.map(|backend| &backend.name)),
    }
}
