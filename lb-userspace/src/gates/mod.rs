//! Asks the gates of releases: commands, URLs and Prometheus, each in a task of its own, while
//! nobody holds the core.
//!
//! The core says which gates are due; asking one again that a daemon before this one has asked does
//! no harm. An answer goes back with the round in which it was asked, so that one that comes too
//! late counts for nothing. Answers that have come meanwhile are taken together, and one that the
//! core can't take yet, since the disk is full, is kept for it. What can't be asked, or does not answer in time, is no answer: such a
//! gate is inconclusive.

mod exec;
mod http;
mod launch;
mod prometheus;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Semaphore, task::AbortHandle, time::timeout};

use crate::{
    api::server::Shared,
    config::Verify,
    control::{Ask, Unheard},
    dataplane::{Dataplane, kernel::now},
    release::engine::{Outcome, Probe},
};

/// The most that are asked at once, over all services; others wait for their turn.
const AT_ONCE: usize = 64;

/// One question: service, release, round and gate.
type Key = (String, u64, u64, String);

/// All questions that wait for an answer; they end when this is dropped.
pub struct Gates {
    asked: BTreeMap<Key, AbortHandle>,
    turns: Arc<Semaphore>,
    answers: Arc<Answers>,
}

/// Answers that have come and are not taken yet.
#[derive(Default)]
struct Answers(Mutex<Vec<(Ask, Outcome)>>);

impl Answers {
    fn all(&self) -> MutexGuard<'_, Vec<(Ask, Outcome)>> {
        // Every change of the list is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            asked: BTreeMap::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            answers: Arc::default(),
        }
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.asked.values().for_each(AbortHandle::abort);
    }
}

impl Gates {
    /// Takes all answers that have come to the core; false where some are to be taken later.
    pub fn answer<D: Dataplane>(&mut self, shared: &Shared<D>) -> bool {
        let answers = std::mem::take(&mut *self.answers.all());
        if answers.is_empty() {
            return true;
        }
        let taken = shared.control().answers(answers, now());
        let Err(Unheard { answers, error }) = taken else {
            return true;
        };
        tracing::error!(
            "answers of {} gates are taken later: {error}",
            answers.len()
        );
        self.answers.all().extend(answers);
        false
    }

    /// Asks what is due and has not been asked, and stops asking for releases that have gone on. To
    /// be called in a tokio runtime.
    pub fn follow<D: Dataplane + Send + 'static>(&mut self, shared: &Arc<Shared<D>>) {
        let (due, rounds) = {
            let control = shared.control();
            let due = control.due_gates();
            if due.is_empty() && self.asked.is_empty() {
                return;
            }
            (due, control.rounds())
        };
        self.asked.retain(|(service, release, round, _), task| {
            let goes_on = rounds.get(service) == Some(&(*release, *round));
            if !goes_on {
                task.abort();
            }
            goes_on && !task.is_finished()
        });
        let answered: BTreeSet<Key> = self.answers.all().iter().map(|(ask, _)| key(ask)).collect();
        for ask in due.into_iter().filter(|ask| !answered.contains(&key(ask))) {
            let turns = Arc::clone(&self.turns);
            let (answers, shared) = (Arc::clone(&self.answers), Arc::clone(shared));
            self.asked
                .entry(key(&ask))
                .or_insert_with(|| tokio::spawn(put(ask, turns, answers, shared)).abort_handle());
        }
    }
}

fn key(ask: &Ask) -> Key {
    let gate = ask.gate.name.clone();
    (ask.service.clone(), ask.release, ask.round, gate)
}

/// Asks one gate, and leaves the answer for the daemon's loop.
async fn put<D: Dataplane + Send + 'static>(
    ask: Ask,
    turns: Arc<Semaphore>,
    answers: Arc<Answers>,
    shared: Arc<Shared<D>>,
) {
    let turn = turns.acquire_owned().await;
    let outcome = outcome(&ask).await;
    drop(turn);
    answers.all().push((ask, outcome));
    shared.changed.notify_one();
}

/// What a gate says, after its timeout at the latest.
pub async fn outcome(ask: &Ask) -> Outcome {
    let patience = ask.gate.timeout;
    let asked = async {
        match &ask.gate.probe {
            Probe::Exec { command, user } => exec::ask(ask, command, user, patience).await,
            Probe::Http { url, status, ca } => {
                http::ask(url, &Verify::by(ca.as_ref()), status).await
            }
            Probe::Prometheus {
                url,
                query,
                condition,
                ca,
            } => prometheus::ask(url, &Verify::by(ca.as_ref()), query, condition).await,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::authority::Authority;

    /// What Prometheus says, which is a good answer to everybody else.
    const ONE: &str = r#"{"data":{"resultType":"scalar","result":[1.5,"1"]}}"#;

    /// Whoever can't be believed has not answered: that is neither good nor bad.
    #[tokio::test]
    async fn gates_ask_over_tls_and_can_not_tell_of_a_stranger() {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let url = format!("https://{}/", authority.serve(ONE).await);
        for (verify, is_known) in [(authority.verify(), true), (stranger.verify(), false)] {
            let status = http::ask(&url, &verify, &[(200, 299)]).await;
            let value = prometheus::ask(&url, &verify, "up", "== 1").await;
            for outcome in [status, value] {
                match outcome {
                    Outcome::Passed => assert!(is_known),
                    Outcome::Inconclusive(why) if !is_known => {
                        assert!(why.contains("invalid peer certificate"), "{why}");
                    }
                    Outcome::Failed(why) | Outcome::Inconclusive(why) => panic!("{why}"),
                }
            }
        }
    }
}
