//! What is written into the audit log, and read from it.

use super::{Control, ControlError, adopt::left_of_together};
use crate::{
    dataplane::{Dataplane, Image},
    journal::{self, Actor, Entry, Happened, Journal, UNWRITTEN},
    release::engine::Run,
    state::State,
};

/// What the log is to be told of a commit.
pub(super) enum Note {
    /// Something of a service.
    About(String, Subject),
    /// Something of no service.
    Host(Subject),
    /// All services whose records differ.
    Changes,
}

/// What is written down besides where the service is.
pub(super) struct Subject {
    pub event: Happened,
    pub cause: String,
    /// The part of the service that it is about.
    pub object: Option<String>,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Subject {
    pub fn whole(event: Happened, cause: &str) -> Self {
        Self {
            event,
            cause: cause.to_owned(),
            object: None,
            before: None,
            after: None,
        }
    }
}

/// What the log has to be told of a state that a daemon has left: nothing of a change that the maps
/// did not get. Without maps, the start makes it.
pub(super) fn unsent(saved: &State, image: &Image) -> Vec<Entry> {
    let left = left_of_together(saved, image);
    let entries = saved.outbox.iter().filter(|entry| {
        // A toggle is as the file has it: the start makes what the maps lack of that.
        if left.contains(&entry.service) || entry.event == Happened::Toggled {
            return true;
        }
        let service = saved.services.get(&entry.service);
        let record = service.and_then(|service| image.records.get(&service.id));
        record.is_none_or(|record| record.epoch >= entry.epoch)
    });
    entries.cloned().collect()
}

impl<D: Dataplane> Control<D> {
    /// Whose orders come next.
    pub fn act_for(&mut self, actor: Actor) {
        self.actor = actor;
    }

    /// The log, to be read by whoever does not want to hold the core up.
    pub fn log_of(&self, service: Option<&str>) -> Result<Journal, ControlError> {
        if let Some(service) = service {
            self.state.service(service)?;
        }
        Ok(self.journal.clone())
    }

    /// The log, to be followed.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// The log's entries after a number, oldest first; of one service, or of all.
    pub fn entries(&self, after: u64, service: Option<&str>) -> Result<Vec<Entry>, ControlError> {
        if let Some(service) = service {
            self.state.service(service)?;
        }
        Ok(self.journal.read(after, service)?)
    }

    /// Has the log told of what the next commit does to a service.
    pub(super) fn will_note(&mut self, service: &str, event: Happened, cause: &str) {
        let subject = Subject::whole(event, cause);
        self.notes.push(Note::About(service.to_owned(), subject));
    }

    /// The same of a part of a service.
    pub(super) fn will_note_about(&mut self, service: &str, subject: Subject) {
        self.notes.push(Note::About(service.to_owned(), subject));
    }

    /// The same of what touches no service.
    pub(super) fn will_note_of_host(&mut self, subject: Subject) {
        self.notes.push(Note::Host(subject));
    }

    /// The same of all services that the next commit changes.
    pub(super) fn will_note_changes(&mut self) {
        self.notes.push(Note::Changes);
    }

    /// Puts what is to be told into the state that it is about, to be saved with it.
    pub(super) fn pack(&mut self, next: &mut State) {
        let mut entries = Vec::new();
        for note in std::mem::take(&mut self.notes) {
            match note {
                Note::About(service, subject) => {
                    // A verdict is about where the release was when it was found.
                    let found = subject.event == Happened::Verdict;
                    let about = if found { &self.state } else { &*next };
                    entries.extend(self.entry(about, &service, subject));
                }
                Note::Host(subject) => entries.push(self.entry_of_host(subject)),
                Note::Changes => entries.extend(self.changes(next)),
            }
        }
        let first = self
            .journal
            .next(self.state.outbox.last().map(|entry| entry.seq));
        // What the log has by now need not be kept for it, which is nothing that a file is saved for.
        let written = self.journal.written();
        self.state.outbox.retain(|entry| entry.seq > written);
        next.outbox.clone_from(&self.state.outbox);
        for (seq, entry) in (first..).zip(entries) {
            next.outbox.push(Entry { seq, ..entry });
        }
        let spare = next.outbox.len().saturating_sub(UNWRITTEN);
        next.outbox.drain(..spare);
    }

    /// Tells the log what is in force. It stays in the state until it is written there.
    pub(super) fn post(&mut self) {
        for entry in &self.state.outbox {
            self.journal.take(entry);
        }
    }

    /// What another configuration has changed, by the records' numbers.
    fn changes(&self, next: &State) -> Vec<Entry> {
        let services = next.services.iter();
        let entries = services.filter_map(|(name, service)| {
            let before = self.state.services.get(name).map(|old| old.position.epoch);
            let epoch = service.position.epoch;
            let subject = Subject {
                before: before.map(|epoch| epoch.to_string()),
                after: Some(epoch.to_string()),
                ..Subject::whole(Happened::Applied, "another configuration was applied")
            };
            let entry = self.entry(next, name, subject);
            entry.filter(|_| before != Some(epoch))
        });
        entries.collect()
    }

    fn entry_of_host(&self, subject: Subject) -> Entry {
        Entry {
            seq: 0,
            time: journal::now(),
            service: String::new(),
            event: subject.event,
            actor: self.actor.clone(),
            cause: subject.cause,
            object: subject.object,
            before: subject.before,
            after: subject.after,
            release: 0,
            step: None,
            steps: None,
            active: String::new(),
            candidate: None,
            share_ppm: 0,
            epoch: 0,
            evidence: None,
        }
    }

    fn entry(&self, state: &State, service: &str, subject: Subject) -> Option<Entry> {
        let state = state.services.get(service)?;
        let position = &state.position;
        let run = position.run.as_ref();
        let judged = run.filter(|run| run.plan.judge.is_some());
        let ended = judged.filter(|_| subject.event.ends_a_release());
        let evidence = ended.and_then(|run| {
            let candidate = state.pool_name(run.candidate);
            let of = (service, position.release);
            self.sittings.summary(of, candidate)
        });
        Some(Entry {
            evidence: evidence.map(Box::new),
            service: service.to_owned(),
            release: position.release,
            step: run.and_then(Run::step).map(|step| step + 1),
            steps: run.map(|run| run.plan.steps.len()),
            active: state.pool_name(position.now.active).to_owned(),
            candidate: state.candidate().map(str::to_owned),
            share_ppm: position.now.share_ppm,
            epoch: position.epoch,
            ..self.entry_of_host(subject)
        })
    }

    /// Has the log told of what a start's configuration does to releases.
    pub(super) fn note_drift(&mut self, drift: Vec<(String, Subject)>) {
        for (service, subject) in drift {
            tracing::warn!("service `{service}`: {}, {}", subject.event, subject.cause);
            if self.config.service(&service).is_some() {
                self.will_note_about(&service, subject);
            } else if let Some(entry) = self.entry(&self.state, &service, subject) {
                self.tell(entry);
            }
        }
    }

    /// Has the log told of something that no commit is about.
    fn tell(&mut self, entry: Entry) {
        let last = self.state.outbox.last().map(|entry| entry.seq);
        let seq = self.journal.next(last);
        self.state.outbox.push(Entry { seq, ..entry });
    }

    /// Has the log told of every release that is not where the state file had it. What a daemon did
    /// that died before it could tell is not to be found out: it is in the state's outbox.
    pub(super) fn note_found(&mut self, written: &State, next: &State) {
        for (service, state) in &next.services {
            let Some(run) = &state.position.run else {
                continue;
            };
            let before = written.services.get(service);
            let before = before.and_then(|before| before.position.run.as_ref());
            if before.is_none_or(|before| before.stage != run.stage) {
                let cause = "the kernel's record is taken, not the state file's";
                self.will_note(service, Happened::Found, cause);
            }
        }
    }

    /// Says of every other release that is under way after a start where it goes on.
    pub(super) fn note_continued(&mut self, written: &State) {
        let stage = |state: &State, service: &str| {
            let run = state.services.get(service)?.position.run.as_ref()?;
            run.is_under_way().then(|| run.stage.clone())
        };
        let services = self.state.services.keys().cloned();
        let continued = services.filter(|service| {
            let now = stage(&self.state, service);
            now.is_some() && now == stage(written, service)
        });
        for service in continued.collect::<Vec<_>>() {
            let subject = Subject::whole(Happened::Continued, "the daemon has started");
            if let Some(entry) = self.entry(&self.state, &service, subject) {
                self.tell(entry);
            }
        }
        self.post();
    }
}
