//! What all open pages share: it is read once a second, and only while one of them asks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use crate::{
    api::server::Shared,
    control::ControlError,
    dataplane::{Dataplane, kernel::now},
    journal::{Entry, Journal},
};

/// Pages at once: `api.http` has places for more connections, so that a Prometheus still gets one.
const PAGES: usize = 128;
/// Entries of the log that a page is told of when it opens, at most.
const RECENT: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);

/// The latest second.
pub struct Feed {
    began: Instant,
    latest: Mutex<Latest>,
    places: Arc<Semaphore>,
}

struct Latest {
    /// Which; nothing has been read yet without it.
    second: Option<u64>,
    /// Milliseconds since the epoch.
    at_ms: u64,
    lines: Told,
    /// By service, of those that somebody looks at.
    details: BTreeMap<String, Told>,
    /// Number of the newest entry that was looked at.
    last: Option<u64>,
    entries: VecDeque<Entry>,
}

/// JSON, or why there is none.
type Told = Result<Arc<str>, String>;

/// What one page is told.
pub struct View {
    /// Which second it is of.
    pub second: u64,
    /// Number of the newest entry of the log.
    pub last: u64,
    /// A JSON object.
    pub text: String,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            latest: Mutex::default(),
            places: Arc::new(Semaphore::new(PAGES)),
        }
    }
}

impl Default for Latest {
    fn default() -> Self {
        Self {
            second: None,
            at_ms: 0,
            lines: Ok(Arc::from("[]")),
            details: BTreeMap::new(),
            last: None,
            entries: VecDeque::new(),
        }
    }
}

impl Feed {
    /// A place for one more page, if there is one.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Waits for the second after `last`, unless it has begun.
    pub async fn tick(&self, last: u64) {
        sleep_until(self.began + SECOND.saturating_mul(whole(last + 1))).await;
    }

    /// The present second, with the log's entries after a number; of one service, if it is named.
    pub async fn read<D: Dataplane>(
        &self,
        shared: &Shared<D>,
        service: Option<&str>,
        after: u64,
    ) -> View {
        // Whoever comes while it is being read waits, and finds it read.
        let mut latest = self.latest.lock().await;
        let second = self.began.elapsed().as_secs();
        if latest.second != Some(second) {
            latest.read(shared).await;
            latest.second = Some(second);
        }
        if let Some(service) = service
            && !latest.details.contains_key(service)
        {
            let detail = shared.control().detail(service, now());
            let told = match detail {
                // It has gone, and may come again.
                Err(ControlError::State(_)) => Ok(Arc::from("null")),
                told => json(told),
            };
            latest.details.insert(service.to_owned(), told);
        }
        View {
            second,
            last: latest.last.unwrap_or(0),
            text: latest.view(service, after),
        }
    }
}

impl Latest {
    async fn read<D: Dataplane>(&mut self, shared: &Shared<D>) {
        let overview = shared.control().overview();
        self.lines = json(overview);
        self.details.clear();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default().as_millis();
        self.at_ms = u64::try_from(since).unwrap_or(u64::MAX);
        let journal = shared.control().journal();
        self.read_log(journal).await;
    }

    async fn read_log(&mut self, journal: Journal) {
        let last = *journal.follow().borrow();
        let recent = last.saturating_sub(RECENT as u64);
        let after = self.last.unwrap_or(0).max(recent);
        // Up to five files, of which nobody else need wait.
        let read = spawn_blocking(move || journal.read(after, None)).await;
        match read {
            Ok(Ok(entries)) => {
                self.last = entries
                    .last()
                    .map(|entry| entry.seq)
                    .or(Some(after.max(last)));
                self.entries.extend(entries);
                let spare = self.entries.len().saturating_sub(RECENT);
                self.entries.drain(..spare);
            }
            Ok(Err(error)) => self.lines = Err(error.to_string()),
            // The daemon is stopping.
            Err(_) => {}
        }
    }

    /// The parts put together: they are JSON already.
    fn view(&self, service: Option<&str>, after: u64) -> String {
        let detail = service.and_then(|service| self.details.get(service));
        let parts = [Some(&self.lines), detail];
        let problem = parts
            .into_iter()
            .flatten()
            .find_map(|part| part.as_ref().err());
        let part = |told: Option<&Told>| match told {
            Some(Ok(text)) => Arc::clone(text),
            Some(Err(_)) | None => Arc::from("null"),
        };
        // A log that was begun anew has lower numbers than a page may have seen.
        let after = if self.last.is_some_and(|last| last < after) {
            0
        } else {
            after
        };
        let news = self.entries.iter().filter(|entry| {
            entry.seq > after && service.is_none_or(|service| service == entry.service)
        });
        let news = serde_json::to_string(&news.collect::<Vec<_>>());
        format!(
            "{{\"at_ms\":{},\"problem\":{},\"services\":{},\"detail\":{},\"events\":{}}}",
            self.at_ms,
            serde_json::Value::from(problem.map(String::as_str)),
            part(Some(&self.lines)),
            part(detail),
            news.unwrap_or_else(|_| "[]".to_owned()),
        )
    }
}

fn json<T: Serialize>(told: Result<T, ControlError>) -> Told {
    let text = serde_json::to_string(&told.map_err(|error| error.to_string())?);
    text.map(Arc::from).map_err(|error| error.to_string())
}

/// So many seconds as a multiple of one; a daemon that runs for longer than a century ticks no more.
fn whole(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
