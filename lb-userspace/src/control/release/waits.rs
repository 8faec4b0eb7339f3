//! Telling that a release waits for what does not come by itself.

use super::super::{Control, ControlError, audit::Subject};
use crate::{
    dataplane::Dataplane,
    journal::Happened,
    release::engine::{Awaited, Run},
    state::ServiceState,
};

impl<D: Dataplane> Control<D> {
    /// Has the log told of every release that has come to wait for something, each once.
    pub(super) fn tell_waits(&mut self, now_ms: u64) -> Result<(), ControlError> {
        let time_of_day_ms = self.dataplane.time_of_day_ms();
        let services = self.state.services.iter();
        let changed = services.filter_map(|(name, state)| {
            let run = news(state, now_ms, time_of_day_ms)?;
            let told = run.awaits.map(|awaited| told(name, state, &run, awaited));
            Some((name.clone(), run, told))
        });
        let changed: Vec<_> = changed.collect();
        if changed.is_empty() {
            return Ok(());
        }
        let mut next = self.state.clone();
        for (service, run, told) in changed {
            next.service_mut(&service)?.position.run = Some(run);
            if let Some(subject) = told {
                self.will_note_about(&service, subject);
            }
        }
        self.commit(next).map(drop)
    }
}

/// A release as it is now, if it waits for something else than it has been said to. Where its time comes
/// and its candidate can't serve, it waits for that from then on.
fn news(state: &ServiceState, now_ms: u64, time_of_day_ms: u64) -> Option<Run> {
    let run = state.position.run.as_ref()?;
    if state.pending.is_some() || !run.is_ahead() {
        return None;
    }
    let serves = state.can_serve(state.pool_name(run.candidate));
    if !run.may_await_another(serves, now_ms) {
        return None;
    }
    let mut run = run.aged(now_ms);
    if !serves && run.scheduled_ms.is_some_and(|at| at <= time_of_day_ms) {
        run.scheduled_ms = None;
    }
    let awaited = run.awaited(serves);
    if awaited == run.awaits {
        return None;
    }
    run.awaits = awaited;
    Some(run)
}

/// What is said of it, with what to do.
fn told(service: &str, state: &ServiceState, run: &Run, awaited: Awaited) -> Subject {
    let orders = format!(
        "let it go on with `serin promote {service}`, or end it with `serin abort {service}`"
    );
    match awaited {
        Awaited::Toggle => Subject::whole(
            Happened::AwaitsToggle,
            "all its steps are guarded by toggles that are off; turn one on with `serin toggle NAME \
             on`",
        ),
        Awaited::Approval => Subject::whole(
            Happened::AwaitsApproval,
            &format!("it waits for a person: {orders}"),
        ),
        Awaited::Evidence => {
            let doubt = run.doubt().unwrap_or_default();
            let cause = format!("the judge can't tell: {doubt}; {orders}");
            Subject::whole(Happened::AwaitsEvidence, &cause)
        }
        Awaited::Backends => {
            let pool = state.pool_name(run.candidate);
            let cause = format!(
                "pool `{pool}` has no backend that takes connections; `serin status {service}` shows \
                 them"
            );
            Subject::whole(Happened::AwaitsBackends, &cause)
        }
    }
}
