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

use super::{
    archive::{Archive, Taped, write},
    backends::apart,
    beginning::Beginning,
};
use crate::{
    api::{
        judged::{Judged, SignalEvidence},
        stream::Latency,
    },
    config::{Forward, unseen},
    dataplane::signals::Signals,
    judge::{Counts, Dealt, Evidence, Judge, Place, Signal, Summary, Told, Verdict},
    release::engine::{Judging, Opinion},
    state::ServiceState,
};

/// How long evidence may go on without being written down: at most that is lost by a crash.
const KEEP_MS: u64 = 30_000;

/// How long it is waited before an opinion is told again.
const PATIENCE_MS: u64 = 1_000;

/// All of them, and the directory where they are kept.
pub struct Sittings {
    archive: Archive,
    by_service: BTreeMap<String, Sitting>,
    /// When calls without an answer were looked for.
    swept_ms: Option<u64>,
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
    /// All that was looked at, which has a file of its own; nothing where that is lost.
    #[serde(skip)]
    taped: Option<Taped>,
    /// There is something that is not kept yet.
    #[serde(skip)]
    unkept: bool,
}

impl Sittings {
    /// Those that are kept beside a state file.
    pub fn beside(state: &Path) -> Self {
        Self {
            archive: Archive {
                directory: state.with_file_name("evidence"),
            },
            by_service: BTreeMap::new(),
            swept_ms: None,
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

    /// Whether it is time to look for calls without an answer; it is then taken to be done.
    pub(super) fn is_sweep_due(&mut self, now_ms: u64, each_ms: u64) -> bool {
        let swept = self.swept_ms;
        let due = swept.is_none_or(|swept| now_ms.saturating_sub(swept) >= each_ms);
        if due {
            self.swept_ms = Some(now_ms);
        }
        due
    }

    /// A release as it was looked at, or the last one that was; why there is none.
    pub(super) fn taped(
        &self,
        service: &str,
        release: Option<u64>,
    ) -> Result<Cow<'_, Taped>, String> {
        let here = self.by_service.get(service);
        let here = here.and_then(|sitting| sitting.taped.as_ref());
        let mut kept = self.archive.releases(service);
        kept.extend(here.map(|taped| taped.release));
        let release = release.or_else(|| kept.last().copied()).ok_or(
            "no evidence of a release is kept; add [service.release.judge], and start one with a share",
        )?;
        if let Some(here) = here.filter(|taped| taped.release == release) {
            return Ok(Cow::Borrowed(here));
        }
        let taped = self.archive.read(service, release)?;
        taped.map(Cow::Owned).ok_or_else(|| {
            kept.sort_unstable();
            kept.dedup();
            let kept: Vec<_> = kept.iter().map(u64::to_string).collect();
            format!(
                "no evidence of release {release} is kept; there is some of {}",
                if kept.is_empty() {
                    "none".to_owned()
                } else {
                    kept.join(", ")
                }
            )
        })
    }

    /// Keeps what is not kept of releases that are looked at no more.
    pub(super) fn keep_ended(&mut self, looks_on: impl Fn(&str) -> bool) {
        for (service, sitting) in &mut self.by_service {
            if sitting.unkept && !looks_on(service) {
                sitting.keep(service, &self.archive);
            }
        }
    }

    fn kept(&self, service: &str, release: u64) -> Option<Sitting> {
        read(&self.path(service)).filter(|kept| kept.release == release)
    }

    fn path(&self, service: &str) -> PathBuf {
        let file = format!("{service}.json");
        self.archive.directory.join(file)
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self, service: &str, release: u64, now_ms: u64, each_ms: u64) -> bool {
        let sitting = self.of(service, release);
        sitting.is_none_or(|sitting| now_ms.saturating_sub(sitting.looked_ms) >= each_ms)
    }

    /// That of a release, new if there is none, neither here nor in its file.
    pub(super) fn open<'a>(
        &'a mut self,
        (service, release): (&'a str, u64),
        (judging, forward): (&Judging, Forward),
        beginning: Beginning,
    ) -> Kept<'a> {
        if self.of(service, release).is_none() {
            if let Some(other) = self.by_service.get_mut(service) {
                other.keep_if_unkept(service, &self.archive);
            }
            let kept = self.kept(service, release).map(|kept| Sitting {
                taped: self.archive.read(service, release).unwrap_or_else(|error| {
                    tracing::error!("{error}");
                    None
                }),
                ..kept
            });
            let new = || Sitting {
                release,
                round: 0,
                active: String::new(),
                draw: None,
                judge: Judge::new(judging.settings.clone()),
                beginning,
                looked_ms: 0,
                kept_ms: 0,
                told: None,
                taped: Some(Taped::new(release, judging.clone(), forward)),
                unkept: false,
            };
            let sitting = kept.unwrap_or_else(new);
            self.by_service.insert(service.to_owned(), sitting);
        }
        Kept {
            service,
            archive: &self.archive,
            sitting: self.by_service.get_mut(service),
        }
    }

    /// A release begins anew: what was seen of it before counts no more.
    pub(in super::super) fn close(&mut self, service: &str) {
        if let Some(mut sitting) = self.by_service.remove(service) {
            sitting.keep_if_unkept(service, &self.archive);
        }
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
    /// Where the release is.
    pub place: Place,
    /// [`Record::draw`](lb_common::release::Record::draw) of the live record.
    pub draw: Option<u8>,
    /// Both pools serve their own users: else nothing is measured, and nothing said but harm.
    pub compares: bool,
    /// How clients are dealt out, and how many of the candidate's the kernel has counted, each once a draw.
    pub dealt: Dealt,
    /// What the breaker says.
    pub tripped: Option<String>,
    /// When it is, by a clock that never goes back.
    pub now_ms: u64,
}

/// A sitting, and where it is kept.
pub(super) struct Kept<'a> {
    service: &'a str,
    archive: &'a Archive,
    sitting: Option<&'a mut Sitting>,
}

impl Kept<'_> {
    /// One look; what the judge says if that is news.
    pub(super) fn look(self, counts: &BTreeMap<Signal, Counts>, seen: Seen) -> Option<Opinion> {
        let sitting = self.sitting?;
        let now_ms = seen.now_ms;
        let place = sitting.turn_to(seen.place, seen.draw);
        let round = place.round;
        let has_judged = if place.redealt {
            let clients = seen.dealt.clients;
            sitting.judge.pass_over(counts, clients, now_ms);
            false
        } else {
            sitting.judge.look(counts, seen.dealt, now_ms)
        };
        sitting.tape(counts, place, has_judged, &seen);
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
            sitting.keep(self.service, self.archive);
        }
        sitting.told = Some(told);
        news.then_some(opinion)
    }
}

impl Sitting {
    /// Another step begins, or clients were dealt out anew amid one, which is answered: what comes is
    /// another experiment. Says which of it in the place.
    fn turn_to(&mut self, place: Place, draw: Option<u8>) -> Place {
        let redealt = self.draw.is_some() && self.draw != draw;
        let anew = redealt && self.round == place.round;
        if self.round != place.round {
            self.round = place.round;
            self.judge.next_step();
        } else if anew {
            self.judge.begin_step_anew();
            self.told = None;
        }
        self.draw = draw;
        Place {
            anew,
            redealt,
            ..place
        }
    }

    /// Takes down what was looked at, and what is said of it.
    fn tape(
        &mut self,
        counts: &BTreeMap<Signal, Counts>,
        place: Place,
        has_judged: bool,
        seen: &Seen,
    ) {
        self.unkept = true;
        let Some(taped) = &mut self.taped else {
            return;
        };
        let now = (has_judged, seen.now_ms);
        let after_ms = taped.tape.look(counts, seen.dealt, place, now);
        taped.candidate.clone_from(&seen.candidate);
        taped.active.clone_from(&seen.active);
        if taped.breaker.is_none() {
            taped.breaker.clone_from(&seen.tripped);
        }
        let found = |told: &Told| matches!(told.verdict, Verdict::Harm(_));
        if !taped.told.as_ref().is_some_and(found) {
            taped.told = Some(Told::by(&self.judge, place, after_ms));
            taped.evidence = self.judge.evidence();
        }
    }

    fn keep_if_unkept(&mut self, service: &str, archive: &Archive) {
        if self.unkept {
            self.keep(service, archive);
        }
    }

    fn keep(&mut self, service: &str, archive: &Archive) {
        self.unkept = false;
        let path = archive.directory.join(format!("{service}.json"));
        let taped = self.taped.as_ref();
        let kept = write(&path, self)
            .and_then(|()| taped.map_or(Ok(()), |taped| archive.write(service, taped)));
        if let Err(error) = kept {
            tracing::error!(
                "{}: the evidence is not kept: {error}",
                archive.directory.display()
            );
        }
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

    /// Connections that live, by backend, given what is counted by it.
    pub fn live(&self, counts: &BTreeMap<u16, signal::Tally>) -> BTreeMap<u16, u64> {
        self.beginning.live(counts)
    }

    /// What is to be said of it, given what is counted by backend.
    pub(super) fn report(
        &self,
        (service, state): (&str, &ServiceState),
        candidate: &str,
        counts: &BTreeMap<u16, signal::Tally>,
    ) -> Judged {
        let active = self.active.as_str();
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
            signals: told_of(self.judge.evidence(), candidate, active),
            backends,
            notes,
        }
    }
}

/// Evidence with its sentences.
pub(super) fn told_of(
    evidence: Vec<Evidence>,
    candidate: &str,
    active: &str,
) -> Vec<SignalEvidence> {
    let told = evidence.into_iter().map(|evidence| SignalEvidence {
        sentence: evidence.sentence(candidate, active),
        evidence,
    });
    told.collect()
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
