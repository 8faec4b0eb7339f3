//! One release, from its start to its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Action, Awaited, Check, Event, Finding, Moment, Opinion, Plan, Step, Strategy, milliseconds,
};
use crate::release::PoolId;

/// Where a release is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each has been said by somebody, whatever the others are"
)]
pub struct Run {
    /// What it is to go through, as it was when it started: a later edit of the file does not
    /// move a release that is under way.
    pub plan: Arc<Plan>,
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
    /// Somebody has let it leave the present stage, whatever is left of the hold.
    #[serde(default)]
    pub approved: bool,
    /// It goes from where it is to the promotion.
    #[serde(default)]
    pub straight: bool,
    /// It does not leave the present stage before this time, in milliseconds since the epoch.
    #[serde(default)]
    pub scheduled_ms: Option<u64>,
    /// The services whose releases it goes with, its own among them, if it waits for others.
    #[serde(default)]
    pub bound: BTreeSet<String>,
    /// It was begun to go with them, and for nothing else.
    #[serde(default)]
    pub begun_bound: bool,
    /// Counts the stages that it has come to: answers of gates carry it.
    #[serde(default)]
    pub round: u64,
    /// What the gates have answered at the present stage, by name.
    #[serde(default)]
    pub checks: BTreeMap<String, Check>,
    /// Those toggles of its steps that are off.
    #[serde(default)]
    pub off: BTreeSet<String>,
    /// Audiences that don't see the candidate: it has not come to a step that names them.
    #[serde(default)]
    pub hidden: BTreeSet<String>,
    /// What the judge says at the present stage.
    #[serde(default)]
    pub opinion: Option<Opinion>,
    /// What it has found there, each of which is told once.
    #[serde(default)]
    pub findings: BTreeSet<Finding>,
    /// The present step lasts once more as long.
    #[serde(default)]
    pub extended: bool,
    /// What it has last been said to wait for at the present stage.
    #[serde(default)]
    pub awaits: Option<Awaited>,
    /// Why it was taken back after its promotion, if by itself.
    #[serde(default)]
    pub taken_back: Option<String>,
    /// It was taken back for want of an answer, not for a bad one.
    #[serde(default)]
    pub inconclusive: bool,
    /// The clock at the last event; nothing if it began anew since.
    seen_ms: Option<u64>,
}

/// How far a release has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Before the first step: nobody has been moved.
    Waiting,
    /// At a step of the plan, counted from 0.
    Step(usize),
    /// The candidate is the active pool, and is watched.
    Bake,
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
    #[error("a release is {0}; abort it first, or start with --replace")]
    UnderWay(String),
    /// No step would come before the promotion.
    #[error(
        "all steps of the release are guarded by toggles that are off ({0}); turn one on with \
         `serin toggle NAME on`, or move all users at once with `serin cutover`"
    )]
    Closed(String),
    /// The step is another than the one expected.
    #[error("the release is {found}, not at step {expected}; look at it with `serin status`")]
    OtherStep {
        /// The step that was expected, counted from 1.
        expected: usize,
        /// Where it is.
        found: String,
    },
    /// The release is over.
    #[error("the release is over: it was {0}; begin another with `serin start`{1}")]
    Over(&'static str, &'static str),
    /// It is promoted already.
    #[error(
        "the release is promoted and in its bake time; go back with `serin rollback`, end it with \
         `serin promote`, or begin another with `serin start --replace`"
    )]
    Bakes,
    /// Only an aborted release is tried again.
    #[error("only an aborted release can be tried again; begin another with `serin start`")]
    NotAborted,
    /// It is paused, or not, already.
    #[error("{0}")]
    Already(&'static str),
    /// Nobody knows yet whether the candidate is well.
    #[error(
        "the candidate's backends have not been checked since the daemon was started; give the \
         order again in some seconds, once `serin status` shows their checks"
    )]
    Unheard,
}

/// Why a release is taken back.
pub(super) struct Cause {
    pub why: String,
    /// Nobody could tell.
    pub inconclusive: bool,
}

impl Cause {
    pub fn plain(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            inconclusive: false,
        }
    }
}

impl Run {
    /// A release that begins.
    pub(super) fn start(
        event: &Event,
        before: Option<&Self>,
        replace: bool,
        now: &Moment,
    ) -> Result<(Self, Vec<Action>), Refusal> {
        let Event::Start {
            plan,
            candidate,
            straight,
            at_ms,
            ..
        } = event
        else {
            return Err(Refusal::NotStarted);
        };
        let under_way = before.filter(|before| before.is_under_way());
        let mut actions = Vec::new();
        match under_way {
            Some(before) if !replace => return Err(Refusal::UnderWay(before.place())),
            Some(before) if before.stage != Stage::Bake => actions.push(Action::Withdraw),
            Some(_) | None => {}
        }
        let mut run = Self {
            plan: Arc::new(plan.clone()),
            candidate: *candidate,
            stage: Stage::Waiting,
            paused: false,
            held_ms: 0,
            age_ms: 0,
            approved: false,
            straight: *straight,
            scheduled_ms: *at_ms,
            bound: BTreeSet::new(),
            begun_bound: false,
            // An answer that the release before still waits for is not this one's.
            round: before.map_or(0, |before| before.round + 1),
            checks: BTreeMap::new(),
            off: BTreeSet::new(),
            hidden: plan.audiences().cloned().collect(),
            opinion: None,
            findings: BTreeSet::new(),
            extended: false,
            awaits: None,
            taken_back: None,
            inconclusive: false,
            seen_ms: Some(now.ms),
        };
        run.know(&now.off);
        run.require_open()?;
        actions.extend(run.begin());
        Ok((run, actions))
    }

    /// Takes note of the toggles that are off.
    pub fn know(&mut self, off: &BTreeSet<String>) {
        let mine = self.plan.toggles().filter(|toggle| off.contains(*toggle));
        self.off = mine.cloned().collect();
    }

    /// Whether it is a canary that would be promoted without a step before.
    pub fn is_closed(&self) -> bool {
        let canary = self.plan.strategy == Strategy::Canary && !self.straight;
        canary && self.plan.is_closed(&self.off)
    }

    /// The step that it is at, counted from 0; nothing before the first and after the last.
    pub const fn step(&self) -> Option<usize> {
        match self.stage {
            Stage::Step(step) => Some(step),
            Stage::Waiting
            | Stage::Bake
            | Stage::Promoted
            | Stage::Aborted { .. }
            | Stage::TakenOver
            | Stage::RolledBack => None,
        }
    }

    /// Whether time or people may still move it.
    pub const fn is_under_way(&self) -> bool {
        match self.stage {
            Stage::Waiting | Stage::Step(_) | Stage::Bake => true,
            Stage::Promoted | Stage::Aborted { .. } | Stage::TakenOver | Stage::RolledBack => false,
        }
    }

    /// Whether the candidate is still to be promoted.
    pub const fn is_ahead(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Step(_))
    }

    /// Milliseconds until time moves it; nothing where time alone moves nothing.
    pub fn due_in_ms(&self) -> Option<u64> {
        let timed = self.hold_left_ms().filter(|_| !self.paused);
        let timed = timed.filter(|&left| left > 0 || self.may_leave() || self.extends());
        timed.into_iter().chain(self.judged_due_ms()).min()
    }

    /// Milliseconds until it is aborted, by its judge or its deadline; nothing where neither does.
    pub fn judged_due_ms(&self) -> Option<u64> {
        let verdict = self.verdict().map(|_| 0);
        verdict.into_iter().chain(self.deadline_left_ms()).min()
    }

    /// Milliseconds until the present step or the bake time is over, pauses not counted; nothing
    /// where neither is.
    pub fn hold_left_ms(&self) -> Option<u64> {
        let hold = match self.stage {
            _ if self.approved => 0,
            Stage::Waiting => 0,
            Stage::Step(_) if self.is_convinced() => 0,
            Stage::Step(_) => milliseconds(self.present()?.hold) << u32::from(self.extended),
            Stage::Bake => milliseconds(self.plan.bake),
            Stage::Promoted | Stage::Aborted { .. } | Stage::TakenOver | Stage::RolledBack => {
                return None;
            }
        };
        Some(hold.saturating_sub(self.held_ms))
    }

    /// Milliseconds until it is aborted.
    pub fn deadline_left_ms(&self) -> Option<u64> {
        let deadline = milliseconds(self.plan.deadline.filter(|_| self.is_ahead())?);
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
        // Nobody waits for a release that is to begin later.
        let waits = self.stage == Stage::Waiting && self.scheduled_ms.is_some();
        if next.is_under_way() && !waits {
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

    /// The same release, of which the judge has to see everything anew at the present stage.
    #[must_use]
    pub fn unjudged(&self) -> Self {
        Self {
            opinion: None,
            extended: false,
            ..self.clone()
        }
    }

    /// At most one step further, however long it was not looked at: users must have had the hold
    /// of every step. None while the candidate's backends have not been `heard` of.
    pub(super) fn tick(&mut self, heard: bool) -> Vec<Action> {
        if self.deadline_left_ms() == Some(0) {
            return self.withdraw(Cause::plain("the release's deadline has passed"));
        }
        // One that could not be heeded when it came.
        if let Some(cause) = self.verdict() {
            return self.withdraw(cause);
        }
        if self.extends() {
            self.extended = true;
            return Vec::new();
        }
        // One that goes with others is moved by the order for all of them.
        let held_back = (self.is_ahead() && !heard) || self.is_bound();
        if self.paused || held_back || !self.is_under_way() || !self.may_leave() {
            return Vec::new();
        }
        self.leave()
    }

    pub(super) fn due(&mut self, heard: bool) -> Vec<Action> {
        self.scheduled_ms = None;
        self.tick(heard)
    }

    pub(super) fn promote(
        &mut self,
        full: bool,
        expect_step: Option<usize>,
        heard: bool,
    ) -> Result<Vec<Action>, Refusal> {
        self.require_under_way()?;
        if let Some(expected) = expect_step.filter(|&step| Some(step) != self.number()) {
            let found = self.place();
            return Err(Refusal::OtherStep { expected, found });
        }
        (self.paused, self.scheduled_ms, self.approved) = (false, None, true);
        self.bound.clear();
        if full && self.is_ahead() {
            if !heard {
                return Err(Refusal::Unheard);
            }
            return Ok(self.enter(self.plan.steps.len()));
        }
        if self.stage == Stage::Bake {
            return Ok(self.leave());
        }
        Ok(self.tick(heard))
    }

    pub(super) fn cut_over(
        &mut self,
        at_ms: Option<u64>,
        heard: bool,
    ) -> Result<Vec<Action>, Refusal> {
        self.require_under_way()?;
        if !self.is_ahead() {
            return Err(Refusal::Bakes);
        }
        (self.paused, self.straight, self.approved) = (false, true, true);
        self.scheduled_ms = at_ms;
        self.bound.clear();
        Ok(self.tick(heard))
    }

    pub(super) fn pause(&mut self, paused: bool) -> Result<Vec<Action>, Refusal> {
        self.require_under_way()?;
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
        self.require_under_way()?;
        Ok(self.withdraw(Cause::plain(reason)))
    }

    pub(super) fn retry(&mut self) -> Result<Vec<Action>, Refusal> {
        if !matches!(self.stage, Stage::Aborted { .. }) {
            return Err(Refusal::NotAborted);
        }
        (self.age_ms, self.straight) = (0, false);
        self.hidden = self.plan.audiences().cloned().collect();
        self.require_open()?;
        self.come_to(Stage::Waiting);
        Ok(self.begin())
    }

    /// The same release, of which nothing is left to hide from an audience: users are given its
    /// candidate by hand, or another one.
    #[must_use]
    pub fn unhidden(&self) -> Self {
        Self {
            hidden: BTreeSet::new(),
            ..self.clone()
        }
    }

    pub(super) fn take_over(&mut self) -> Vec<Action> {
        if self.is_under_way() {
            self.stage = Stage::TakenOver;
            self.paused = false;
            self.unbind();
        }
        Vec::new()
    }

    pub(super) fn roll_back(&mut self) -> Vec<Action> {
        if matches!(self.stage, Stage::Promoted | Stage::Bake) {
            self.come_to(Stage::RolledBack);
        }
        Vec::new()
    }

    /// Takes all users back: the candidate is promoted already, or not.
    pub(super) fn withdraw(&mut self, cause: Cause) -> Vec<Action> {
        let Cause { why, inconclusive } = cause;
        self.paused = false;
        let action = if self.stage == Stage::Bake {
            let candidate = self.candidate;
            self.taken_back = Some(why);
            self.come_to(Stage::RolledBack);
            Action::RollBack { candidate }
        } else {
            self.come_to(Stage::Aborted { reason: why });
            Action::Withdraw
        };
        self.inconclusive = inconclusive;
        vec![action]
    }

    /// The step that it is at.
    pub fn present(&self) -> Option<&Step> {
        self.plan.steps.get(self.step()?)
    }

    /// The step that comes next, counted from 0, none of those whose toggle is off; their number means
    /// the promotion.
    pub(super) fn next(&self) -> usize {
        let last = self.plan.steps.len();
        let first = match self.step() {
            _ if self.straight => last,
            Some(step) => step + 1,
            None => 0,
        };
        let open = |step: &usize| !self.plan.steps[*step].is_closed(&self.off);
        (first..last).find(open).unwrap_or(last)
    }

    /// Steps that it has passed over to come here from another stage, or from its start, each with its
    /// toggle; counted from 1.
    pub fn passed_over(&self, before: Option<&Self>) -> Vec<(usize, &str)> {
        let from = before.and_then(Self::step).map_or(0, |step| step + 1);
        let to = self.step().unwrap_or(self.plan.steps.len());
        let straight = self.straight || before.is_some_and(|b| b.stage == self.stage);
        let reached = matches!(self.stage, Stage::Step(_) | Stage::Bake | Stage::Promoted);
        let steps = (1..).zip(&self.plan.steps).skip(from);
        let between = steps.take(to.saturating_sub(from));
        let closed = between.filter(|(_, step)| step.is_closed(&self.off));
        let named = closed.filter_map(|(number, step)| Some((number, step.toggle.as_deref()?)));
        named.filter(|_| reached && !straight).collect()
    }

    pub(super) fn is_held(&self) -> bool {
        self.hold_left_ms() == Some(0)
    }

    /// The stage of a candidate that has become the active pool.
    pub(super) fn promoted(&self) -> Stage {
        if self.plan.bakes() {
            Stage::Bake
        } else {
            Stage::Promoted
        }
    }

    /// The first step, unless something must come before it.
    fn begin(&mut self) -> Vec<Action> {
        if self.may_leave() {
            return self.leave();
        }
        Vec::new()
    }

    fn leave(&mut self) -> Vec<Action> {
        if self.stage == Stage::Bake {
            self.come_to(Stage::Promoted);
            return Vec::new();
        }
        self.enter(self.next())
    }

    fn enter(&mut self, index: usize) -> Vec<Action> {
        let candidate = self.candidate;
        let Some(step) = self.plan.steps.get(index) else {
            self.come_to(self.promoted());
            return vec![Action::Promote { candidate }];
        };
        let share_ppm = step.share_ppm;
        self.hidden
            .retain(|name| Some(name) != step.audience.as_ref());
        self.come_to(Stage::Step(index));
        vec![Action::Share {
            candidate,
            share_ppm,
        }]
    }

    pub(super) fn come_to(&mut self, stage: Stage) {
        if matches!(stage, Stage::Bake | Stage::Promoted) {
            self.hidden.clear();
        }
        self.stage = stage;
        (self.held_ms, self.approved, self.scheduled_ms) = (0, false, None);
        self.bound.clear();
        self.round += 1;
        self.checks.clear();
        (self.opinion, self.extended) = (None, false);
        self.findings.clear();
        (self.awaits, self.inconclusive) = (None, false);
    }

    fn require_open(&self) -> Result<(), Refusal> {
        if !self.is_closed() {
            return Ok(());
        }
        let names = self.off.iter().map(|name| format!("`{name}`"));
        Err(Refusal::Closed(names.collect::<Vec<_>>().join(", ")))
    }

    pub(super) fn require_under_way(&self) -> Result<(), Refusal> {
        let over = |how, remedy| Err(Refusal::Over(how, remedy));
        match self.stage {
            Stage::Waiting | Stage::Step(_) | Stage::Bake => Ok(()),
            Stage::Promoted => over("promoted", ""),
            Stage::Aborted { .. } => over("aborted", ", or this one again with `serin retry`"),
            Stage::TakenOver => over("taken over by hand", ""),
            Stage::RolledBack => over("rolled back", ""),
        }
    }

    /// The step's number, counted from 1; that of the bake time is the one after the last.
    fn number(&self) -> Option<usize> {
        let last = (self.stage == Stage::Bake).then_some(self.plan.steps.len());
        self.step().or(last).map(|step| step + 1)
    }

    /// Where it is, in words.
    fn place(&self) -> String {
        match self.stage {
            Stage::Step(step) => format!("at step {}", step + 1),
            Stage::Bake => "promoted and in its bake time".to_owned(),
            Stage::Waiting => "before its first step".to_owned(),
            Stage::Promoted | Stage::Aborted { .. } | Stage::TakenOver | Stage::RolledBack => {
                "over".to_owned()
            }
        }
    }
}
