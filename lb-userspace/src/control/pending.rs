//! Sessions that no packet shows the start of: before a change they are pinned, for as long as one may
//! be silent; then the change comes, and whoever is unknown is new.

use std::time::{Duration, Instant};

use super::{
    Control, ControlError,
    settle::{TICK, idle_ticks},
};
use crate::{
    api::model::Done,
    config::Datagram,
    dataplane::Dataplane,
    journal::Actor,
    state::{Order, Pending, ServiceState, State},
};

impl<D: Dataplane> Control<D> {
    /// Begins to pin the sessions of a service whose `order` would move those of buckets below
    /// `touched`; nothing if there are none to move, or if they have been pinned for this order.
    pub(super) fn arm(
        &mut self,
        service: &str,
        (order, cause): (Order, &str),
        touched: Option<u32>,
        began: Instant,
        tick: u32,
    ) -> Result<Option<Done>, ControlError> {
        let pending = self.pending(service, (order, cause), tick);
        self.arm_for_order(service, pending, touched, began, tick)
    }

    /// The same for an order that takes users back: what else waits is called off.
    pub(super) fn arm_back(
        &mut self,
        service: &str,
        (order, cause): (Order, &str),
        touched: Option<u32>,
        began: Instant,
        tick: u32,
    ) -> Result<Option<Done>, ControlError> {
        let back = true;
        let pending = self.pending(service, (order, cause), tick);
        let pending = Pending { back, ..pending };
        self.arm_for_order(service, pending, touched, began, tick)
    }

    fn arm_for_order(
        &mut self,
        service: &str,
        next: Pending,
        touched: Option<u32>,
        began: Instant,
        tick: u32,
    ) -> Result<Option<Done>, ControlError> {
        let state = self.state.service(service)?;
        if let Some(pending) = &state.pending {
            let same = pending.order == next.order || (pending.is_way_back() && next.is_way_back());
            if same && pending.due > tick {
                return Ok(Some(self.unchanged(service, began, tick)?));
            }
            if same {
                return Ok(None);
            }
            if !next.back {
                return Err(occupied(service, state, pending, tick));
            }
        }
        let Some(touched) = touched.filter(|_| self.has_sessions(service)) else {
            return Ok(None);
        };
        let mut whole = self.state.clone();
        self.call_off_in(&mut whole, service)?;
        whole.service_mut(service)?.wait_for(next, touched);
        let commit = self.commit(whole)?;
        self.done(service, &commit, began, tick).map(Some)
    }

    /// Whether a service's datagrams belong to sessions.
    pub(super) fn has_sessions(&self, service: &str) -> bool {
        let config = self.config.service(service);
        config.is_some_and(|config| config.datagram == Datagram::Session)
    }

    /// An order of a service that waits from now on.
    pub(super) fn pending(&self, service: &str, given: (Order, &str), tick: u32) -> Pending {
        let (order, cause) = given;
        let state = self.state.services.get(service);
        let last = state.and_then(|state| state.ended.as_ref());
        Pending {
            order,
            due: tick.saturating_add(idle_ticks(&self.config, service)),
            number: last.map_or(0, |last| last.number) + 1,
            actor: self.actor.clone(),
            cause: cause.to_owned(),
            back: false,
        }
    }

    /// Drops the order that waits, if one does.
    pub(super) fn call_off(
        &mut self,
        service: &str,
        began: Instant,
        tick: u32,
    ) -> Result<Option<Done>, ControlError> {
        let pending = &self.state.service(service)?.pending;
        if pending.as_ref().is_none_or(Pending::is_way_back) {
            return Ok(None);
        }
        let mut next = self.state.clone();
        self.call_off_in(&mut next, service)?;
        let commit = self.commit(next)?;
        self.done(service, &commit, began, tick).map(Some)
    }

    /// The same in a state that is to be. A way back that is due itself is to be made, and asking
    /// again does not put it off.
    pub(super) fn call_off_in(&self, next: &mut State, service: &str) -> Result<(), ControlError> {
        let pending = &self.state.service(service)?.pending;
        let Some(pending) = pending.as_ref().filter(|pending| !pending.is_way_back()) else {
            return Ok(());
        };
        let why = format!("`{}` was called off by {}", pending.order, self.actor.name);
        if let order @ (Order::Apply | Order::Toggle { .. }) = &pending.order {
            end_order(next, order, Some(&why));
        } else {
            next.service_mut(service)?.end_pending(Some(why));
        }
        Ok(())
    }

    /// Carries out what is due. An order that has become impossible is dropped, and said.
    pub(super) fn carry_out_pending(&mut self, tick: u32) -> Result<(), ControlError> {
        let services = self.state.services.iter();
        let due: Vec<(String, Pending)> = services
            .filter_map(|(name, state)| {
                // Another configuration needs its surroundings looked at: the daemon's loop does that.
                let waits = |p: &&Pending| p.due <= tick && p.order != Order::Apply;
                Some((name.clone(), state.pending.as_ref().filter(waits)?.clone()))
            })
            .collect();
        for (service, pending) in due {
            let order = &pending.order;
            self.act_for(pending.actor.clone());
            let given = self.give(&service, &pending, tick);
            self.act_for(Actor::daemon());
            match given {
                Ok(_) => tracing::info!("service `{service}`: `{order}` is in force"),
                Err(error @ ControlError::Unfinished(_)) => return Err(error),
                Err(error @ ControlError::Unkept(_)) => {
                    tracing::error!("service `{service}`: `{order}` is tried again: {error}");
                }
                Err(error) => {
                    tracing::error!("service `{service}`: `{order}` is dropped: {error}");
                    let mut next = self.state.clone();
                    let why = Some(error.to_string());
                    next.service_mut(&service)?.end_pending(why);
                    self.commit(next)?;
                }
            }
        }
        Ok(())
    }

    fn give(&mut self, service: &str, pending: &Pending, tick: u32) -> Result<Done, ControlError> {
        match &pending.order {
            Order::Share { share_ppm, to } => self.share(service, *share_ppm, to.as_deref(), tick),
            Order::Cutover { to } => self.cutover(service, to.as_deref(), &pending.cause, tick),
            Order::Rollback => self.rollback(service, tick),
            Order::Weight { backend, weight } => self.weight(service, backend, *weight, tick),
            Order::Admin { backend, admin } => self.admin(service, backend, *admin, tick),
            Order::Release(event) => self.steer(service, event, &pending.cause, tick),
            Order::Toggle { toggle, on } => {
                self.turn(toggle, *on, &pending.cause, tick)?;
                self.unchanged(service, Instant::now(), tick)
            }
            Order::Apply => self.unchanged(service, Instant::now(), tick),
        }
    }

    fn unchanged(&self, service: &str, began: Instant, tick: u32) -> Result<Done, ControlError> {
        let nothing = super::commit::Commit::default();
        self.done(service, &nothing, began, tick)
    }

    /// How long no order that waits is due.
    pub(super) fn next_pending(&self, tick: u32) -> Option<Duration> {
        let services = self.state.services.values();
        let due = services.filter_map(|state| Some(state.pending.as_ref()?.due));
        due.min().map(|due| TICK * due.saturating_sub(tick).max(1))
    }
}

/// Seconds until the order that waits is carried out.
pub(super) fn arming_s(state: &ServiceState, tick: u32) -> Option<u64> {
    let pending = state.pending.as_ref()?;
    Some((TICK * pending.due.saturating_sub(tick)).as_secs())
}

impl ServiceState {
    /// Sessions of buckets below `touched` are pinned from now on, for an order.
    pub(super) fn wait_for(&mut self, pending: Pending, touched: u32) {
        self.position = self.position.armed(touched);
        self.pending = Some(pending);
    }
}

/// Ends a wait for another configuration, in all services at once.
pub(super) fn end_apply(state: &mut State, failure: Option<&str>) {
    end_order(state, &Order::Apply, failure);
}

/// Ends the wait for an order that is about several services, in all of them at once.
pub(super) fn end_order(state: &mut State, order: &Order, failure: Option<&str>) {
    let waits = |pending: &Pending| pending.order == *order;
    let services = state.services.values_mut();
    for service in services.filter(|service| service.pending.as_ref().is_some_and(waits)) {
        service.end_pending(failure.map(str::to_owned));
    }
}

pub(super) fn occupied(
    service: &str,
    state: &ServiceState,
    pending: &Pending,
    tick: u32,
) -> ControlError {
    let left = (TICK * pending.due.saturating_sub(tick)).as_secs();
    let remedy = if state.is_released() {
        format!(
            "wait for it; `serin rollback {service}` would call it off, and abort the release that \
             is under way as well"
        )
    } else {
        format!("wait for it, or call it off by `serin rollback {service}`")
    };
    ControlError::Unfit {
        service: service.to_owned(),
        why: format!(
            "sessions are being pinned for `{}`, due in {left} s; {remedy}",
            pending.order
        ),
    }
}
