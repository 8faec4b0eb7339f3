//! The audit log: what happened to services, who did it and why. One JSON object a line, only ever
//! appended to. Before an order is answered its entry is on the disk in the state file, and soon
//! after in the log: `desk` has a thread for that, so that no order waits for it.

mod desk;

pub use desk::{Journal, UNWRITTEN};

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::judge::Summary;

/// A file of this size, in bytes, is put aside.
const LIMIT: u64 = 4 << 20;
/// Files that are kept besides the one that is written: `audit.jsonl.1` is the youngest of them.
const KEPT: u32 = 4;

/// The log can't be read or written.
#[derive(Debug, Error)]
#[error(
    "audit log {}: {source}; make room or give serin the right to write there", path.display()
)]
pub struct JournalError {
    path: PathBuf,
    source: io::Error,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// By the socket's peer credentials; null for the daemon itself.
    pub uid: Option<u32>,
    /// The user's name, or `serin`.
    pub name: String,
}

impl Actor {
    /// The daemon, by itself.
    pub fn daemon() -> Self {
        Self {
            uid: None,
            name: "serin".to_owned(),
        }
    }

    /// Who is at the other end of a socket.
    pub fn user(uid: u32) -> Self {
        let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        Self {
            uid: Some(uid),
            name: known.map_or_else(|| uid.to_string(), |user| user.name),
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happened {
    /// A release began.
    Started,
    /// It went on to a step.
    Step,
    /// It stays where it is.
    Paused,
    /// It goes on after a pause.
    Resumed,
    /// Somebody has let it go on: what is asked before the next step comes first.
    Approved,
    /// It waits for a time of day.
    Scheduled,
    /// It does not wait for a time of day any more.
    CalledOff,
    /// A gate answers otherwise than before.
    Gate,
    /// The judge has found something at the present step, for the first time.
    Verdict,
    /// The present step lasts once more as long, since the judge can't tell.
    Extended,
    /// It waits for a person.
    AwaitsApproval,
    /// Its step is over, and the judge can't tell: it waits for a person.
    AwaitsEvidence,
    /// Its candidate has no backend that takes connections.
    AwaitsBackends,
    /// All of its steps are guarded by toggles that are off.
    AwaitsToggle,
    /// The candidate is the active pool.
    Promoted,
    /// The bake time is over.
    Baked,
    /// All users were taken back.
    Aborted,
    /// An aborted release began again.
    Retried,
    /// Somebody moves its share by hand from now on.
    TakenOver,
    /// A daemon goes on with the release of the one before it.
    Continued,
    /// A daemon found the kernel elsewhere than the state file said.
    Found,
    /// The share was set by hand.
    Share,
    /// All users were sent to another pool by hand.
    Cutover,
    /// The share, or the last cutover, was taken back by hand.
    RolledBack,
    /// A backend was given another weight.
    Weight,
    /// A backend takes no new connections.
    Drain,
    /// A backend is out, and its connections are cut.
    Maint,
    /// A backend serves again.
    Ready,
    /// Another configuration has changed the service.
    Applied,
    /// A toggle was turned that guards a part of the service, or of none.
    Toggled,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Step => "step",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Approved => "approved",
            Self::Scheduled => "scheduled",
            Self::Gate => "gate",
            Self::Verdict => "verdict",
            Self::Extended => "extended",
            Self::AwaitsApproval => "awaits-approval",
            Self::AwaitsEvidence => "awaits-evidence",
            Self::AwaitsBackends => "awaits-backends",
            Self::AwaitsToggle => "awaits-toggle",
            Self::CalledOff => "called-off",
            Self::Promoted => "promoted",
            Self::Baked => "baked",
            Self::Aborted => "aborted",
            Self::Retried => "retried",
            Self::TakenOver => "taken-over",
            Self::Continued => "continued",
            Self::Found => "found",
            Self::Share => "share",
            Self::Cutover => "cutover",
            Self::RolledBack => "rolled-back",
            Self::Weight => "weight",
            Self::Drain => "drain",
            Self::Maint => "maint",
            Self::Ready => "ready",
            Self::Applied => "applied",
            Self::Toggled => "toggled",
        })
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts all entries of a log.
    pub seq: u64,
    /// RFC 3339, in UTC.
    pub time: String,
    /// The service; empty for what touches none.
    pub service: String,
    /// What happened.
    pub event: Happened,
    /// Who did it.
    pub actor: Actor,
    /// Why.
    pub cause: String,
    /// The backend, gate or toggle that it is about; null for the whole service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Its weight, state, answer or verdict before, or the service's record, where that is what
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The same since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Number of the release, counted by service.
    pub release: u64,
    /// The step that it is at, counted from 1; null once it is over.
    pub step: Option<usize>,
    /// How many steps it has; null without a plan.
    pub steps: Option<usize>,
    /// Name of the active pool.
    pub active: String,
    /// Name of the candidate pool, if there is one.
    pub candidate: Option<String>,
    /// The candidate's share of clients, in parts per million.
    pub share_ppm: u32,
    /// Number of the live record.
    pub epoch: u64,
    /// What a release was judged by that this has ended; null for all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Summary>>,
}

impl Happened {
    /// Whether a release has ended by it, or its candidate has become the active pool.
    pub const fn ends_a_release(self) -> bool {
        matches!(
            self,
            Self::Promoted | Self::Aborted | Self::TakenOver | Self::RolledBack
        )
    }
}

/// The time of day, as entries have it.
pub fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// The log's files.
#[derive(Clone)]
struct Log {
    path: PathBuf,
    /// The number of the last entry; nothing before it could be read.
    last: Option<u64>,
}

impl Log {
    /// The log of the daemon that has this state file: beside it.
    fn beside(state: &Path) -> Self {
        let mut log = Self {
            path: state.with_file_name("audit.jsonl"),
            last: None,
        };
        // One that can't be read is looked at again, and complained of, when it is written to.
        log.last = log.find_last().ok();
        log
    }

    /// Appends entries, but for those of numbers that it has.
    fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        self.write(entries).map_err(|source| JournalError {
            path: self.path.clone(),
            source,
        })
    }

    /// The entries after the one of a number, oldest first, as far back as files are kept. Lines
    /// that a crash has cut off are left out.
    fn read(&self, after: u64) -> Result<Vec<Entry>, JournalError> {
        let mut files = Vec::new();
        for path in self.files() {
            let file = read_file(&path).map_err(|source| JournalError { path, source })?;
            let reached = file
                .first()
                .is_some_and(|first| first.seq <= after.saturating_add(1));
            files.push(file);
            if reached {
                break;
            }
        }
        let mut entries: Vec<Entry> = files.into_iter().rev().flatten().collect();
        // One that was put aside meanwhile has been read twice.
        in_order(&mut entries);
        entries.retain(|entry| entry.seq > after);
        Ok(entries)
    }

    fn write(&mut self, entries: &[Entry]) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let last = match self.last {
            Some(last) => last,
            None => self.find_last()?,
        };
        self.last = Some(last);
        let mut lines = Vec::new();
        for entry in entries.iter().filter(|entry| entry.seq > last) {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        let Some(newest) = entries.last().filter(|_| !lines.is_empty()) else {
            return Ok(());
        };
        let mut options = File::options();
        let mut file = options
            .create(true)
            .append(true)
            .read(true)
            .open(&self.path)?;
        if !ends_a_line(&mut file)? {
            lines.insert(0, b'\n');
        }
        let end = file.metadata()?.len();
        if let Err(error) = file.write_all(&lines) {
            // Part of them would be there twice once all are written.
            file.set_len(end)?;
            return Err(error);
        }
        file.sync_data()?;
        self.last = Some(newest.seq);
        if file.metadata()?.len() >= LIMIT {
            self.rotate()?;
        }
        // A new file's name must outlive a crash as well.
        File::open(directory)?.sync_all()
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            let (from, to) = (self.numbered(number), self.numbered(number + 1));
            match fs::rename(from, to) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn find_last(&self) -> io::Result<u64> {
        for path in self.files() {
            if let Some(entry) = read_file(&path)?.last() {
                return Ok(entry.seq);
            }
        }
        Ok(0)
    }

    /// All files that may be there, the youngest first.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let aside = (1..=KEPT).map(|number| self.numbered(number));
        [self.path.clone()].into_iter().chain(aside)
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn in_order(entries: &mut Vec<Entry>) {
    entries.sort_by_key(|entry| entry.seq);
    entries.dedup_by_key(|entry| entry.seq);
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The entries of a file, oldest first; none if it is not there.
fn read_file(path: &Path) -> io::Result<Vec<Entry>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut entries = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        entries.extend(serde_json::from_slice::<Entry>(&line?).ok());
    }
    Ok(entries)
}

/// An entry for tests.
#[cfg(test)]
pub(crate) fn sample(service: &str, cause: &str) -> Entry {
    Entry {
        seq: 0,
        time: String::new(),
        service: service.to_owned(),
        event: Happened::Started,
        actor: Actor::daemon(),
        cause: cause.to_owned(),
        object: None,
        before: None,
        after: None,
        release: 1,
        step: Some(1),
        steps: Some(3),
        active: "blue".to_owned(),
        candidate: Some("green".to_owned()),
        share_ppm: 10_000,
        epoch: 2,
        evidence: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(journal: &mut Log, service: &str, cause: &str) {
        let seq = journal.find_last().expect("readable") + 1;
        let entry = Entry {
            seq,
            ..sample(service, cause)
        };
        journal.append(&[entry]).expect("appended");
    }

    fn journal() -> (tempfile::TempDir, Log) {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = Log::beside(&directory.path().join("state.json"));
        (directory, journal)
    }

    fn told(journal: &Log, after: u64) -> Vec<(u64, String)> {
        let entries = journal.read(after).expect("readable");
        let told = entries.into_iter();
        told.map(|entry| (entry.seq, entry.cause)).collect()
    }

    #[test]
    fn entries_are_counted_over_restarts_and_read_by_number() {
        let (_directory, mut journal) = journal();
        assert_eq!(told(&journal, 0), []);
        add(&mut journal, "shop", "a");
        add(&mut journal, "mail", "b");
        let mut again = Log {
            last: None,
            ..journal
        };
        add(&mut again, "shop", "c");
        let all = [(1, "a"), (2, "b"), (3, "c")].map(|(n, cause)| (n, cause.to_owned()));
        assert_eq!(told(&again, 0), all);
        assert_eq!(told(&again, 2), [all[2].clone()]);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_costs_that_line_alone() {
        let (_directory, mut journal) = journal();
        add(&mut journal, "shop", "a");
        let mut file = File::options()
            .append(true)
            .open(&journal.path)
            .expect("there");
        file.write_all(b"{\"seq\":2,\"ti").expect("written");
        journal.last = None;
        add(&mut journal, "shop", "b");
        let expected = [(1, "a".to_owned()), (2, "b".to_owned())];
        assert_eq!(told(&journal, 0), expected);
    }

    #[test]
    fn entries_are_appended_together_but_for_those_that_are_there() {
        let (_directory, mut journal) = journal();
        let entries: Vec<Entry> = (1..=4)
            .map(|seq| Entry {
                seq,
                ..sample("shop", "x")
            })
            .collect();
        journal.append(&entries[..2]).expect("appended");
        journal.append(&entries).expect("appended");
        journal.append(&entries[1..3]).expect("there already");
        let text = fs::read_to_string(&journal.path).expect("there");
        assert_eq!(text.lines().count(), 4);
        let seqs: Vec<u64> = told(&journal, 0).iter().map(|told| told.0).collect();
        assert_eq!(seqs, [1, 2, 3, 4]);
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_is_dropped() {
        let (directory, mut journal) = journal();
        let half = usize::try_from(LIMIT / 2).expect("small");
        for _ in 0..14 {
            add(&mut journal, "shop", &"x".repeat(half));
        }
        let mut names: Vec<std::ffi::OsString> = fs::read_dir(directory.path())
            .expect("there")
            .map(|file| file.expect("there").file_name())
            .collect();
        names.sort();
        let expected: [std::ffi::OsString; 4] =
            [1, 2, 3, 4].map(|n| format!("audit.jsonl.{n}").into());
        assert_eq!(names, expected);
        let seqs: Vec<u64> = told(&journal, 0).iter().map(|told| told.0).collect();
        assert_eq!(seqs, (7..=14).collect::<Vec<_>>());
        for after in 6..15 {
            let seqs: Vec<u64> = told(&journal, after).iter().map(|t| t.0).collect();
            assert_eq!(seqs, (after + 1..=14).collect::<Vec<_>>());
        }
    }
}
