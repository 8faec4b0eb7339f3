//! What is written into the audit log, and read from it.

use super::{Control, ControlError};
use crate::{
    dataplane::Dataplane,
    journal::{Actor, Entry, Happened},
    release::engine::{Run, Stage},
    state::State,
};

impl<D: Dataplane> Control<D> {
    /// Whose orders come next.
    pub fn act_for(&mut self, actor: Actor) {
        self.actor = actor;
    }

    /// The log's entries after a number, oldest first; of one service, or of all.
    pub fn entries(&self, after: u64, service: Option<&str>) -> Result<Vec<Entry>, ControlError> {
        if let Some(service) = service {
            self.state.service(service)?;
        }
        Ok(self.journal.read(after, service)?)
    }

    /// Writes down what has happened to a service. It has, whether or not that can be written.
    pub(super) fn note(&mut self, service: &str, event: Happened, cause: &str) {
        let Ok(state) = self.state.service(service) else {
            return;
        };
        let position = &state.position;
        let run = position.run.as_ref();
        let entry = Entry {
            seq: 0,
            time: String::new(),
            service: service.to_owned(),
            event,
            actor: self.actor.clone(),
            cause: cause.to_owned(),
            release: position.release,
            step: run.and_then(Run::step).map(|step| step + 1),
            steps: run.map(|run| run.plan.steps.len()),
            active: state.pool_name(position.now.active).to_owned(),
            candidate: state.candidate().map(str::to_owned),
            share_ppm: position.now.share_ppm,
            epoch: position.epoch,
        };
        tracing::info!("service `{service}`: {event}, {cause}");
        if let Err(error) = self.journal.append(entry) {
            tracing::error!("{error}");
        }
    }

    /// Says of every release that is under way after a start where it goes on, of every one that is
    /// not where the state file had it, and what a daemon did that died before it could tell.
    pub(super) fn note_releases(&mut self, written: &State) {
        let entries = self.journal.read(0, None).unwrap_or_else(|error| {
            tracing::error!("{error}");
            Vec::new()
        });
        let services = self.state.services.iter();
        let notes: Vec<_> = services
            .filter_map(|(name, state)| {
                let run = state.position.run.as_ref()?;
                let before = written.services.get(name)?.position.run.as_ref();
                let mut of_service = entries.iter().rev().filter(|e| e.service == *name);
                let told = of_service.next().map(|entry| entry.step);
                let note = if before.is_none_or(|before| before.stage != run.stage) {
                    (
                        Happened::Found,
                        "the kernel's record is taken, not the state file's",
                    )
                } else if told != Some(run.step().map(|step| step + 1)) {
                    (reached(run), "by a daemon that died before it could tell")
                } else {
                    if !run.is_under_way() {
                        return None;
                    }
                    (Happened::Continued, "the daemon has started")
                };
                Some((name.clone(), note))
            })
            .collect();
        for (service, (happened, cause)) in notes {
            self.note(&service, happened, cause);
        }
    }
}

/// What a release must have done last to be where it is.
const fn reached(run: &Run) -> Happened {
    match run.stage {
        Stage::Waiting => Happened::Started,
        Stage::Step(_) => Happened::Step,
        Stage::Bake | Stage::Promoted => Happened::Promoted,
        Stage::Aborted { .. } => Happened::Aborted,
        Stage::TakenOver => Happened::TakenOver,
        Stage::RolledBack => Happened::RolledBack,
    }
}
