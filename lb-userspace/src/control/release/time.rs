//! What time does to releases.

use std::time::Duration;

use super::super::{Control, ControlError};
use crate::{
    dataplane::Dataplane,
    health::Name,
    release::engine::{Event, Run, Stage},
    state::{BackendState, ServiceState},
};

/// How long a hold may go on without being written down: at most that is lost by a boot.
const KEEP_MS: u64 = 30_000;
/// When a step that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl<D: Dataplane> Control<D> {
    /// Lets time pass for all releases; each makes at most one step.
    pub(in super::super) fn advance_releases(&mut self, tick: u32) -> Result<(), ControlError> {
        let now_ms = self.dataplane.clock_ms();
        self.advance_bound(now_ms, tick)?;
        let fates = self.steer_all(self.due(now_ms), tick);
        let refused = fates.refused.into_iter().map(|(_, error)| error);
        for error in refused.chain(fates.fault) {
            if matches!(error, ControlError::Unfinished(_)) {
                return Err(error);
            }
            tracing::error!("the release's next step is tried again: {error}");
        }
        match self
            .tell_waits(now_ms)
            .and_then(|()| self.keep_holds(now_ms))
        {
            Err(error @ ControlError::Unfinished(_)) => Err(error),
            Err(error) => {
                // What else is to be done need not wait for the disk.
                tracing::error!("where releases wait is not written down: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// What has happened to releases by itself.
    fn due(&self, now_ms: u64) -> Vec<(String, Event)> {
        let time_of_day_ms = self.dataplane.time_of_day_ms();
        let event = |(name, state): (&String, &ServiceState)| {
            let failed = state.failed_in_bake();
            if let Some(reason) = failed.filter(|_| self.unheard_ms(name, state, now_ms) == 0) {
                return Some((name.clone(), Event::Abort { reason }));
            }
            let run = state.position.run.as_ref()?;
            let scheduled = run.scheduled_ms.is_some_and(|at| at <= time_of_day_ms);
            let event = if scheduled { Event::Due } else { Event::Tick };
            (self.due_ms(name, state, now_ms) == Some(0)).then(|| (name.clone(), event))
        };
        self.state.services.iter().filter_map(event).collect()
    }

    /// Milliseconds until time moves a service's release; nothing while it can't.
    fn due_ms(&self, service: &str, state: &ServiceState, now_ms: u64) -> Option<u64> {
        let due = state.release_due_ms(now_ms, self.dataplane.time_of_day_ms())?;
        // What is still to be heard counts when it would move.
        Some(match due {
            0 => self.unheard_ms(service, state, now_ms),
            due => due,
        })
    }

    /// Milliseconds that a step waits at most until its candidate's backends have been checked: what
    /// the state says of them is what the daemon before this one knew.
    pub(in super::super) fn unheard_ms(
        &self,
        service: &str,
        state: &ServiceState,
        now_ms: u64,
    ) -> u64 {
        let run = state.position.run.as_ref();
        let pool = run.map_or("", |run| state.pool_name(run.candidate));
        let configured = self.config.service(service);
        let configured = configured.and_then(|service| service.pool(pool));
        let Some(health) = configured.and_then(|pool| pool.health.as_ref()) else {
            return 0;
        };
        let heard = |backend: &BackendState| {
            let name = Name {
                service: service.to_owned(),
                backend: backend.name.clone(),
            };
            // One that contradicts the state is not decided yet.
            let verdict = self.verdicts.get(&name);
            verdict.is_some_and(|verdict| verdict.against == 0)
        };
        if state.members(pool).all(|(_, backend)| heard(backend)) {
            return 0;
        }
        let patience = health.interval * health.rise.max(health.fall) + health.timeout;
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        patience.saturating_sub(now_ms.saturating_sub(self.started_ms))
    }

    /// Writes down how long steps have been held.
    fn keep_holds(&mut self, now_ms: u64) -> Result<(), ControlError> {
        let mut services = self.state.services.values();
        if !services.any(|state| state.unkept_ms(now_ms).is_some_and(|ms| ms >= KEEP_MS)) {
            return Ok(());
        }
        let mut next = self.state.clone();
        age(&mut next.services, now_ms);
        self.commit(next).map(drop)
    }

    /// How long no release has anything to do.
    pub(in super::super) fn next_release(&self) -> Option<Duration> {
        let now_ms = self.dataplane.clock_ms();
        let services = self.state.services.iter();
        let due = services.flat_map(|(name, state)| {
            let step = self.due_ms(name, state, now_ms);
            let step = step.map(|ms| match ms {
                0 => RETRY,
                ms => Duration::from_millis(ms),
            });
            // The time of day may jump meanwhile, of which nobody is told.
            let run = state.position.run.as_ref();
            let scheduled = run.is_some_and(|run| run.scheduled_ms.is_some());
            let step = step.map(|left| if scheduled { left.min(RETRY) } else { left });
            let bound = run.is_some_and(Run::is_bound).then_some(RETRY);
            let keep = state.unkept_ms(now_ms);
            let keep = keep.map(|ms| Duration::from_millis(KEEP_MS.saturating_sub(ms).max(1)));
            let gate = state.gates_due_in_ms(now_ms);
            // One that is being asked has been due ever since.
            let gate = gate.map(|ms| match ms {
                0 => RETRY,
                ms => Duration::from_millis(ms),
            });
            [step, bound, keep, gate]
        });
        due.flatten().chain(self.next_look()).min()
    }
}

/// Counts the time that has passed into every release that is under way.
pub(in super::super) fn age<'a>(
    services: impl IntoIterator<Item = (&'a String, &'a mut ServiceState)>,
    now_ms: u64,
) {
    for (_, state) in services {
        if let Some(run) = &mut state.position.run {
            *run = run.aged(now_ms);
        }
    }
}

impl ServiceState {
    /// Whether a release waits for its candidate, which has no backend that takes connections.
    pub(in super::super) fn lacks_candidate(&self) -> bool {
        let run = self.position.run.as_ref().filter(|run| run.is_ahead());
        run.is_some_and(|run| !self.can_serve(self.pool_name(run.candidate)))
    }

    /// Milliseconds until time moves the release; nothing while it can't. One whose candidate could
    /// not take more users waits.
    fn release_due_ms(&self, now_ms: u64, time_of_day_ms: u64) -> Option<u64> {
        let run = self.position.run.as_ref()?;
        if self.pending.is_some() || !run.is_under_way() {
            return None;
        }
        let run = run.aged(now_ms);
        let scheduled = run.scheduled_ms.map(|at| at.saturating_sub(time_of_day_ms));
        let serves = !run.is_ahead() || self.can_serve(self.pool_name(run.candidate));
        let due = if run.is_bound() {
            // It goes with the others; what is told of it once its time is over is its own.
            run.judged_due_ms()
        } else if serves {
            run.due_in_ms()
        } else {
            // At its time it is told of, and goes no further.
            let scheduled = scheduled.filter(|left| *left > 0);
            return run.deadline_left_ms().into_iter().chain(scheduled).min();
        };
        due.into_iter().chain(scheduled).min()
    }

    /// Why a promoted release that is watched is to be taken back, if it is. Its users would have
    /// no better where all backends of the pool before it are down as well.
    fn failed_in_bake(&self) -> Option<String> {
        let run = self.position.run.as_ref();
        let run = run.filter(|run| run.stage == Stage::Bake && self.pending.is_none())?;
        let before = self.pool_name(self.position.previous?);
        let pool = self.pool_name(run.candidate);
        let failed = self.is_dead(pool) && self.can_serve(before);
        failed.then(|| format!("all backends of pool `{pool}` are down"))
    }

    /// Milliseconds of the present hold that are not written down; nothing where none counts.
    fn unkept_ms(&self, now_ms: u64) -> Option<u64> {
        let run = self.position.run.as_ref()?;
        run.due_in_ms()?;
        Some(run.unseen_ms(now_ms))
    }
}
