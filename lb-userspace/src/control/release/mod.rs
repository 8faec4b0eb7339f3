//! Releases that go by a plan: from an order, or from time that has passed, to one store.

mod bound;
mod cutover;
mod gates;
mod many;
mod tell;
mod time;
mod waits;

pub use self::{
    cutover::Together,
    gates::{Ask, Unheard},
};

pub(super) use self::{tell::found, time::age};

use std::time::Instant;

use self::tell::{happened, why};
use super::{
    Control, ControlError,
    audit::Subject,
    back::is_way_back,
    orders::{require_servable, require_served},
};
use crate::{
    api::model::Done,
    dataplane::Dataplane,
    journal::Happened,
    release::{
        Position, Refusal, Salts,
        engine::{self, Action, Event, Run, Stage},
    },
    state::{Order, ServiceState, State},
};

/// What an event comes to.
struct Turn {
    /// What is said of it while it waits for sessions.
    order: Order,
    /// Where the service is then, and its release.
    position: Position,
    /// Clients are sent elsewhere.
    moves: bool,
    /// It does nothing but take users back.
    back: bool,
    /// Below which bucket sessions are moved, if any are.
    touched: Option<u32>,
    /// What the log is told.
    told: Vec<Subject>,
}

impl<D: Dataplane> Control<D> {
    /// Begins the configured release.
    pub fn start_release(
        &mut self,
        service: &str,
        to: Option<&str>,
        replace: bool,
        at_ms: Option<u64>,
        tick: u32,
    ) -> Result<Done, ControlError> {
        self.require_future(at_ms)?;
        let state = self.state.service(service)?;
        let unfit = |why: String| ControlError::Unfit {
            service: service.to_owned(),
            why,
        };
        let configured = self.config.service(service);
        let plan = configured.and_then(|service| service.release.clone());
        let plan = plan.ok_or_else(|| {
            unfit(
                "no release is configured; add [service.release] with its steps, or move users by \
                 hand with `serin share`"
                    .to_owned(),
            )
        })?;
        let pool = state.candidate_for(service, to)?;
        let by_hand = state.position.now.sends_to_candidate() && !state.is_released();
        if by_hand && !replace {
            return Err(unfit(format!(
                "pool `{}` was given users by hand; take them back with `serin rollback \
                 {service}`, or start with --replace",
                state.pool_name(state.position.now.candidate)
            )));
        }
        let event = Event::Start {
            plan,
            candidate: state.pools[&pool].id,
            replace,
            straight: false,
            at_ms,
        };
        self.steer(service, &event, "", tick)
    }

    /// Takes all users back; whatever waits for sessions is called off as well.
    pub fn abort(&mut self, service: &str, reason: &str, tick: u32) -> Result<Done, ControlError> {
        if !self.state.service(service)?.is_released()
            && let Some(done) = self.call_off(service, Instant::now(), tick)?
        {
            return Ok(done);
        }
        let reason = reason.to_owned();
        self.steer(service, &Event::Abort { reason }, "", tick)
    }

    /// Carries out what an event means to a release: position and plan change in one store.
    pub fn steer(
        &mut self,
        service: &str,
        event: &Event,
        cause: &str,
        tick: u32,
    ) -> Result<Done, ControlError> {
        let began = Instant::now();
        let turn = self.weigh(service, event, cause, tick)?;
        let given = (turn.order.clone(), cause);
        if turn.back {
            if let Some(done) = self.arm_back(service, given, turn.touched, began, tick)? {
                return Ok(done);
            }
            let stored = self.store_back(service, &turn.position);
            let mut whole = self.state.clone();
            self.call_off_in(&mut whole, service)?;
            self.take(&mut whole, service, turn, tick)?;
            let commit = self.commit_back(whole, stored)?;
            return self.done(service, &commit, began, tick);
        }
        if turn.moves
            && let Some(done) = self.arm(service, given, turn.touched, began, tick)?
        {
            return Ok(done);
        }
        let mut whole = self.state.clone();
        self.take(&mut whole, service, turn, tick)?;
        let commit = self.commit(whole)?;
        if matches!(event, Event::Start { .. } | Event::Retry) {
            self.sittings.close(service);
        }
        self.done(service, &commit, began, tick)
    }

    /// What an event comes to; refused where it can't be.
    fn weigh(
        &self,
        service: &str,
        event: &Event,
        cause: &str,
        tick: u32,
    ) -> Result<Turn, ControlError> {
        let rather = self.rather(service, event)?;
        let event = rather.as_ref().unwrap_or(event);
        let state = self.state.service(service)?;
        let before = state.position.run.as_ref();
        let (run, actions) =
            engine::advance(before, event, self.moment(service)).map_err(|refusal| {
                ControlError::Release {
                    service: service.to_owned(),
                    refusal,
                }
            })?;
        // One that is replaced by another is taken back on the way to that.
        let back = is_way_back(&actions) && !matches!(event, Event::Start { .. });
        let next = self.position_after(service, event, &actions, tick)?;
        let next = Position {
            run: Some(run.clone()),
            ..next
        };
        let shown = self.shown(service, &next, back, tick)?;
        if !actions.is_empty() && !back {
            require_served(service, state, &shown)?;
        }
        let found = if let Event::Judged { round, opinion } = event {
            found(before, *round, opinion)
        } else {
            None
        };
        let told = happened(event, before, &run)
            .map(|happened| Subject::whole(happened, &why(event, cause, before, &run)));
        let told = told.or_else(|| gates::changed(event, before, &run));
        Ok(Turn {
            order: Order::Release(event.clone()),
            moves: !actions.is_empty() || shown.now != state.position.now,
            back,
            touched: (!state.position.covers(&shown)).then_some(shown.touched_ppm),
            told: found.into_iter().chain(told).collect(),
            position: next,
        })
    }

    /// Makes a turn part of the state that is to be; of one that fails nothing is.
    fn take(
        &mut self,
        whole: &mut State,
        service: &str,
        turn: Turn,
        tick: u32,
    ) -> Result<(), ControlError> {
        let before = whole.service(service)?.clone();
        let taken = self.take_in(whole, service, turn, tick);
        if taken.is_err() {
            whole.services.insert(service.to_owned(), before);
        }
        taken
    }

    fn take_in(
        &mut self,
        whole: &mut State,
        service: &str,
        turn: Turn,
        tick: u32,
    ) -> Result<(), ControlError> {
        let state = whole.service_mut(service)?;
        if turn.moves {
            // Users are not kept away for want of a count.
            let counted = self.connections(state);
            state.baseline = if turn.back {
                counted.unwrap_or_default()
            } else {
                counted?
            };
        }
        let pending = state.pending.as_ref();
        if pending.is_some_and(|p| p.order == turn.order || (turn.back && p.is_way_back())) {
            state.end_pending(None);
        }
        state.position = turn.position;
        if turn.moves {
            state.reassign_dead(&self.seed, tick);
        }
        // Whoever is taken back gets the active pool, by whatever audience.
        if !turn.back {
            self.show(whole, service, tick)?;
        }
        for subject in turn.told {
            self.will_note_about(service, subject);
        }
        Ok(())
    }

    /// A position of a service, as it is once clients are judged by the audiences that its release
    /// shows the candidate to. Who is taken back gets the active pool by any of them.
    pub(super) fn shown(
        &self,
        service: &str,
        position: &Position,
        back: bool,
        tick: u32,
    ) -> Result<Position, ControlError> {
        let position = position.clone();
        match self.config.service(service).filter(|_| !back) {
            Some(config) => Ok(self.state.shown(config, position, &self.image, tick)?),
            None => Ok(position),
        }
    }

    /// The same for a service of a state that is to be.
    pub(super) fn show(
        &self,
        whole: &mut State,
        service: &str,
        tick: u32,
    ) -> Result<(), ControlError> {
        match self.config.service(service) {
            Some(config) => Ok(whole.show(config, &self.image, tick)?),
            None => Ok(()),
        }
    }

    /// Where a service is after an event.
    pub(super) fn position_after(
        &self,
        service: &str,
        event: &Event,
        actions: &[Action],
        tick: u32,
    ) -> Result<Position, ControlError> {
        let state = self.state.service(service)?;
        let salts = |number| self.seed.salt(service, number);
        let next = follow(&state.position, event, actions, tick, &salts);
        let next = next.map_err(|refusal| ControlError::Refused {
            service: service.to_owned(),
            object: if refusal == Refusal::AlreadyActive {
                format!("pool `{}`: ", state.pool_name(state.position.now.active))
            } else {
                String::new()
            },
            refusal,
        })?;
        self.require_way_back(service, event, actions, &next)?;
        Ok(next)
    }

    /// By itself, no release sends its users from a pool that serves to one that can't.
    fn require_way_back(
        &self,
        service: &str,
        event: &Event,
        actions: &[Action],
        next: &Position,
    ) -> Result<(), ControlError> {
        let by_itself = matches!(
            event,
            Event::Gate { .. } | Event::Judged { .. } | Event::Tick | Event::Due
        );
        let back = actions
            .iter()
            .any(|action| matches!(action, Action::Withdraw | Action::RollBack { .. }));
        let state = self.state.service(service)?;
        let run = state.position.run.as_ref();
        let serves = run.is_some_and(|run| state.can_serve(state.pool_name(run.candidate)));
        if by_itself && back && serves {
            return require_servable(service, state, state.pool_name(next.now.active));
        }
        Ok(())
    }

    /// What a change by hand to another position means to the release of before.
    pub(super) fn touched_by_hand(
        &self,
        service: &str,
        state: &ServiceState,
        next: &Position,
    ) -> Option<Run> {
        let mut run = state.position.run.clone()?;
        if !state.position.now.sends_to_candidate() {
            run = run.unhidden();
        }
        // A share by hand ends the watch of a promoted one, too.
        let watched = run.is_under_way() && next.now.sends_to_candidate();
        let event = if run.is_ahead() || watched {
            Event::TakeOver
        } else if next.now.active != run.candidate {
            Event::RollBack
        } else {
            return Some(run);
        };
        let touched = engine::advance(Some(&run), &event, self.moment(service));
        touched.ok().map(|(run, _)| run)
    }
}

/// What a change by hand is called: by what it has made of the release that was under way, if one
/// was.
pub(super) fn by_hand(before: &ServiceState, after: Option<&Run>, happened: Happened) -> Happened {
    match after.filter(|_| before.is_released()).map(|run| &run.stage) {
        Some(Stage::TakenOver) => Happened::TakenOver,
        Some(Stage::RolledBack) => Happened::RolledBack,
        Some(
            Stage::Waiting | Stage::Step(_) | Stage::Bake | Stage::Promoted | Stage::Aborted { .. },
        )
        | None => happened,
    }
}

/// The position after the actions, given that of before. A release that begins anew draws new
/// clients.
fn follow(
    position: &Position,
    event: &Event,
    actions: &[Action],
    tick: u32,
    salts: &impl Salts,
) -> Result<Position, Refusal> {
    let mut next = position.clone();
    let begun = if let Event::Start { candidate, .. } = event {
        Some(*candidate)
    } else {
        let run = position.run.as_ref();
        run.filter(|_| matches!(event, Event::Retry))
            .map(|run| run.candidate)
    };
    // Also where the first step, which it would be refused for, moves nobody or comes later.
    if begun == Some(position.now.active) {
        return Err(Refusal::AlreadyActive);
    }
    if let Event::Start { candidate, .. } = event {
        next = withdrawn(next, tick)?.begun(*candidate);
    }
    for action in actions {
        next = match *action {
            Action::Share {
                candidate,
                share_ppm,
            } if next.now.candidate == candidate
                && next.now.share_ppm == share_ppm
                && next.now.active != candidate =>
            {
                next
            }
            Action::Share {
                candidate,
                share_ppm,
            } => next.share(candidate, share_ppm, tick, salts)?,
            Action::Promote { candidate } if next.now.active == candidate => next,
            Action::Promote { candidate } => next.cutover(candidate, tick)?,
            Action::RollBack { candidate } if next.now.active != candidate => next,
            Action::RollBack { .. } => withdrawn(next, tick)?.rollback(tick)?,
            Action::Withdraw => withdrawn(next, tick)?,
        };
    }
    Ok(next)
}

fn withdrawn(position: Position, tick: u32) -> Result<Position, Refusal> {
    if position.now.sends_to_candidate() {
        return position.cutover(position.now.active, tick);
    }
    Ok(position)
}

impl ServiceState {
    /// Whether a release by a plan is under way.
    pub fn is_released(&self) -> bool {
        self.position.run.as_ref().is_some_and(Run::is_under_way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::PoolId;

    #[test]
    fn an_action_that_is_carried_out_already_changes_nothing() {
        const BLUE: PoolId = 0;
        const GREEN: PoolId = 1;
        let salts = |number: u64| number * 1000;
        let rest = Position::new(BLUE, &salts);
        let shared = rest.share(GREEN, 50_000, 1, &salts).expect("5%");
        let moved = shared.cutover(GREEN, 2).expect("all");
        let share = |share_ppm| Action::Share {
            candidate: GREEN,
            share_ppm,
        };
        let mut tried = 0;
        for position in [rest, shared, moved] {
            for action in [
                share(0),
                share(10_000),
                share(50_000),
                Action::Promote { candidate: GREEN },
                Action::RollBack { candidate: GREEN },
                Action::Withdraw,
            ] {
                let follow = |position: &Position, tick| {
                    follow(position, &Event::Tick, &[action], tick, &salts)
                };
                let Ok(once) = follow(&position, 5) else {
                    continue;
                };
                assert_eq!(
                    follow(&once, 6),
                    Ok(once.clone()),
                    "{action:?} of {position:?}"
                );
                tried += 1;
            }
        }
        assert!(tried >= 12, "{tried}");
    }
}
