//! Gates, as the core sees them: which are to be asked, and what becomes of an answer.

use std::collections::BTreeMap;

use super::super::{Control, ControlError, audit::Subject};
use crate::{
    api::model::GateStatus,
    dataplane::Dataplane,
    journal::Happened,
    release::engine::{Event, Gate, Outcome, Run, Stage},
    state::ServiceState,
};

/// A gate that is to be asked, and all that it may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The service.
    pub service: String,
    /// Number of the release, counted by service.
    pub release: u64,
    /// The release's round, which the answer must carry.
    pub round: u64,
    /// The gate.
    pub gate: Gate,
    /// Name of the pool that is released.
    pub candidate: String,
    /// Name of the active pool: after the promotion, the candidate.
    pub active: String,
    /// The step that the release is at, counted from 1; 0 before the first, and one more than there
    /// are after the promotion.
    pub step: usize,
    /// The candidate's share of clients, in parts per million.
    pub share_ppm: u32,
}

/// Answers that could not be taken, for a fault that is not theirs.
#[derive(Debug)]
pub struct Unheard {
    /// They are to be given again.
    pub answers: Vec<(Ask, Outcome)>,
    /// Why.
    pub error: Box<ControlError>,
}

impl<D: Dataplane> Control<D> {
    /// All gates that are to be asked now. Asking one twice does no harm.
    pub fn due_gates(&self) -> Vec<Ask> {
        let now_ms = self.dataplane.clock_ms();
        let services = self.state.services.iter();
        let asks = services.flat_map(|(name, state)| {
            let run = state.asking(now_ms);
            let gates: Vec<Gate> = run
                .iter()
                .flat_map(|run| run.due_gates().cloned())
                .collect();
            let ask = move |gate| Some(ask(name, state, run.as_ref()?, gate));
            gates.into_iter().filter_map(ask)
        });
        asks.collect()
    }

    /// Number and round of every release under way: answers that were asked in others count for
    /// nothing.
    pub fn rounds(&self) -> BTreeMap<String, (u64, u64)> {
        let services = self.state.services.iter();
        let rounds = services.filter_map(|(name, state)| {
            let run = state
                .position
                .run
                .as_ref()
                .filter(|run| run.is_under_way())?;
            Some((name.clone(), (state.position.release, run.round)))
        });
        rounds.collect()
    }

    /// Takes answers of gates. Where a release can't act on one, for want of backends, it is kept,
    /// and acted on as soon as the release can.
    pub fn answers(&mut self, answers: Vec<(Ask, Outcome)>, tick: u32) -> Result<(), Unheard> {
        let rounds = self.rounds();
        let mut heard: Vec<(Ask, Event)> = Vec::new();
        for (ask, outcome) in answers {
            if rounds.get(&ask.service) == Some(&(ask.release, ask.round)) {
                let (gate, round) = (ask.gate.name.clone(), ask.round);
                let event = Event::Gate {
                    gate,
                    round,
                    outcome,
                };
                heard.push((ask, event));
            }
        }
        let news = heard.iter();
        let news = news.map(|(ask, event)| (ask.service.clone(), event.clone()));
        let mut fates = self.steer_all(news.collect(), tick);
        for ((service, event), error) in fates.refused {
            let later = matches!(
                error,
                ControlError::Unfit { .. } | ControlError::Refused { .. }
            );
            let fault = if later {
                self.note_answer(&service, &event).err()
            } else {
                Some(error)
            };
            if let Some(error) = fault {
                fates.left.push((service, event));
                fates.fault = Some(error);
            }
        }
        let Some(error) = fates.fault else {
            return Ok(());
        };
        let is_left = |ask: &Ask, event: &Event| {
            let mut left = fates.left.iter();
            left.any(|(service, left)| *service == ask.service && left == event)
        };
        let left = heard.into_iter().filter(|(ask, event)| is_left(ask, event));
        let answers = left.filter_map(|(ask, event)| {
            let Event::Gate { outcome, .. } = event else {
                return None;
            };
            Some((ask, outcome))
        });
        Err(Unheard {
            answers: answers.collect(),
            error: Box::new(error),
        })
    }

    /// Takes an answer down without acting on it.
    fn note_answer(&mut self, service: &str, event: &Event) -> Result<(), ControlError> {
        let Event::Gate {
            gate,
            round,
            outcome,
        } = event
        else {
            return Ok(());
        };
        let now_ms = self.dataplane.clock_ms();
        let before = self.state.service(service)?.position.run.clone();
        let run = before.as_ref();
        let Some(run) = run.and_then(|run| run.noted(gate, *round, outcome.clone(), now_ms)) else {
            return Ok(());
        };
        let mut whole = self.state.clone();
        if let Some(subject) = changed(event, before.as_ref(), &run) {
            self.will_note_about(service, subject);
        }
        whole.service_mut(service)?.position.run = Some(run);
        self.commit(whole).map(drop)
    }
}

fn ask(service: &str, state: &ServiceState, run: &Run, gate: Gate) -> Ask {
    Ask {
        service: service.to_owned(),
        release: state.position.release,
        round: run.round,
        gate,
        candidate: state.pool_name(run.candidate).to_owned(),
        active: state.pool_name(state.position.now.active).to_owned(),
        step: match run.stage {
            Stage::Waiting => 0,
            Stage::Step(step) => step + 1,
            Stage::Bake
            | Stage::Promoted
            | Stage::Aborted { .. }
            | Stage::TakenOver
            | Stage::RolledBack => run.plan.steps.len() + 1,
        },
        share_ppm: state.position.now.share_ppm,
    }
}

impl ServiceState {
    /// The release as it is now, if it may ask its gates: not while the step that their answers have
    /// brought about waits for sessions.
    fn asking(&self, now_ms: u64) -> Option<Run> {
        let run = self.position.run.as_ref();
        let run = run.filter(|run| run.is_under_way() && !run.plan.gates.is_empty());
        let run = run.filter(|_| self.pending.is_none());
        run.map(|run| run.aged(now_ms))
    }

    /// Milliseconds until a gate is to be asked.
    pub(super) fn gates_due_in_ms(&self, now_ms: u64) -> Option<u64> {
        self.asking(now_ms)?.gates_due_in_ms()
    }
}

/// What the log is told of an answer that moves nothing: only what is news.
pub(super) fn changed(event: &Event, before: Option<&Run>, run: &Run) -> Option<Subject> {
    let Event::Gate { gate, outcome, .. } = event else {
        return None;
    };
    let word_in = |run: &Run| run.checks.get(gate).map(|check| word(&check.outcome));
    let (was, is) = (before.and_then(word_in), word_in(run)?);
    (was != Some(is)).then(|| Subject {
        event: Happened::Gate,
        cause: said(gate, outcome),
        object: Some(gate.clone()),
        before: Some(was.unwrap_or("unknown").to_owned()),
        after: Some(is.to_owned()),
    })
}

/// An answer in words.
pub(super) fn said(gate: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => format!("gate `{gate}` passed"),
        Outcome::Failed(why) => format!("gate `{gate}` failed: {why}"),
        Outcome::Inconclusive(why) => format!("gate `{gate}` can't tell: {why}"),
    }
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::Inconclusive(_) => "inconclusive",
    }
}

/// What is to be said of the gates of a release under way.
pub(super) fn status(run: &Run) -> Vec<GateStatus> {
    let gates = run.plan.gates.iter().filter(|_| run.is_under_way());
    gates.map(|gate| status_of(run, gate)).collect()
}

fn status_of(run: &Run, gate: &Gate) -> GateStatus {
    let check = run.checks.get(&gate.name);
    let why = check.and_then(|check| match &check.outcome {
        Outcome::Passed => None,
        Outcome::Failed(why) | Outcome::Inconclusive(why) => Some(why.clone()),
    });
    GateStatus {
        name: gate.name.clone(),
        kind: gate.probe.kind().to_owned(),
        point: gate.point.text(&run.plan),
        outcome: check.map(|check| word(&check.outcome).to_owned()),
        why,
        streak: check.map_or(0, |check| check.streak),
        ago_s: check.map(|check| run.age_ms.saturating_sub(check.at_ms) / 1000),
    }
}
