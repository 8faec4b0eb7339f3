//! A target's own task: it tells what the log has after the target's place, one after another.

use std::time::Duration;

use tokio::{task::spawn_blocking, time::sleep};

use super::{
    Board,
    cursor::Cursor,
    message::Host,
    pause,
    post::{Failed, post},
};
use crate::{
    config::Notify,
    journal::{Entry, Journal},
};

/// Entries that are held in memory at once, for a target that is far behind.
const BATCH: usize = 64;
/// A log that can't be read is tried again.
const RETRY: Duration = Duration::from_secs(5);

pub struct Courier {
    target: Notify,
    host: Host,
    journal: Journal,
    cursor: Cursor,
    board: Board,
}

impl Courier {
    /// One that has been told up to its cursor.
    pub fn new(target: Notify, journal: Journal, cursor: Cursor, board: Board) -> Self {
        let courier = Self {
            target,
            host: Host::this(),
            journal,
            cursor,
            board,
        };
        courier.show(0);
        courier
    }

    /// Tells for ever.
    pub async fn run(mut self) {
        let mut last = self.journal.follow();
        loop {
            last.borrow_and_update();
            let entries = self.fetch().await;
            let mut left = self.wanted(&entries);
            let is_all = entries.len() <= BATCH;
            self.show(left);
            for entry in entries.into_iter().take(BATCH) {
                self.count_lost(&entry);
                if self.wants(&entry) {
                    self.deliver(&entry).await;
                    left -= 1;
                    self.cursor.place.after = entry.seq;
                    self.cursor.keep();
                }
                // What is not for it is kept with the batch.
                self.cursor.place.after = entry.seq;
                self.show(left);
            }
            self.cursor.keep();
            if is_all && last.changed().await.is_err() {
                return;
            }
        }
    }

    async fn fetch(&self) -> Vec<Entry> {
        loop {
            let (journal, after) = (self.journal.clone(), self.cursor.place.after);
            // Up to five files, of which nobody else need wait.
            match spawn_blocking(move || journal.read(after, None)).await {
                Ok(Ok(entries)) => return entries,
                Ok(Err(error)) => self.complain(&error.to_string()),
                Err(error) => self.complain(&error.to_string()),
            }
            sleep(RETRY).await;
        }
    }

    fn wanted(&self, entries: &[Entry]) -> u64 {
        let wanted = entries.iter().filter(|entry| self.wants(entry)).count();
        u64::try_from(wanted).unwrap_or(u64::MAX)
    }

    fn wants(&self, entry: &Entry) -> bool {
        let Notify {
            events, services, ..
        } = &self.target;
        (events.is_empty() || events.contains(&entry.event))
            && (services.is_empty() || services.contains(&entry.service))
    }

    /// Numbers that are left out were in files that are gone.
    fn count_lost(&mut self, entry: &Entry) {
        let lost = entry.seq.saturating_sub(self.cursor.place.after + 1);
        if lost > 0 {
            self.cursor.place.lost += lost;
            tracing::warn!(
                "notify `{}`: {lost} entries were in files of the audit log that are gone",
                self.target.name
            );
        }
    }

    /// Tries until the target has taken it, or has said that it never will.
    async fn deliver(&mut self, entry: &Entry) {
        let mut failed = 0;
        loop {
            let asked = match post(&self.target, &self.host, entry).await {
                Ok(()) => {
                    self.cursor.place.delivered += 1;
                    return self.board.change(&self.target.name, |status| {
                        status.failing = 0;
                        status.error = None;
                    });
                }
                Err(error @ Failed::Refused(_)) => {
                    self.cursor.place.refused += 1;
                    return self.complain(&format!("entry {}: {error}", entry.seq));
                }
                Err(error) => {
                    self.complain(&error.to_string());
                    waited_for(&error)
                }
            };
            failed += 1;
            self.board
                .change(&self.target.name, |status| status.failing = failed);
            let pause = pause::backoff(failed, pause::chance());
            sleep(pause.max(asked.unwrap_or_default())).await;
            // What has come meanwhile waits as well.
            let waiting = self.fetch().await;
            self.show(self.wanted(&waiting));
        }
    }

    /// Says what is wrong, once as long as it is the same.
    fn complain(&self, error: &str) {
        let mut is_news = false;
        self.board.change(&self.target.name, |status| {
            is_news = status.error.as_deref() != Some(error);
            status.error = Some(error.to_owned());
        });
        if is_news {
            tracing::warn!("notify `{}`: {error}", self.target.name);
        }
    }

    fn show(&self, pending: u64) {
        let place = &self.cursor.place;
        self.board.change(&self.target.name, |status| {
            status.delivered = place.delivered;
            status.refused = place.refused;
            status.lost = place.lost;
            status.pending = pending;
        });
    }
}

const fn waited_for(error: &Failed) -> Option<Duration> {
    match error {
        Failed::Busy { asked, .. } => *asked,
        Failed::Unanswered(_)
        | Failed::Secret(_)
        | Failed::Request(_)
        | Failed::TimedOut
        | Failed::Elsewhere(_)
        | Failed::Refused(_) => None,
    }
}
