//! Another configuration while releases are under way: what would change the release itself is
//! refused, and what can't be refused, at a start, is said.
//!
//! A release has its own copy of steps and gates, so that an edit of those is for the next one. What
//! it does not have a copy of is who its candidate is, and who gets it.

use super::{Control, ControlError, audit::Subject};
use crate::{
    config::{Audience, Config, Pool, Service},
    dataplane::Dataplane,
    journal::Happened,
    release::{
        PoolId,
        engine::{self, Event, Run, Stage},
    },
    state::{BackendState, ServiceState, State, places},
};

/// In the bake time it ends the watch, and moves nobody.
const PROMOTE: Event = Event::Promote {
    full: false,
    expect_step: None,
};

impl<D: Dataplane> Control<D> {
    /// Refuses a configuration that would change a release under way.
    pub(super) fn refuse_drift(&self, config: &Config) -> Result<(), ControlError> {
        for (name, state) in &self.state.services {
            let Some(run) = under_way(state) else {
                continue;
            };
            let before = self.config.service(name);
            let Some(what) = touched(state, run, before, config.service(name)) else {
                continue;
            };
            let why = format!(
                "its release of pool `{}` is {}, and {what}; nothing of the file was applied: leave \
                 that as it is until the release is over, or end it first ({}); `serin apply \
                 --dry-run` tells whether a file may be applied",
                state.pool_name(run.candidate),
                place(run),
                way_out(name, run),
            );
            let service = name.clone();
            return Err(ControlError::Unfit { service, why });
        }
        Ok(())
    }

    /// What whoever edits the plan of a release under way should know.
    pub fn drift_remarks(&self, config: &Config) -> Vec<String> {
        let releases = self.state.services.iter();
        let edited = releases.filter_map(|(name, state)| {
            let run = under_way(state)?;
            let plan = |config: &Config| config.service(name)?.release.clone();
            (plan(&self.config) != plan(config)).then(|| {
                format!(
                    "service `{name}`: its release is {}, and goes on by the steps and gates that \
                     it began with; the edited ones are for the next",
                    place(run)
                )
            })
        });
        edited.collect()
    }
}

/// What of a release a configuration would change, if anything.
fn touched(
    state: &ServiceState,
    run: &Run,
    before: Option<&Service>,
    after: Option<&Service>,
) -> Option<String> {
    let Some(after) = after else {
        return Some("the service would be removed".to_owned());
    };
    // A promoted release that is watched is taken back by itself to the pool before it.
    let before_it = state.position.previous.filter(|_| run.stage == Stage::Bake);
    let pools = [run.candidate, state.position.now.active].into_iter();
    for id in pools.chain(before_it) {
        let pool = state.pool_name(id);
        match after.pool(pool) {
            None => return Some(format!("its pool `{pool}` would be removed")),
            Some(next) if is_replaced(state, next) => {
                return Some(format!(
                    "no backend that serves in pool `{pool}` would be left of those that do now"
                ));
            }
            Some(_) => {}
        }
    }
    let plan = after.release.as_ref();
    if plan.is_some_and(|plan| plan.strategy != run.plan.strategy) {
        return Some("its strategy would be another".to_owned());
    }
    let judged = |service: &Service| judged(&service.audiences).to_vec();
    let differs = before.is_some_and(|before| judged(before) != judged(after));
    differs.then(|| "the audiences that get its candidate would be others".to_owned())
}

/// Whether a pool that serves would have none of the backends by which it does.
fn is_replaced(state: &ServiceState, next: &Pool) -> bool {
    let serving = state.members(&next.name);
    let mut serving = serving
        .filter(|(_, backend)| backend.takes_connections())
        .peekable();
    let kept = |backend: &BackendState| {
        let mut configured = next.backends.iter();
        configured.any(|c| c.name == backend.name && places(c) == backend.places)
    };
    serving.peek().is_some() && !serving.any(|(_, backend)| kept(backend))
}

/// The audiences that decide who gets the candidate: the first match answers, so that of those
/// behind the last that sends somebody there, none does.
fn judged(audiences: &[Audience]) -> &[Audience] {
    let last = audiences.iter().rposition(|a| a.share_ppm > 0);
    last.map_or(&[], |last| &audiences[..=last])
}

fn under_way(state: &ServiceState) -> Option<&Run> {
    state.position.run.as_ref().filter(|run| run.is_under_way())
}

/// Where a release is, in words.
fn place(run: &Run) -> String {
    match run.step() {
        Some(step) => format!("at step {} of {}", step + 1, run.plan.steps.len()),
        None if run.stage == Stage::Bake => "promoted and in its bake time".to_owned(),
        None => "before its first step".to_owned(),
    }
}

/// The orders that end a release.
fn way_out(service: &str, run: &Run) -> String {
    match run.stage {
        Stage::Bake => {
            format!("`serin promote {service}`, or back with `serin rollback {service}`")
        }
        Stage::Waiting
        | Stage::Step(_)
        | Stage::Promoted
        | Stage::Aborted { .. }
        | Stage::TakenOver
        | Stage::RolledBack => format!("`serin abort {service}`"),
    }
}

/// Ends releases whose candidate a start's configuration does not have any more, and the watch of
/// those that have no pool to be taken back to; holds those whose audience is gone; tells of each.
/// Pools that users are on stay until they have drained.
pub(super) fn take_drift(
    state: &mut State,
    config: &mut Config,
    tick: u32,
    now_ms: u64,
) -> Vec<(String, Subject)> {
    let mut told = Vec::new();
    for (name, state) in &mut state.services {
        let Some(run) = under_way(state).cloned() else {
            continue;
        };
        let place = place(&run);
        let Some(service) = config.service_mut(name) else {
            let cause = format!("the file has no such service any more; its release was {place}");
            told.push((name.clone(), Subject::whole(Happened::Aborted, &cause)));
            continue;
        };
        let pool = state.pool_name(run.candidate).to_owned();
        if run.stage != Stage::Bake && service.pool(&pool).is_none() {
            keep_pool(service, &pool);
            let cause = format!("the file has no pool `{pool}` any more; its release was {place}");
            end(state, &cause, tick, now_ms);
            told.push((name.clone(), Subject::whole(Happened::Aborted, &cause)));
        } else if let Some(pool) = lost_way_back(state, &run, service) {
            let cause = format!(
                "the file has no pool `{pool}` any more, to which its release could be taken back; \
                 it was {place}"
            );
            let ended = engine::advance(Some(&run), &PROMOTE, now_ms);
            state.position.run = ended.ok().map(|(run, _)| run).or(Some(run));
            told.push((name.clone(), Subject::whole(Happened::Baked, &cause)));
        } else if let Some(audience) = lost_audience(&run, service).filter(|_| !run.paused) {
            let cause = format!(
                "the file has no audience `{audience}` any more, which a step of it is for; put it \
                 back and give `serin resume {name}`, or end it with `serin abort {name}`"
            );
            let held = engine::advance(Some(&run), &Event::Pause, now_ms);
            state.position.run = held.ok().map(|(run, _)| run).or(Some(run));
            told.push((name.clone(), Subject::whole(Happened::Paused, &cause)));
        }
    }
    told
}

/// The pool that a promoted release that is watched would be taken back to, if it is no more.
fn lost_way_back(state: &ServiceState, run: &Run, service: &Service) -> Option<String> {
    let previous = state
        .position
        .previous
        .filter(|_| run.stage == Stage::Bake)?;
    let pool = state.pool_name(previous);
    service.pool(pool).is_none().then(|| pool.to_owned())
}

/// A pool without backends: those that it had leave once their last connection has ended, and the
/// next `apply` may remove it.
fn keep_pool(service: &mut Service, pool: &str) {
    service.pools.push(Pool {
        name: pool.to_owned(),
        health: None,
        backends: Vec::new(),
    });
}

fn end(state: &mut ServiceState, reason: &str, tick: u32, now_ms: u64) {
    let abort = Event::Abort {
        reason: reason.to_owned(),
    };
    let position = &state.position;
    let aborted = engine::advance(position.run.as_ref(), &abort, now_ms);
    let active: PoolId = position.now.active;
    if let Ok(back) = position.cutover(active, tick) {
        state.position = back;
    }
    if let Ok((run, _)) = aborted {
        state.position.run = Some(run);
    }
    state.end_pending(Some(reason.to_owned()));
}

/// An audience that a step is for, if the service has it no more: its clients would lose the candidate,
/// or never get it.
fn lost_audience(run: &Run, service: &Service) -> Option<String> {
    let is_there = |name: &&String| {
        let mut audiences = service.audiences.iter();
        audiences.any(|known| known.name == **name && known.share_ppm > 0)
    };
    let mut named = run.plan.audiences().filter(|_| run.is_ahead());
    named.find(|name| !is_there(name)).cloned()
}
