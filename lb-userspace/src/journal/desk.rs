//! Where entries are handed over: at once, while a thread of its own writes them. A log that can't
//! be written holds up nobody, and what waits for it is read as if it were there.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use lb_common::maps::MAX_SERVICES;
use tokio::sync::watch;

use super::{Entry, Happened, JournalError, Log, in_order};

/// Entries that wait for a log that can't be written, at most: the oldest are given up. All services
/// of a host may have one, and another.
pub const UNWRITTEN: usize = 2 * MAX_SERVICES as usize;
/// A log that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The log.
#[derive(Clone)]
pub struct Journal {
    desk: Arc<Desk>,
    /// Wakes the writer, and ends it with the last of the journals.
    wake: Sender<()>,
}

struct Desk {
    /// For reading.
    log: Log,
    waiting: Mutex<VecDeque<Entry>>,
    /// Number of the last entry that was handed over.
    last: watch::Sender<u64>,
    /// Number of the last entry that is on the disk.
    written: AtomicU64,
    /// How often what has happened to which service, since the start.
    counts: Mutex<BTreeMap<(String, Happened), u64>>,
}

/// What a release comes to: counted from the start on, so that the first one is a rise as well.
const OUTCOMES: [Happened; 4] = [
    Happened::Started,
    Happened::Promoted,
    Happened::Aborted,
    Happened::RolledBack,
];

impl Journal {
    /// The log of the daemon that has this state file: beside it.
    pub fn beside(state: &Path) -> Self {
        let log = Log::beside(state);
        let last = log.last.unwrap_or(0);
        let desk = Arc::new(Desk {
            log: log.clone(),
            waiting: Mutex::default(),
            last: watch::Sender::new(last),
            written: AtomicU64::new(last),
            counts: Mutex::default(),
        });
        let (wake, woken) = mpsc::channel();
        let writer = Arc::clone(&desk);
        let thread = thread::Builder::new().name("audit-log".to_owned());
        if let Err(error) = thread.spawn(move || writer.keep(log, &woken)) {
            tracing::error!("audit log: no thread to write it: {error}; see ulimit -u");
        }
        Self { desk, wake }
    }

    /// The number after the last entry's, or after one that is not handed over yet.
    pub fn next(&self, later: Option<u64>) -> u64 {
        let last = match *self.desk.last.borrow() {
            // It may not have been readable.
            0 => self.desk.log.find_last().unwrap_or(0),
            last => last,
        };
        later.unwrap_or(0).max(last) + 1
    }

    /// Takes an entry, to be written soon; false if it has been handed over before.
    pub fn take(&self, entry: &Entry) -> bool {
        if entry.seq <= *self.desk.last.borrow() {
            return false;
        }
        let mut waiting = self.desk.waiting();
        waiting.push_back(entry.clone());
        let spare = waiting.len().saturating_sub(UNWRITTEN);
        waiting.drain(..spare);
        drop(waiting);
        self.desk.last.send_replace(entry.seq);
        tell(entry);
        let counted = (entry.service.clone(), entry.event);
        *self.desk.counts().entry(counted).or_default() += 1;
        // Without a thread there is nobody to be woken; that has been said.
        let _gone = self.wake.send(());
        true
    }

    /// How often what has happened to a service since the start; outcomes of releases even if never.
    pub fn counted(&self, service: &str) -> Vec<(Happened, u64)> {
        let counts = self.desk.counts();
        let mut found: BTreeMap<Happened, u64> = OUTCOMES.map(|outcome| (outcome, 0)).into();
        let of_service = counts.iter().filter(|((name, _), _)| name == service);
        found.extend(of_service.map(|(&(_, event), &count)| (event, count)));
        found.into_iter().collect()
    }

    /// Number of the last entry that is on the disk.
    pub fn written(&self) -> u64 {
        self.desk.written.load(Ordering::Acquire)
    }

    /// The number of the last entry, from now on.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.desk.last.subscribe()
    }

    /// The entries after the one of a number, oldest first, as far back as files are kept; of one
    /// service, or of all. Those that wait for the disk are among them.
    pub fn read(&self, after: u64, service: Option<&str>) -> Result<Vec<Entry>, JournalError> {
        // Who follows the log asks often, and seldom is there news.
        let last = *self.desk.last.borrow();
        if last != 0 && last <= after {
            return Ok(Vec::new());
        }
        // Before the files: what has left this list is in them.
        let waiting = self.desk.waiting().clone();
        let mut entries = self.desk.log.read(after)?;
        entries.extend(waiting);
        in_order(&mut entries);
        entries.retain(|entry| {
            entry.seq > after && service.is_none_or(|service| service == entry.service)
        });
        Ok(entries)
    }
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        // Every change of the list is whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<(String, Happened), u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is handed over until no journal is left.
    fn keep(&self, mut log: Log, woken: &Receiver<()>) {
        let mut failing = false;
        loop {
            let pause = if failing { RETRY } else { Duration::MAX };
            let ended = woken.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected);
            match self.write(&mut log) {
                Ok(()) => failing = false,
                Err(error) => {
                    // Once is enough to say it.
                    if !failing {
                        tracing::error!("{error}; releases go on, and it is tried again");
                    }
                    failing = true;
                }
            }
            if ended {
                return;
            }
        }
    }

    fn write(&self, log: &mut Log) -> Result<(), JournalError> {
        loop {
            let entries: Vec<Entry> = self.waiting().iter().cloned().collect();
            let Some(last) = entries.last() else {
                return Ok(());
            };
            log.append(&entries)?;
            self.written.store(last.seq, Ordering::Release);
            self.waiting().retain(|waiting| waiting.seq > last.seq);
        }
    }
}

/// Tells the host's own log; see [`crate::daemon::log`].
fn tell(entry: &Entry) {
    let Entry {
        service,
        event,
        actor,
        cause,
        ..
    } = entry;
    let toggle = entry.object.as_deref();
    let about = match toggle.filter(|_| *event == Happened::Toggled) {
        Some(toggle) => format!("toggle `{toggle}`"),
        None => format!("service `{service}`"),
    };
    tracing::info!(
        seq = entry.seq,
        service,
        event = %event,
        actor = actor.name,
        uid = actor.uid,
        cause,
        object = entry.object,
        before = entry.before,
        after = entry.after,
        release = entry.release,
        step = entry.step,
        steps = entry.steps,
        active = entry.active,
        candidate = entry.candidate,
        share_ppm = entry.share_ppm,
        epoch = entry.epoch,
        "{about}: {event}, {cause}",
    );
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use tracing::subscriber::with_default;

    use super::{super::sample, *};

    fn hand_over(journal: &Journal, cause: &str) -> Entry {
        let entry = Entry {
            seq: journal.next(None),
            ..sample("shop", cause)
        };
        assert!(journal.take(&entry));
        entry
    }

    fn wait_until_written(journal: &Journal, seq: u64) {
        let began = Instant::now();
        while journal.written() < seq {
            assert!(began.elapsed() < Duration::from_secs(10), "entry {seq}");
            thread::yield_now();
        }
    }

    fn read(journal: &Journal, after: u64, service: Option<&str>) -> Vec<u64> {
        let entries = journal.read(after, service).expect("readable");
        entries.iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn a_log_that_cannot_be_written_is_read_as_if_it_were_and_written_once_it_can_be() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("deep/state.json");
        // A file where the log's directory should be.
        fs::write(directory.path().join("deep"), "").expect("written");
        let journal = Journal::beside(&state);
        let entries = ["a", "b", "c"].map(|cause| hand_over(&journal, cause));
        assert_eq!(journal.written(), 0);
        assert!(!journal.take(&entries[2]), "handed over before");

        fs::remove_file(directory.path().join("deep")).expect("removed");
        wait_until_written(&journal, 3);
        assert_eq!(Log::beside(&state).read(0).expect("readable"), entries);
        assert_eq!(Journal::beside(&state).next(None), 4);
    }

    #[test]
    fn the_hosts_log_is_told_with_fields() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("said");
        let said = fs::File::create(&path).expect("made");
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(said);
        let entry = Entry {
            seq: 7,
            ..sample("shop", "a good build")
        };
        with_default(lines.finish(), || tell(&entry));
        let told = fs::read_to_string(path).expect("written");
        for part in [
            format!("service `shop`: {}, a good build", entry.event),
            "service=\"shop\"".to_owned(),
            format!("event={}", entry.event),
            format!("share_ppm={}", entry.share_ppm),
        ] {
            assert!(told.contains(&part), "{part} in {told}");
        }
        assert!(!told.contains("object"), "it has none: {told}");
    }

    #[test]
    fn entries_are_read_by_service_and_number_before_and_after_they_are_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = Journal::beside(&directory.path().join("state.json"));
        let mut news = journal.follow();
        hand_over(&journal, "a");
        hand_over(&journal, "b");
        assert!(news.has_changed().expect("followed") && *news.borrow_and_update() == 2);
        assert_eq!(read(&journal, 0, Some("shop")), [1, 2]);
        wait_until_written(&journal, 2);
        assert_eq!(read(&journal, 0, None), [1, 2]);
        assert_eq!(read(&journal, 1, None), [2]);
        assert_eq!(read(&journal, 2, None), [] as [u64; 0]);
        assert_eq!(read(&journal, 0, Some("mail")), [] as [u64; 0]);
    }
}
