//! The release engine: from where a release is and what happens, to where it is then and what is
//! to be done.
//!
//! A pure function: no clock, no socket, no kernel. Time comes in as milliseconds of a clock that
//! never goes back while the host runs, whatever becomes of the time of day; over a boot, the hold
//! goes on from where it was.

mod ask;
mod bound;
mod gate;
mod heed;
mod judged;
mod plan;
mod run;
mod waits;

#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod judge_tests;
#[cfg(test)]
mod sequences;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

pub use self::{
    gate::{Check, Gate, Outcome, Point, Policy, Probe},
    heed::Seen,
    judged::{Finding, Judging, OnInconclusive, Opinion},
    plan::{Plan, Step, Strategy},
    run::{Refusal, Run, Stage},
    waits::Awaited,
};
use super::PoolId;

/// What happens to a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Begin with the first step.
    Start {
        /// What the release is to go through.
        plan: Plan,
        /// The pool to release.
        candidate: PoolId,
        /// End the release under way for it.
        replace: bool,
        /// Leave the steps out: only what is asked before the start and the promotion counts.
        #[serde(default)]
        straight: bool,
        /// Not before this time, in milliseconds since the epoch.
        #[serde(default)]
        at_ms: Option<u64>,
    },
    /// The time of day that the release waited for has come.
    Due,
    /// Send all users to the candidate, as soon as what is asked before the promotion passes.
    CutOver {
        /// Not before this time, in milliseconds since the epoch.
        at_ms: Option<u64>,
    },
    /// Go at the time that was set only at the same moment as these services' releases.
    Bind {
        /// Each of them, its own among them.
        services: BTreeSet<String>,
        /// It was begun for that alone.
        begun: bool,
    },
    /// One of those that it was bound to does not go with it.
    LetGo {
        /// Which, and why.
        why: String,
    },
    /// A gate has answered.
    Gate {
        /// Its name.
        gate: String,
        /// [`Run::round`] when it was asked: an answer to an older question counts for nothing.
        round: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// The judge has come to another opinion.
    Judged {
        /// [`Run::round`] when it looked.
        round: u64,
        /// What it says.
        opinion: Opinion,
    },
    /// Time has passed.
    Tick,
    /// Go on to the next step as soon as what is asked before it passes, whatever else the present
    /// one waits for.
    Promote {
        /// To the end at once, skipping all steps and gates.
        full: bool,
        /// Only from this step, counted from 1.
        expect_step: Option<usize>,
    },
    /// Stay where it is.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Take all users back; only a retry starts this release again.
    Abort {
        /// Why, in a person's words.
        reason: String,
    },
    /// Start an aborted release again, with the same users first.
    Retry,
    /// Somebody moved the share by hand: the release is theirs.
    TakeOver,
    /// Somebody sent all users elsewhere after the promotion.
    RollBack,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start { straight: true, .. } | Self::CutOver { .. } | Self::Bind { .. } => {
                "cutover"
            }
            Self::LetGo { .. } => "the end of a cutover of several",
            Self::Start { .. } => "start",
            Self::Due => "the time that was set",
            Self::Gate { .. } => "a gate's answer",
            Self::Judged { .. } => "the judge's opinion",
            Self::Tick => "the next step",
            Self::Promote { full: true, .. } => "promote --full",
            Self::Promote { full: false, .. } => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort { .. } => "abort",
            Self::Retry => "retry",
            Self::TakeOver => "a change by hand",
            Self::RollBack => "rollback",
        })
    }
}

/// What is to be done. Doing it again changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this part of the clients to the candidate.
    Share {
        /// The pool.
        candidate: PoolId,
        /// Parts per million.
        share_ppm: u32,
    },
    /// The candidate becomes the active pool.
    Promote {
        /// The pool.
        candidate: PoolId,
    },
    /// All clients go back to the active pool.
    Withdraw,
    /// All clients go back to the pool that was active before this candidate.
    RollBack {
        /// The pool that they leave.
        candidate: PoolId,
    },
}

/// What an event comes upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// When it happens, in milliseconds.
    pub ms: u64,
    /// The toggles that are off: steps that they guard are passed over.
    pub off: BTreeSet<String>,
    /// What is known of the candidate's backends is from before a restart: nobody is sent there yet.
    pub unheard: bool,
}

impl From<u64> for Moment {
    /// With all toggles on, and all backends checked.
    fn from(ms: u64) -> Self {
        Self {
            ms,
            ..Self::default()
        }
    }
}

/// The release after an event, and what is to be done; nothing has changed where it is refused.
pub fn advance(
    run: Option<&Run>,
    event: &Event,
    now: impl Into<Moment>,
) -> Result<(Run, Vec<Action>), Refusal> {
    let now = now.into();
    if let Event::Start { replace, .. } = event {
        return Run::start(event, run, *replace, &now);
    }
    let mut next = run.ok_or(Refusal::NotStarted)?.aged(now.ms);
    next.know(&now.off);
    let heard = !now.unheard;
    let actions = match event {
        Event::Tick => next.tick(heard),
        Event::Promote { full, expect_step } => next.promote(*full, *expect_step, heard)?,
        Event::Pause => next.pause(true)?,
        Event::Resume => next.pause(false)?,
        Event::Abort { reason } => next.abort(reason)?,
        Event::Retry => next.retry()?,
        Event::TakeOver => next.take_over(),
        Event::RollBack => next.roll_back(),
        Event::Due => next.due(heard),
        Event::CutOver { at_ms } => next.cut_over(*at_ms, heard)?,
        Event::Bind { services, begun } => next.bind(services, *begun)?,
        Event::LetGo { why } => next.let_go(why),
        Event::Gate {
            gate,
            round,
            outcome,
        } => next.answered(gate, *round, outcome.clone(), heard),
        Event::Judged { round, opinion } => next.judged(*round, opinion.clone(), heard),
        Event::Start { .. } => Vec::new(),
    };
    Ok((next, actions))
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
