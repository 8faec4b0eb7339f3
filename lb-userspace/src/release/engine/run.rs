//! One release, from its start to its end.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Action, Plan, Step};
use crate::release::PoolId;

/// Where a release is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What it is to go through, as it was when it started: a later edit of the file does not
    /// move a release that is under way.
    pub plan: Plan,
    /// The pool that is released.
    pub candidate: PoolId,
    /// How far it has come.
    pub stage: Stage,
    /// It stays where it is until somebody lets it go on.
    pub paused: bool,
    /// How long the present step has been held, in milliseconds; pauses don't count.
    pub held_ms: u64,
    /// How long the release has taken, in milliseconds; pauses count.
    pub age_ms: u64,
    /// The clock at the last event; nothing if it began anew since.
    seen_ms: Option<u64>,
}

/// How far a release has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// At a step of the plan, counted from 0.
    Step(usize),
    /// The candidate is the active pool.
    Promoted,
    /// All users were taken back.
    Aborted {
        /// Why.
        reason: String,
    },
    /// Somebody moved the share by hand.
    TakenOver,
    /// It was promoted, and then users were sent elsewhere.
    RolledBack,
}

/// An event that a release can't take.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no release.
    #[error("no release has been started; begin one with `serin start`")]
    NotStarted,
    /// There is one already.
    #[error("a release is at step {0}; abort it first, or start with --replace")]
    UnderWay(usize),
    /// The step is another than the one expected.
    #[error("the release is at step {found}, not {expected}; look at it with `serin status`")]
    OtherStep {
        /// The step that was expected, counted from 1.
        expected: usize,
        /// The step that it is at, counted from 1.
        found: usize,
    },
    /// The release is over.
    #[error("the release is over: it was {0}; begin another with `serin start`{1}")]
    Over(&'static str, &'static str),
    /// Only an aborted release is tried again.
    #[error("only an aborted release can be tried again; begin another with `serin start`")]
    NotAborted,
    /// It is paused, or not, already.
    #[error("{0}")]
    Already(&'static str),
}

impl Run {
    /// A release at its first step.
    pub(super) fn start(
        plan: &Plan,
        before: Option<&Self>,
        candidate: PoolId,
        replace: bool,
        now_ms: u64,
    ) -> Result<(Self, Vec<Action>), Refusal> {
        let step = before.and_then(Self::step);
        let mut actions = Vec::new();
        match step {
            Some(step) if !replace => return Err(Refusal::UnderWay(step + 1)),
            Some(_) => actions.push(Action::Withdraw),
            None => {}
        }
        let mut run = Self {
            plan: plan.clone(),
            candidate,
            stage: Stage::Step(0),
            paused: false,
            held_ms: 0,
            age_ms: 0,
            seen_ms: Some(now_ms),
        };
        actions.extend(run.enter(0));
        Ok((run, actions))
    }

    /// The step that it is at, counted from 0; nothing once it is over.
    pub const fn step(&self) -> Option<usize> {
        match self.stage {
            Stage::Step(step) => Some(step),
            Stage::Promoted | Stage::Aborted { .. } | Stage::TakenOver | Stage::RolledBack => None,
        }
    }

    /// Whether it waits for a person.
    pub fn awaits_approval(&self) -> bool {
        self.present()
            .is_some_and(|step| step.approve && self.is_held(step))
    }

    /// Milliseconds until time moves it; nothing where time alone moves nothing.
    pub fn due_in_ms(&self) -> Option<u64> {
        let timed = self.hold_left_ms().filter(|_| !self.paused);
        let timed = timed.filter(|&left| left > 0 || !self.awaits_approval());
        timed.into_iter().chain(self.deadline_left_ms()).min()
    }

    /// Milliseconds until the present step has been held, pauses not counted.
    pub fn hold_left_ms(&self) -> Option<u64> {
        let hold = milliseconds(self.present()?.hold);
        Some(hold.saturating_sub(self.held_ms))
    }

    /// Milliseconds until it is aborted.
    pub fn deadline_left_ms(&self) -> Option<u64> {
        self.step()?;
        let deadline = milliseconds(self.plan.deadline?);
        Some(deadline.saturating_sub(self.age_ms))
    }

    /// The same release after a boot: nobody got the candidate until now, so that no time has passed.
    #[must_use]
    pub fn rested(&self) -> Self {
        Self {
            seen_ms: None,
            ..self.clone()
        }
    }

    /// How long ago the last event was, in milliseconds.
    pub fn unseen_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.seen_ms.unwrap_or(now_ms))
    }

    /// The same release, the time since the last event counted.
    #[must_use]
    pub fn aged(&self, now_ms: u64) -> Self {
        let mut next = self.clone();
        let passed = self.unseen_ms(now_ms);
        next.seen_ms = Some(now_ms);
        if next.step().is_some() {
            next.age_ms = next.age_ms.saturating_add(passed);
            if !next.paused {
                next.held_ms = next.held_ms.saturating_add(passed);
            }
        }
        next
    }

    /// The same release, whose present step is held from now on.
    #[must_use]
    pub fn held_anew(&self, now_ms: u64) -> Self {
        Self {
            held_ms: 0,
            ..self.aged(now_ms)
        }
    }

    /// At most one step further, however long it was not looked at: users must have had the hold
    /// of every step.
    pub(super) fn tick(&mut self) -> Vec<Action> {
        let Some(index) = self.step() else {
            return Vec::new();
        };
        if self.deadline_left_ms() == Some(0) {
            return self.withdraw("the release's deadline has passed");
        }
        match self.plan.steps.get(index) {
            Some(step) if self.paused || !self.is_held(step) || step.approve => Vec::new(),
            Some(_) | None => self.enter(index + 1),
        }
    }

    pub(super) fn promote(
        &mut self,
        full: bool,
        expect_step: Option<usize>,
    ) -> Result<Vec<Action>, Refusal> {
        let index = self.step().ok_or_else(|| self.over())?;
        match expect_step {
            Some(expected) if expected != index + 1 => Err(Refusal::OtherStep {
                expected,
                found: index + 1,
            }),
            Some(_) | None => {
                self.paused = false;
                let next = if full {
                    self.plan.steps.len()
                } else {
                    index + 1
                };
                Ok(self.enter(next))
            }
        }
    }

    pub(super) fn pause(&mut self, paused: bool) -> Result<Vec<Action>, Refusal> {
        self.step().ok_or_else(|| self.over())?;
        if self.paused == paused {
            return Err(Refusal::Already(if paused {
                "the release is paused already; let it go on with `serin resume`"
            } else {
                "the release is not paused; hold it with `serin pause`"
            }));
        }
        self.paused = paused;
        Ok(Vec::new())
    }

    pub(super) fn abort(&mut self, reason: &str) -> Result<Vec<Action>, Refusal> {
        self.step().ok_or_else(|| self.over())?;
        Ok(self.withdraw(reason))
    }

    pub(super) fn retry(&mut self) -> Result<Vec<Action>, Refusal> {
        if !matches!(self.stage, Stage::Aborted { .. }) {
            return Err(Refusal::NotAborted);
        }
        self.age_ms = 0;
        Ok(self.enter(0))
    }

    pub(super) fn take_over(&mut self) -> Vec<Action> {
        if self.step().is_some() {
            self.stage = Stage::TakenOver;
            self.paused = false;
        }
        Vec::new()
    }

    pub(super) fn roll_back(&mut self) -> Vec<Action> {
        if self.stage == Stage::Promoted {
            self.stage = Stage::RolledBack;
        }
        Vec::new()
    }

    fn enter(&mut self, index: usize) -> Vec<Action> {
        self.held_ms = 0;
        let candidate = self.candidate;
        let Some(step) = self.plan.steps.get(index) else {
            self.stage = Stage::Promoted;
            return vec![Action::Promote { candidate }];
        };
        self.stage = Stage::Step(index);
        vec![Action::Share {
            candidate,
            share_ppm: step.share_ppm,
        }]
    }

    fn withdraw(&mut self, reason: &str) -> Vec<Action> {
        self.stage = Stage::Aborted {
            reason: reason.to_owned(),
        };
        self.paused = false;
        vec![Action::Withdraw]
    }

    /// The step that it is at.
    pub fn present(&self) -> Option<&Step> {
        self.plan.steps.get(self.step()?)
    }

    fn is_held(&self, step: &Step) -> bool {
        self.held_ms >= milliseconds(step.hold)
    }

    const fn over(&self) -> Refusal {
        match self.stage {
            Stage::Step(_) | Stage::Promoted => Refusal::Over("promoted", ""),
            Stage::Aborted { .. } => {
                Refusal::Over("aborted", ", or this one again with `serin retry`")
            }
            Stage::TakenOver => Refusal::Over("taken over by hand", ""),
            Stage::RolledBack => Refusal::Over("rolled back", ""),
        }
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
