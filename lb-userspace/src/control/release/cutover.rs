//! Cutovers: of a service by hand or as its blue-green release, and of several services as one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use humantime::format_rfc3339_seconds;

use super::{
    super::{
        Control, ControlError,
        orders::{require_servable, require_served},
        pending::occupied,
    },
    by_hand,
    tell::{happened, why},
};
use crate::{
    api::model::{CutoverOrder, Done, TogetherOrder},
    config::Datagram,
    dataplane::Dataplane,
    journal::Happened,
    release::{
        Position,
        engine::{self, Event, Run, Stage, Strategy},
    },
    state::{Order, ServiceState},
};

/// Why a cutover that is made by hand can't be set for later.
pub(super) const UNTIMED: &str = "no blue-green release can wait for a time; add [service.release] \
                                  with strategy = \"blue-green\", or give the order at that time";

/// Why a service with sessions goes by itself.
pub(super) const PINS_FIRST: &str = "its sessions are pinned before a cutover, which takes its \
                                     `idle`; cut it over by itself";

/// What several services that were cut over as one report.
#[derive(Debug)]
pub struct Together {
    /// Each, in the order in which they were named.
    pub services: Vec<Done>,
    /// From the first of their stores to the last; nothing if none was made.
    pub gap: Option<Duration>,
}

/// One of several cutovers that are made as one.
struct Move {
    position: Position,
    event: Happened,
    why: String,
    baseline: BTreeMap<u16, u64>,
}

impl<D: Dataplane> Control<D> {
    /// Sends all clients to another pool: as what the service's blue-green release is about, or by
    /// hand where it has none.
    pub fn cut_over(
        &mut self,
        service: &str,
        order: &CutoverOrder,
        tick: u32,
    ) -> Result<Done, ControlError> {
        let reason = order.reason.as_deref().unwrap_or_default();
        let to = order.to.as_deref();
        self.require_future(order.at_ms)?;
        let Some(event) = self.cutover_event(service, to, order.at_ms)? else {
            if order.at_ms.is_some() {
                return Err(unfit(service, UNTIMED));
            }
            return self.cutover(service, to, reason, tick);
        };
        let mut done = self.steer(service, &event, reason, tick)?;
        done.notes.extend(self.waits_for(service)?);
        Ok(done)
    }

    /// Sends all clients of several services to their other pools: all of them, or none.
    pub fn cut_over_together(
        &mut self,
        order: &TogetherOrder,
        tick: u32,
    ) -> Result<Together, ControlError> {
        let began = Instant::now();
        let names: BTreeSet<String> = order.services.iter().cloned().collect();
        if names.len() != order.services.len() || names.is_empty() {
            let why = "services: name each once, and at least one";
            return Err(ControlError::Usage(why.to_owned()));
        }
        if let Some(at_ms) = order.at_ms {
            return self.bind_together(order, &names, at_ms, tick);
        }
        let mut moves = Vec::new();
        for service in &order.services {
            moves.push((service, self.one_of_many(service, order, tick)?));
        }
        let mut whole = self.state.clone();
        for (service, to) in &moves {
            let state = whole.service_mut(service)?;
            state.position = to.position.clone();
            state.baseline.clone_from(&to.baseline);
            state.reassign_dead(&self.seed, tick);
            self.show(&mut whole, service, tick)?;
        }
        for (service, to) in &moves {
            self.will_note(service, to.event, &to.why);
        }
        let commit = self.commit_together(whole, names)?;
        let done = order.services.iter();
        let done = done.map(|service| self.done(service, &commit, began, tick));
        let stores = commit.first_stored.zip(commit.stored);
        Ok(Together {
            services: done.collect::<Result<_, _>>()?,
            gap: stores.and_then(|(first, last)| last.duration_since(first).ok()),
        })
    }

    /// What a cutover means to one of several services; refused where it could not be made at once.
    fn one_of_many(
        &self,
        service: &str,
        order: &TogetherOrder,
        tick: u32,
    ) -> Result<Move, ControlError> {
        let reason = order.reason.as_deref().unwrap_or_default();
        let to = order.to.as_deref();
        let state = self.state.service(service)?;
        if let Some(pending) = &state.pending {
            return Err(occupied(service, state, pending, tick));
        }
        let (position, event, why) = match self.cutover_event(service, to, None)? {
            Some(event) => self.released(service, &event, reason, tick)?,
            None => self.by_hand(service, to, reason, tick)?,
        };
        let sessions = self.config.service(service);
        let sessions = sessions.is_some_and(|config| config.datagram == Datagram::Session);
        if sessions && !state.position.covers(&position) {
            return Err(unfit(service, PINS_FIRST));
        }
        let baseline = self.connections(state)?;
        Ok(Move {
            position,
            event,
            why,
            baseline,
        })
    }

    fn released(
        &self,
        service: &str,
        event: &Event,
        reason: &str,
        tick: u32,
    ) -> Result<(Position, Happened, String), ControlError> {
        let state = self.state.service(service)?;
        let before = state.position.run.as_ref();
        let moment = self.moment(service);
        let advanced = engine::advance(before, event, moment);
        let (run, actions) = advanced.map_err(|refusal| ControlError::Release {
            service: service.to_owned(),
            refusal,
        })?;
        require_promoted(service, &run, || self.awaited(service, &run))?;
        let mut position = self.position_after(service, event, &actions, tick)?;
        require_served(service, state, &position)?;
        let told = happened(event, before, &run).unwrap_or(Happened::Promoted);
        let why = why(event, reason, before, &run);
        position.run = Some(run);
        Ok((position, told, why))
    }

    fn by_hand(
        &self,
        service: &str,
        to: Option<&str>,
        reason: &str,
        tick: u32,
    ) -> Result<(Position, Happened, String), ControlError> {
        let state = self.state.service(service)?;
        let pool = state.candidate_for(service, to)?;
        require_servable(service, state, &pool)?;
        let next = state.position.cutover(state.pools[&pool].id, tick);
        let mut next = next.map_err(|refusal| ControlError::Refused {
            service: service.to_owned(),
            object: format!("pool `{pool}`: "),
            refusal,
        })?;
        next.run = self.touched_by_hand(service, state, &next);
        let order = Order::Cutover {
            to: to.map(str::to_owned),
        };
        let why = match reason {
            "" => format!("`{order}` by hand"),
            reason => reason.to_owned(),
        };
        let event = by_hand(state, next.run.as_ref(), Happened::Cutover);
        Ok((next, event, why))
    }

    /// What a cutover means to the service's blue-green release: the one under way, or the one that
    /// is configured; nothing where it is made by hand.
    pub(super) fn cutover_event(
        &self,
        service: &str,
        to: Option<&str>,
        at_ms: Option<u64>,
    ) -> Result<Option<Event>, ControlError> {
        let state = self.state.service(service)?;
        if let Some(run) = state.position.run.as_ref().filter(|r| r.is_under_way()) {
            let is_green = run.plan.strategy == Strategy::BlueGreen;
            let other = to.map(|to| state.named_pool(service, to)).transpose()?;
            let other = other.filter(|to| state.pools[to].id != run.candidate);
            if let Some(other) = other.filter(|_| is_green) {
                let candidate = state.pool_name(run.candidate);
                return Err(unfit(
                    service,
                    &format!(
                        "the release under way is about pool `{candidate}`, not `{other}`; end it \
                         with `serin rollback {service}` first"
                    ),
                ));
            }
            return Ok(is_green.then_some(Event::CutOver { at_ms }));
        }
        let configured = self.config.service(service);
        let plan = configured.and_then(|service| service.release.clone());
        let Some(plan) = plan.filter(|plan| plan.strategy == Strategy::BlueGreen) else {
            return Ok(None);
        };
        let pool = state.candidate_for(service, to)?;
        let candidate = state.pools[&pool].id;
        if at_ms.is_some() && state.position.now.sends_to_candidate() {
            // They would lose it now, and not at that time.
            let given = state.pool_name(state.position.now.candidate);
            return Err(unfit(
                service,
                &format!(
                    "pool `{given}` was given users by hand; take them back with `serin rollback \
                     {service}` first, or leave out --at"
                ),
            ));
        }
        // Whoever names the active pool takes back what was given out by hand.
        Ok(
            (candidate != state.position.now.active).then_some(Event::Start {
                plan,
                candidate,
                replace: false,
                straight: true,
                at_ms,
            }),
        )
    }

    /// A time that is over is a mistake, and not to be taken for now.
    pub(super) fn require_future(&self, at_ms: Option<u64>) -> Result<(), ControlError> {
        let Some(at_ms) = at_ms.filter(|&at| at <= self.dataplane.time_of_day_ms()) else {
            return Ok(());
        };
        Err(ControlError::Usage(format!(
            "{} is over; name a later time, or leave out --at",
            moment(at_ms)
        )))
    }

    /// What a release that did not go on at once waits for.
    fn waits_for(&self, service: &str) -> Result<Option<String>, ControlError> {
        let state: &ServiceState = self.state.service(service)?;
        let run = state.position.run.as_ref().filter(|run| run.is_ahead());
        let run = run.filter(|_| state.pending.is_none());
        Ok(run.map(|run| format!("the cutover waits for {}", self.awaited(service, run))))
    }

    fn awaited(&self, service: &str, run: &Run) -> String {
        if run.scheduled_ms.is_none() && self.moment(service).unheard {
            return "the first checks of its backends since the daemon was started".to_owned();
        }
        awaited(run)
    }
}

/// Refuses a release that does not go at one moment with the others.
pub(super) fn require_promoted(
    service: &str,
    run: &Run,
    awaited: impl FnOnce() -> String,
) -> Result<(), ControlError> {
    let why = match &run.stage {
        Stage::Bake | Stage::Promoted => return Ok(()),
        Stage::Waiting | Stage::Step(_) => format!("its release waits for {}", awaited()),
        Stage::Aborted { reason } => format!("its release would be aborted instead ({reason})"),
        Stage::TakenOver | Stage::RolledBack => "its release is over".to_owned(),
    };
    let why = format!("{why} before the cutover; cut it over by itself, or the others without it");
    Err(unfit(service, &why))
}

pub(super) fn awaited(run: &Run) -> String {
    if let Some(at_ms) = run.scheduled_ms {
        return moment(at_ms);
    }
    let gates = run
        .closed_gates()
        .map(|(gate, _)| format!("`{}`", gate.name));
    let gates: Vec<_> = gates.collect();
    if gates.is_empty() {
        return "an approval (`serin promote`)".to_owned();
    }
    format!("gate {}", gates.join(", "))
}

/// A time of day, in UTC; the last one that there is for those that are later still.
pub(super) fn moment(at_ms: u64) -> String {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(at_ms).min(LAST);
    format_rfc3339_seconds(at).to_string()
}

pub(super) fn unfit(service: &str, why: &str) -> ControlError {
    ControlError::Unfit {
        service: service.to_owned(),
        why: why.to_owned(),
    }
}
