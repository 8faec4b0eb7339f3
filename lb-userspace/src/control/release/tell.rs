//! What is said of a release.

use super::{
    super::{Control, audit::Subject},
    gates,
};
use crate::{
    api::model::ReleaseStatus,
    config::unseen,
    dataplane::Dataplane,
    journal::Happened,
    release::engine::{Event, Opinion, Run, Stage},
    state::ServiceState,
};

impl<D: Dataplane> Control<D> {
    /// What is to be said of a service's release.
    pub(in super::super) fn release_status(&self, state: &ServiceState) -> Option<ReleaseStatus> {
        let run = state.position.run.as_ref()?.aged(self.dataplane.clock_ms());
        let seconds = |ms: u64| ms.div_ceil(1000);
        let reason = match &run.stage {
            Stage::Aborted { reason } => Some(reason.clone()),
            Stage::RolledBack => run.taken_back.clone(),
            Stage::Waiting | Stage::Step(_) | Stage::Bake | Stage::Promoted | Stage::TakenOver => {
                None
            }
        };
        let present = run.present();
        Some(ReleaseStatus {
            number: state.position.release,
            candidate: state.pool_name(run.candidate).to_owned(),
            state: condition(state, &run),
            reason,
            inconclusive: run.inconclusive,
            step: run.step().map(|step| step + 1),
            steps: run.plan.steps.len(),
            under_way: run.is_under_way(),
            audience: present.and_then(|step| step.audience.clone()),
            asked_share_ppm: present.map(|step| step.share_ppm),
            hold_s: present.map(|step| step.hold.as_secs()),
            left_s: run.hold_left_ms().map(seconds),
            deadline_left_s: run.deadline_left_ms().map(seconds),
            strategy: run.plan.strategy,
            scheduled_ms: run.scheduled_ms,
            together: run.bound.iter().cloned().collect(),
            gates: gates::status(&run),
            unseen: (run.is_ahead() && run.plan.judge.is_some())
                .then(|| unseen(state.forward))
                .flatten(),
        })
    }
}

/// What a release does at the moment, in a word or two.
fn condition(state: &ServiceState, run: &Run) -> String {
    let word = match run.stage {
        Stage::Promoted => "promoted",
        Stage::Aborted { .. } => "aborted",
        Stage::TakenOver => "taken-over",
        Stage::RolledBack => "rolled-back",
        Stage::Waiting | Stage::Step(_) | Stage::Bake if run.paused => "paused",
        Stage::Bake => "baking",
        Stage::Waiting | Stage::Step(_) if run.scheduled_ms.is_some() => "scheduled",
        Stage::Waiting | Stage::Step(_) => {
            let serves = state.can_serve(state.pool_name(run.candidate));
            if let Some(awaited) = run.awaited(serves) {
                return awaited.to_string();
            }
            let held = run.hold_left_ms() == Some(0);
            if held && run.closed_gates().next().is_some() {
                "awaits-gates"
            } else if run.is_bound() {
                "awaits-others"
            } else {
                "holding"
            }
        }
    };
    word.to_owned()
}

/// What the judge has found, if that is the first time at the present step.
pub(in super::super) fn found(
    before: Option<&Run>,
    round: u64,
    opinion: &Opinion,
) -> Option<Subject> {
    let (finding, sentence) = opinion.finding()?;
    let run = before.filter(|run| run.round == round && run.is_judged())?;
    (!run.findings.contains(&finding)).then(|| Subject {
        after: Some(finding.to_string()),
        ..Subject::whole(Happened::Verdict, sentence)
    })
}

/// Whether the present step has come to last once more as long.
fn extends(before: Option<&Run>, run: &Run) -> bool {
    run.extended && before.is_some_and(|before| !before.extended)
}

pub(super) fn happened(event: &Event, before: Option<&Run>, run: &Run) -> Option<Happened> {
    let stays = before.is_some_and(|before| before.stage == run.stage);
    if extends(before, run) {
        return Some(Happened::Extended);
    }
    if let Event::Tick | Event::Due | Event::Gate { .. } | Event::Judged { .. } = event
        && stays
    {
        return None;
    }
    Some(match (event, &run.stage) {
        (Event::Start { at_ms: Some(_), .. }, Stage::Waiting)
        | (Event::CutOver { at_ms: Some(_) }, Stage::Waiting | Stage::Step(_)) => {
            Happened::Scheduled
        }
        (Event::Bind { .. }, _) => Happened::Scheduled,
        (Event::LetGo { .. }, Stage::Waiting | Stage::Step(_)) => Happened::CalledOff,
        (Event::Start { straight: true, .. }, Stage::Bake | Stage::Promoted) => Happened::Promoted,
        (Event::Start { .. }, _) => Happened::Started,
        (Event::Pause, _) => Happened::Paused,
        (Event::Resume, _) => Happened::Resumed,
        (Event::Retry, _) => Happened::Retried,
        (Event::CutOver { .. } | Event::Promote { .. }, Stage::Waiting | Stage::Step(_))
            if stays =>
        {
            Happened::Approved
        }
        (_, Stage::Promoted) if before.is_some_and(|before| before.stage == Stage::Bake) => {
            Happened::Baked
        }
        (_, Stage::Bake | Stage::Promoted) => Happened::Promoted,
        (_, Stage::Aborted { .. }) => Happened::Aborted,
        (_, Stage::TakenOver) => Happened::TakenOver,
        (_, Stage::RolledBack) => Happened::RolledBack,
        (_, Stage::Waiting | Stage::Step(_)) => Happened::Step,
    })
}

/// Why it happened: what was said, or else what it was.
pub(super) fn why(event: &Event, said: &str, before: Option<&Run>, run: &Run) -> String {
    if let Stage::Aborted { reason } = &run.stage {
        return reason.clone();
    }
    if let (Stage::RolledBack, Some(reason)) = (&run.stage, &run.taken_back) {
        return reason.clone();
    }
    let held = before.and_then(Run::present);
    if let Some(step) = held.filter(|_| extends(before, run)) {
        let doubt = run.doubt().unwrap_or_default();
        let again = humantime::format_duration(step.hold);
        return format!("the judge can't tell: {doubt}; the step lasts another {again}");
    }
    let why = match (event, held) {
        _ if !said.is_empty() => said.to_owned(),
        (Event::LetGo { why }, _) => why.clone(),
        (Event::Gate { gate, outcome, .. }, _) => gates::said(gate, outcome),
        (Event::Judged { .. }, _) => "the judge has found the candidate no worse".to_owned(),
        (Event::Tick, Some(step)) => {
            format!("held for {}", humantime::format_duration(step.hold))
        }
        _ => event.to_string(),
    };
    why + &passed_over(event, before, run)
}

/// The steps that a release has not made since their toggles are off.
fn passed_over(event: &Event, before: Option<&Run>, run: &Run) -> String {
    if let Event::Promote { full: true, .. } = event {
        return String::new();
    }
    let begins = matches!(event, Event::Start { .. });
    let steps = run.passed_over(before.filter(|_| !begins));
    let told = steps.iter().map(|(number, toggle)| {
        format!("; step {number} is passed over, since toggle `{toggle}` is off")
    });
    told.collect()
}
