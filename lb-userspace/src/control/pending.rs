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
    state::{Order, Pending, ServiceState},
};

impl<D: Dataplane> Control<D> {
    /// Begins to pin the sessions of a service whose `order` would move those of buckets below
    /// `touched`; nothing if there are none to move, or if they have been pinned for this order.
    pub(super) fn arm(
        &mut self,
        service: &str,
        order: Order,
        touched: Option<u32>,
        began: Instant,
        tick: u32,
    ) -> Result<Option<Done>, ControlError> {
        let state = self.state.service(service)?;
        if let Some(pending) = &state.pending {
            let same =
                pending.order == order || (pending.order.is_way_back() && order.is_way_back());
            if !same {
                return Err(occupied(service, pending, tick));
            }
            if pending.due <= tick {
                return Ok(None);
            }
            return Ok(Some(self.unchanged(service, began, tick)?));
        }
        let config = self.config.service(service);
        let sessions = config.is_some_and(|config| config.datagram == Datagram::Session);
        let Some(touched) = touched.filter(|_| sessions) else {
            return Ok(None);
        };
        let due = tick.saturating_add(idle_ticks(&self.config, service));
        let mut next = self.state.clone();
        let state = next.service_mut(service)?;
        state.position = state.position.armed(touched);
        state.pending = Some(Pending { order, due });
        let commit = self.commit(next)?;
        self.done(service, &commit, began, tick).map(Some)
    }

    /// Drops the order that waits, if one does.
    pub(super) fn call_off(
        &mut self,
        service: &str,
        began: Instant,
        tick: u32,
    ) -> Result<Option<Done>, ControlError> {
        let pending = &self.state.service(service)?.pending;
        // A way back that is due itself is to be made, and asking again does not put it off.
        if pending.as_ref().is_none_or(|p| p.order.is_way_back()) {
            return Ok(None);
        }
        let mut next = self.state.clone();
        disarm(next.service_mut(service)?);
        let commit = self.commit(next)?;
        self.done(service, &commit, began, tick).map(Some)
    }

    /// Carries out what is due. An order that has become impossible is dropped, and said.
    pub(super) fn carry_out_pending(&mut self, tick: u32) -> Result<(), ControlError> {
        let services = self.state.services.iter();
        let due: Vec<(String, Order)> = services
            .filter_map(|(name, state)| {
                let pending = state.pending.as_ref().filter(|p| p.due <= tick)?;
                Some((name.clone(), pending.order.clone()))
            })
            .collect();
        for (service, order) in due {
            match self.give(&service, &order, tick) {
                Ok(_) => tracing::info!("service `{service}`: `{order}` is in force"),
                Err(error @ ControlError::Unfinished(_)) => return Err(error),
                Err(error) => {
                    tracing::error!("service `{service}`: `{order}` is dropped: {error}");
                    let mut next = self.state.clone();
                    disarm(next.service_mut(&service)?);
                    self.commit(next)?;
                }
            }
        }
        Ok(())
    }

    fn give(&mut self, service: &str, order: &Order, tick: u32) -> Result<Done, ControlError> {
        match order {
            Order::Share { share_ppm, to } => self.share(service, *share_ppm, to.as_deref(), tick),
            Order::Cutover { to } => self.cutover(service, to.as_deref(), tick),
            Order::Rollback => self.rollback(service, tick),
            Order::Weight { backend, weight } => self.weight(service, backend, *weight, tick),
            Order::Admin { backend, admin } => self.admin(service, backend, *admin, tick),
            Order::Release(event) => self.steer(service, event, "", tick),
        }
    }

    fn unchanged(&self, service: &str, began: Instant, tick: u32) -> Result<Done, ControlError> {
        let nothing = super::commit::Commit { stored: None };
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

fn disarm(state: &mut ServiceState) {
    state.pending = None;
    state.position = state.position.disarmed();
}

fn occupied(service: &str, pending: &Pending, tick: u32) -> ControlError {
    let left = (TICK * pending.due.saturating_sub(tick)).as_secs();
    ControlError::Unfit {
        service: service.to_owned(),
        why: format!(
            "sessions are being pinned for `{}`, due in {left} s; wait for it, or call it off by \
             `serin rollback {service}`",
            pending.order
        ),
    }
}
