//! Asks the gates of releases: commands, URLs and Prometheus, each in a task of its own, while
//! nobody holds the core.
//!
//! The core says which gates are due; asking one again that a daemon before this one has asked does
//! no harm. An answer goes back with the round in which it was asked, so that one that comes too
//! late counts for nothing. What can't be asked, or does not answer in time, is no answer: such a
//! gate is inconclusive.

mod exec;
mod http;
mod prometheus;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    api::server::Shared,
    control::Ask,
    dataplane::{Dataplane, kernel::now},
    release::engine::{Outcome, Probe},
};

/// The most that are asked at once, over all services; others wait for their turn.
const AT_ONCE: usize = 64;
/// When a gate is asked again whose answer could not be taken.
const RETRY: Duration = Duration::from_secs(1);

/// One question: service, release, round and gate.
type Key = (String, u64, u64, String);

/// All questions that wait for an answer; they end when this is dropped.
pub struct Gates {
    asked: BTreeMap<Key, AbortHandle>,
    turns: Arc<Semaphore>,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            asked: BTreeMap::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.asked.values().for_each(AbortHandle::abort);
    }
}

impl Gates {
    /// Asks what is due and has not been asked, and stops asking for releases that have gone on. To
    /// be called in a tokio runtime.
    pub fn follow<D: Dataplane + Send + 'static>(&mut self, shared: &Arc<Shared<D>>) {
        let (due, rounds) = {
            let control = shared.control();
            (control.due_gates(), control.rounds())
        };
        self.asked.retain(|(service, release, round, _), task| {
            let goes_on = rounds.get(service) == Some(&(*release, *round));
            if !goes_on {
                task.abort();
            }
            goes_on && !task.is_finished()
        });
        for ask in due {
            let turns = Arc::clone(&self.turns);
            let shared = Arc::clone(shared);
            self.asked
                .entry(key(&ask))
                .or_insert_with(|| tokio::spawn(put(ask, turns, shared)).abort_handle());
        }
    }
}

fn key(ask: &Ask) -> Key {
    let gate = ask.gate.name.clone();
    (ask.service.clone(), ask.release, ask.round, gate)
}

/// Asks one gate, and takes the answer to the core.
async fn put<D: Dataplane + Send + 'static>(
    ask: Ask,
    turns: Arc<Semaphore>,
    shared: Arc<Shared<D>>,
) {
    let turn = turns.acquire_owned().await;
    let outcome = outcome(&ask).await;
    drop(turn);
    let taken = shared.control().answer(&ask, outcome, now());
    if let Err(error) = taken {
        let Ask { service, gate, .. } = &ask;
        let name = &gate.name;
        tracing::error!("service `{service}`: gate `{name}` is asked again: {error}");
        sleep(RETRY).await;
    }
    shared.changed.notify_one();
}

/// What a gate says, after its timeout at the latest.
pub async fn outcome(ask: &Ask) -> Outcome {
    let patience = ask.gate.timeout;
    let asked = async {
        match &ask.gate.probe {
            Probe::Exec { command, user } => exec::ask(ask, command, user, patience).await,
            Probe::Http { url, status } => http::ask(url, status).await,
            Probe::Prometheus {
                url,
                query,
                condition,
            } => prometheus::ask(url, query, condition).await,
            // Nobody asks for it: a person comes by themselves.
            Probe::Approval => Outcome::Inconclusive("waits for `serin promote`".to_owned()),
        }
    };
    // A command has its own limit, after which it is killed, and tells what it said until then.
    let limit = match ask.gate.probe {
        Probe::Exec { .. } => patience + exec::GRACE,
        Probe::Http { .. } | Probe::Prometheus { .. } | Probe::Approval => patience,
    };
    let late = || {
        let patience = humantime::format_duration(patience);
        Outcome::Inconclusive(format!("no answer within {patience}"))
    };
    timeout(limit, asked).await.unwrap_or_else(|_| late())
}
