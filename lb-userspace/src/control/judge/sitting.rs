//! One release before its judge, over restarts of the daemon.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use lb_common::signal;
use serde::{Deserialize, Serialize};

use super::{backends::apart, beginning::Beginning};
use crate::{
    api::{
        judged::{Judged, SignalEvidence},
        stream::Latency,
    },
    config::unseen,
    dataplane::signals::Signals,
    judge::{Counts, Judge, Settings, Signal, Summary, Verdict},
    release::engine::Opinion,
    state::ServiceState,
};

/// How long evidence may go on without being written down: at most that is lost by a crash.
const KEEP_MS: u64 = 30_000;

/// How long it is waited before an opinion is told again.
const PATIENCE_MS: u64 = 1_000;

/// All of them, and the directory where they are kept.
pub struct Sittings {
    directory: PathBuf,
    by_service: BTreeMap<String, Sitting>,
}

/// One release before its judge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sitting {
    /// Number of the release, counted by service.
    release: u64,
    /// The round of the release that was judged last.
    round: u64,
    /// Name of the pool that it is compared with.
    active: String,
    /// By which draw clients were dealt out when it looked last.
    #[serde(default)]
    draw: Option<u8>,
    judge: Judge,
    #[serde(default)]
    beginning: Beginning,
    looked_ms: u64,
    #[serde(skip)]
    kept_ms: u64,
    /// What the release was told last, and in which of its rounds.
    #[serde(skip)]
    told: Option<(u64, Opinion)>,
}

impl Sittings {
    /// Those that are kept beside a state file.
    pub fn beside(state: &Path) -> Self {
        Self {
            directory: state.with_file_name("evidence"),
            by_service: BTreeMap::new(),
        }
    }

    /// That of a release, if there was one.
    pub(super) fn of(&self, service: &str, release: u64) -> Option<&Sitting> {
        let sitting = self.by_service.get(service);
        sitting.filter(|sitting| sitting.release == release)
    }

    /// The same, or what was kept of it before the daemon started.
    pub(super) fn found(&self, service: &str, release: u64) -> Option<Cow<'_, Sitting>> {
        let here = self.of(service, release).map(Cow::Borrowed);
        here.or_else(|| self.kept(service, release).map(Cow::Owned))
    }

    /// What is to be kept of a release that has ended; nothing if nothing was measured of it.
    pub(in super::super) fn summary(
        &self,
        (service, release): (&str, u64),
        candidate: &str,
    ) -> Option<Summary> {
        let sitting = self.found(service, release)?;
        Some(sitting.judge.summary(candidate, &sitting.active))
    }

    fn kept(&self, service: &str, release: u64) -> Option<Sitting> {
        read(&self.path(service)).filter(|kept| kept.release == release)
    }

    fn path(&self, service: &str) -> PathBuf {
        self.directory.join(format!("{service}.json"))
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self, service: &str, release: u64, now_ms: u64, each_ms: u64) -> bool {
        let sitting = self.of(service, release);
        sitting.is_none_or(|sitting| now_ms.saturating_sub(sitting.looked_ms) >= each_ms)
    }

    /// That of a release, new if there is none, neither here nor in its file.
    pub(super) fn open(
        &mut self,
        (service, release): (&str, u64),
        settings: Settings,
        beginning: Beginning,
    ) -> Kept<'_> {
        let path = self.path(service);
        if self.of(service, release).is_none() {
            let kept = self.kept(service, release);
            let new = || Sitting {
                release,
                round: 0,
                active: String::new(),
                draw: None,
                judge: Judge::new(settings),
                beginning,
                looked_ms: 0,
                kept_ms: 0,
                told: None,
            };
            let sitting = kept.unwrap_or_else(new);
            self.by_service.insert(service.to_owned(), sitting);
        }
        let sitting = self.by_service.get_mut(service);
        Kept { path, sitting }
    }

    /// A release begins anew: what was seen of it before counts no more.
    pub(in super::super) fn close(&mut self, service: &str) {
        self.by_service.remove(service);
        let path = self.path(service);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => tracing::error!(
                "{}: evidence that counts no more can't be removed: {error}; remove it, or a daemon \
                 that starts in a retry of this release judges by it",
                path.display()
            ),
            Ok(()) | Err(_) => {}
        }
    }

    /// What was told last was not heeded, and is to be told again in a second.
    pub(super) fn forget_opinion(&mut self, service: &str) {
        if let Some(sitting) = self.by_service.get_mut(service) {
            sitting.told = None;
            sitting.looked_ms += PATIENCE_MS;
        }
    }
}

/// What a look comes upon besides the counters.
pub(super) struct Seen {
    /// Name of the pool that is released.
    pub candidate: String,
    /// Name of the one that it is compared with.
    pub active: String,
    /// The round of the release.
    pub round: u64,
    /// [`Record::draw`](lb_common::release::Record::draw) of the live record.
    pub draw: Option<u8>,
    /// Both pools serve their own users: else nothing is measured, and nothing said but harm.
    pub compares: bool,
    /// Clients of the candidate that the kernel has counted, each once a draw.
    pub clients: u64,
    /// What the breaker says.
    pub tripped: Option<String>,
    /// When it is, by a clock that never goes back.
    pub now_ms: u64,
}

/// A sitting, and where it is kept.
pub(super) struct Kept<'a> {
    path: PathBuf,
    sitting: Option<&'a mut Sitting>,
}

impl Kept<'_> {
    /// One look; what the judge says if that is news.
    pub(super) fn look(self, counts: &BTreeMap<Signal, Counts>, seen: Seen) -> Option<Opinion> {
        let sitting = self.sitting?;
        let Seen { round, now_ms, .. } = seen;
        sitting.turn_to(round, seen.draw);
        sitting.judge.look(counts, seen.clients, now_ms);
        sitting.looked_ms = now_ms;
        sitting.active.clone_from(&seen.active);
        let opinion = match seen.tripped {
            Some(why) => Opinion::Harm(why),
            None => sitting.opinion(&seen.candidate, &seen.active),
        };
        if !seen.compares && !matches!(opinion, Opinion::Harm(_)) {
            return None;
        }
        let told = (round, opinion.clone());
        let news = !sitting.told.as_ref().is_some_and(|(at, last)| {
            *at == round && std::mem::discriminant(last) == std::mem::discriminant(&opinion)
        });
        if news || now_ms.saturating_sub(sitting.kept_ms) >= KEEP_MS {
            sitting.kept_ms = now_ms;
            if let Err(error) = write(&self.path, sitting) {
                tracing::error!("{}: the evidence is not kept: {error}", self.path.display());
            }
        }
        sitting.told = Some(told);
        news.then_some(opinion)
    }
}

impl Sitting {
    /// Another step begins, or clients were dealt out anew amid one: what comes is another experiment.
    fn turn_to(&mut self, round: u64, draw: Option<u8>) {
        let anew = self.draw.is_some() && self.draw != draw;
        if self.round != round {
            self.round = round;
            self.judge.next_step();
        } else if anew {
            self.judge.begin_step_anew();
            self.told = None;
        }
        self.draw = draw;
    }

    fn opinion(&self, candidate: &str, active: &str) -> Opinion {
        match self.judge.verdict() {
            Verdict::Harm(signal) => {
                let evidence = self.judge.evidence();
                let found = evidence.iter().find(|evidence| evidence.signal == signal);
                let said = found.map(|evidence| evidence.sentence(candidate, active));
                Opinion::Harm(said.unwrap_or_default())
            }
            Verdict::NoWorse => Opinion::NoWorse,
            Verdict::Undecided => Opinion::NoHarm,
            Verdict::Starved => Opinion::CantTell(format!(
                "it has seen {} clients of `{candidate}` in this step, and needs {}",
                self.judge.clients_in_step(),
                self.judge.settings().min_clients
            )),
            Verdict::Unsound(signal) => Opinion::Unsound(format!(
                "clients of `{active}` that nothing tells apart differ by `{signal}`"
            )),
        }
    }

    /// How long clients have waited since it began.
    pub(super) fn waited(&self, signals: &Signals) -> Latency {
        self.beginning.waited(signals)
    }

    /// What is to be said of it, given what is counted by backend.
    pub(super) fn report(
        &self,
        (service, state): (&str, &ServiceState),
        candidate: &str,
        counts: &BTreeMap<u16, signal::Tally>,
    ) -> Judged {
        let active = self.active.as_str();
        let evidence = self.judge.evidence().into_iter();
        let signals = evidence.map(|evidence| SignalEvidence {
            sentence: evidence.sentence(candidate, active),
            evidence,
        });
        let backends = self.beginning.since(state, counts);
        let mut notes = apart(candidate, &backends);
        notes.extend(unseen(state.forward));
        Judged {
            service: service.to_owned(),
            release: self.release,
            candidate: candidate.to_owned(),
            active: active.to_owned(),
            verdict: self.judge.verdict(),
            judged: self.judge.judged(),
            signals: signals.collect(),
            backends,
            notes,
        }
    }
}

/// What was kept; nothing, which is said, if it is there and can't be read.
fn read(path: &Path) -> Option<Sitting> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::error!("{}: evidence can't be read: {error}", path.display());
            }
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(|error| tracing::error!("{}: not evidence ({error})", path.display()))
        .ok()
}

fn write(path: &Path, sitting: &Sitting) -> std::io::Result<()> {
    let text = serde_json::to_vec(sitting)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = path.with_extension("json.new");
    fs::write(&beside, text)?;
    fs::rename(beside, path)
}
