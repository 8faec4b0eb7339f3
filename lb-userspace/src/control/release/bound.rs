//! Several services that are cut over as one at a time of day: their releases are bound to one another,
//! and go at one moment, as soon as the time has come and all of them can.

use std::{collections::BTreeSet, time::Instant};

use super::{
    super::{Control, ControlError, pending::occupied},
    cutover::{PINS_FIRST, Together, UNTIMED, awaited, moment, require_promoted, unfit},
};
use crate::{
    api::model::TogetherOrder,
    dataplane::Dataplane,
    journal::Happened,
    release::{
        Position,
        engine::{self, Action, Event, Moment, Refusal, Run, Stage},
    },
    state::ServiceState,
};

impl<D: Dataplane> Control<D> {
    /// Sets the time at which several services are cut over: for all of them, or for none.
    pub(super) fn bind_together(
        &mut self,
        order: &TogetherOrder,
        names: &BTreeSet<String>,
        at_ms: u64,
        tick: u32,
    ) -> Result<Together, ControlError> {
        let began = Instant::now();
        self.require_future(Some(at_ms))?;
        let mut whole = self.state.clone();
        for service in &order.services {
            let position = self.bound(service, order, names, tick)?;
            whole.service_mut(service)?.position = position;
        }
        let why = order.reason.clone().unwrap_or_else(|| {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("cutover of {} as one", names.join(", "))
        });
        for service in &order.services {
            self.will_note(service, Happened::Scheduled, &why);
        }
        let commit = self.commit(whole)?;
        let done = order.services.iter().map(|service| {
            let mut done = self.done(service, &commit, began, tick)?;
            let note = format!("the cutover waits for {}", moment(at_ms));
            done.notes.push(note);
            Ok(done)
        });
        Ok(Together {
            services: done.collect::<Result<_, ControlError>>()?,
            gap: None,
        })
    }

    /// Where one of the services is once its release is bound to the others'; refused where it could
    /// not go at one moment with them.
    fn bound(
        &self,
        service: &str,
        order: &TogetherOrder,
        names: &BTreeSet<String>,
        tick: u32,
    ) -> Result<Position, ControlError> {
        let state = self.state.service(service)?;
        if let Some(pending) = &state.pending {
            return Err(occupied(service, state, pending, tick));
        }
        if self.has_sessions(service) {
            return Err(unfit(service, PINS_FIRST));
        }
        let event = self.cutover_event(service, order.to.as_deref(), order.at_ms)?;
        let event = event.ok_or_else(|| unfit(service, UNTIMED))?;
        let advance = |run: Option<&Run>, event: &Event| {
            // By then, the daemon has heard of all backends.
            let moment = Moment {
                unheard: false,
                ..self.moment(service)
            };
            let advanced = engine::advance(run, event, moment);
            advanced.map_err(|refusal: Refusal| ControlError::Release {
                service: service.to_owned(),
                refusal,
            })
        };
        let (run, actions): (Run, Vec<Action>) = advance(state.position.run.as_ref(), &event)?;
        let bind = Event::Bind {
            services: names.clone(),
            begun: matches!(event, Event::Start { .. }),
        };
        let (run, _) = advance(Some(&run), &bind)?;
        let (then, _) = advance(Some(&run), &Event::CutOver { at_ms: None })?;
        require_promoted(service, &then, || awaited(&then))?;
        self.require_in_time(service, &run)?;
        let position = self.position_after(service, &event, &actions, tick)?;
        Ok(Position {
            run: Some(run),
            ..position
        })
    }

    /// A release that would be aborted before the time is one that does not go.
    fn require_in_time(&self, service: &str, run: &Run) -> Result<(), ControlError> {
        let left = run
            .deadline_left_ms()
            .filter(|_| run.stage != Stage::Waiting);
        let ends = left.map(|left| self.dataplane.time_of_day_ms().saturating_add(left));
        let (Some(ends), Some(at_ms)) = (ends, run.scheduled_ms) else {
            return Ok(());
        };
        if at_ms < ends {
            return Ok(());
        }
        let why = format!(
            "its release is aborted at its deadline, {}, before that time; name an earlier one, or \
             begin it anew with `serin start {service} --replace`",
            moment(ends)
        );
        Err(unfit(service, &why))
    }

    /// Lets those go that are bound to one another and can all go, and those be that are bound to one
    /// which does not go with them.
    pub(super) fn advance_bound(&mut self, now_ms: u64, tick: u32) -> Result<(), ControlError> {
        for (service, why) in self.left_alone() {
            self.try_bound(|core| {
                core.steer(&service, &Event::LetGo { why }, "", tick)
                    .map(drop)
            })?;
        }
        for services in self.ready(now_ms) {
            let order = TogetherOrder {
                services: services.into_iter().collect(),
                reason: Some("the time that was set".to_owned()),
                ..TogetherOrder::default()
            };
            self.try_bound(|core| core.cut_over_together(&order, tick).map(drop))?;
        }
        Ok(())
    }

    fn try_bound(
        &mut self,
        order: impl FnOnce(&mut Self) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        match order(self) {
            Err(error @ ControlError::Unfinished(_)) => Err(error),
            Err(error) => {
                tracing::error!("the cutover of several services is tried again: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The groups whose time has come, and each of which can go.
    fn ready(&self, now_ms: u64) -> BTreeSet<BTreeSet<String>> {
        let time_of_day_ms = self.dataplane.time_of_day_ms();
        let can_go = |name: &String, group: &BTreeSet<String>| {
            let state = self.state.services.get(name);
            state.is_some_and(|state| {
                state.is_ready(group, time_of_day_ms) && self.unheard_ms(name, state, now_ms) == 0
            })
        };
        let groups = self.bound_runs().map(|(_, run)| &run.bound);
        let ready = groups.filter(|group| group.iter().all(|name| can_go(name, group)));
        ready.cloned().collect()
    }

    /// Services that can't go with others any more, or are bound to one that is not bound to them, and
    /// what is said of that.
    fn left_alone(&self) -> Vec<(String, String)> {
        let alone = self.bound_runs().filter_map(|(name, run)| {
            if self.has_sessions(name) {
                return Some((name.clone(), format!("it has sessions now: {PINS_FIRST}")));
            }
            let goes = |other: &&String| {
                let state = self.state.services.get(*other);
                let other = state.and_then(|state| state.position.run.as_ref());
                other.is_some_and(|other| other.is_bound_to(&run.bound))
            };
            let other = run.bound.iter().find(|other| !goes(other))?;
            let why = format!(
                "`{other}`, with which it was to be cut over, does not go with it any more (`serin \
                 history {other}` tells why)"
            );
            Some((name.clone(), why))
        });
        alone.collect()
    }

    fn bound_runs(&self) -> impl Iterator<Item = (&String, &Run)> {
        let services = self.state.services.iter();
        let runs = services.filter_map(|(name, state)| Some((name, state.position.run.as_ref()?)));
        runs.filter(|(_, run)| run.is_bound() && run.is_ahead())
    }
}

impl ServiceState {
    /// Whether nothing but the others keeps a release that is bound to this group from its cutover.
    fn is_ready(&self, group: &BTreeSet<String>, time_of_day_ms: u64) -> bool {
        let run = self.position.run.as_ref();
        run.filter(|run| run.is_bound_to(group)).is_some_and(|run| {
            let due = run.scheduled_ms.is_none_or(|at| at <= time_of_day_ms);
            let serves = self.can_serve(self.pool_name(run.candidate));
            due && serves && !run.paused && self.pending.is_none()
        })
    }
}
