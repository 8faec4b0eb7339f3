//! Releases before their judge: the counters of measured connections are looked at four times a
//! second, and whatever changes its opinion is an event of the release.

mod archive;
mod backends;
mod beginning;
mod replay;
mod sitting;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lb_common::{
    release::Record,
    signal::{self, Histogram},
};

use super::{Control, ControlError, release::found};
use crate::{
    api::{judged::Judged, stream::Latency},
    config::visible,
    dataplane::{
        Dataplane, Listening,
        signals::{Cohort, Signals},
    },
    judge::{BREAKER, Cohorts, Counts, Dealt, Place, Settings, Signal, Tally},
    release::engine::{Event, Judging, Opinion, Run},
    state::ServiceState,
};

pub(super) use self::sitting::Sittings;
use self::{beginning::Beginning, sitting::Seen};

/// From one look to the next.
const LOOK_MS: u64 = 250;
/// From one search for calls without an answer to the next.
const SWEEP_MS: u64 = 1000;

impl<D: Dataplane> Control<D> {
    /// Looks at all releases that are judged, and acts on what is new.
    pub(super) fn judge_releases(&mut self, tick: u32) -> Result<(), ControlError> {
        let now_ms = self.dataplane.clock_ms();
        let states = &self.state.services;
        let looks_on = |service: &str| states.get(service).and_then(judging).is_some();
        self.sittings.keep_ended(looks_on);
        self.count_unanswered(now_ms);
        for (service, round) in self.judged(now_ms) {
            let Some(opinion) = self.look(&service, now_ms)? else {
                continue;
            };
            let event = Event::Judged {
                round,
                opinion: opinion.clone(),
            };
            let heeded = self.steer(&service, &event, "", tick).map(drop);
            let heeded = match heeded {
                Err(ControlError::Unfit { .. } | ControlError::Refused { .. }) => {
                    self.note_opinion(&service, round, opinion)
                }
                heeded => heeded,
            };
            match heeded {
                Ok(()) => {}
                Err(error @ ControlError::Unfinished(_)) => return Err(error),
                Err(error) => {
                    tracing::error!("what the judge says is not heeded yet: {error}");
                    self.sittings.forget_opinion(&service);
                }
            }
        }
        Ok(())
    }

    /// Has calls of judged releases counted that nobody has answered. A judge goes on without.
    fn count_unanswered(&mut self, now_ms: u64) {
        let judged = self.state.services.values();
        let judged = judged.filter(|state| state.forward.translates() && judging(state).is_some());
        let judged: BTreeSet<u32> = judged.map(|state| state.id).collect();
        if judged.is_empty() || !self.sittings.is_sweep_due(now_ms, SWEEP_MS) {
            return;
        }
        let listeners = self.image.listeners.iter();
        let listeners = listeners.filter(|(_, listener)| judged.contains(&listener.service()));
        let listeners = listeners.map(|(endpoint, listener)| {
            let listening = Listening {
                service: listener.service(),
                v6: !endpoint.address().is_v4(),
            };
            (listener.id(), listening)
        });
        if let Err(error) = self.dataplane.lapse(&listeners.collect()) {
            tracing::error!("calls that nobody has answered are not counted: {error}");
        }
    }

    /// Takes an opinion down that can't be acted on; time will, as soon as it can.
    fn note_opinion(
        &mut self,
        service: &str,
        round: u64,
        opinion: Opinion,
    ) -> Result<(), ControlError> {
        let now_ms = self.dataplane.clock_ms();
        let mut whole = self.state.clone();
        let state = whole.service_mut(service)?;
        let run = state.position.run.as_ref();
        let found = found(run, round, &opinion);
        let Some(run) = run.and_then(|run| run.heard(round, opinion, now_ms)) else {
            return Ok(());
        };
        state.position.run = Some(run);
        if let Some(subject) = found {
            self.will_note_about(service, subject);
        }
        self.commit(whole).map(drop)
    }

    /// How long no judge has to look.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let mut states = self.state.services.values();
        states
            .any(|state| judging(state).is_some())
            .then_some(Duration::from_millis(LOOK_MS))
    }

    /// The evidence of a service's release, as it was at the last look.
    pub fn evidence(&self, service: &str) -> Result<Judged, ControlError> {
        let state = self.state.service(service)?;
        let unfit = |why: &str| ControlError::Unfit {
            service: service.to_owned(),
            why: why.to_owned(),
        };
        let run = state.position.run.as_ref();
        let run =
            run.ok_or_else(|| unfit("no release has been started, so there is no evidence"))?;
        if run.plan.judge.is_none() {
            return Err(unfit(
                "its release is not judged; add [service.release.judge], and start another",
            ));
        }
        let sitting = self.sittings.found(service, state.position.release);
        let sitting = sitting.ok_or_else(|| {
            unfit("nothing has been measured yet; a step with a share is what is measured")
        })?;
        let counts = self.backend_counts(state)?;
        Ok(sitting.report((service, state), state.pool_name(run.candidate), &counts))
    }

    /// How long clients have waited in a service's release; nothing if none of it was measured.
    pub(super) fn waited(&self, service: &str, signals: &Signals) -> Option<Latency> {
        let state = self.state.services.get(service)?;
        let sitting = self.sittings.found(service, state.position.release)?;
        Some(sitting.waited(signals))
    }

    /// Measured connections that live, by backend; none while nothing is measured, for then no end is seen.
    pub(super) fn live_connections(
        &self,
        service: &str,
        state: &ServiceState,
    ) -> Result<BTreeMap<u16, u64>, ControlError> {
        let measures = self
            .image
            .records
            .get(&state.id)
            .is_some_and(Record::measures);
        let sitting = self.sittings.of(service, state.position.release);
        let Some(sitting) = sitting.filter(|_| measures) else {
            return Ok(BTreeMap::new());
        };
        Ok(sitting.live(&self.backend_counts(state)?))
    }

    /// What the kernel has counted of each backend of a service.
    fn backend_counts(
        &self,
        state: &ServiceState,
    ) -> Result<BTreeMap<u16, signal::Tally>, ControlError> {
        let ids: Vec<u16> = state.backends.keys().copied().collect();
        Ok(self.dataplane.backend_signals(&ids)?)
    }

    /// Services whose releases are to be looked at now, each with the round of its release.
    fn judged(&self, now_ms: u64) -> Vec<(String, u64)> {
        let services = self.state.services.iter();
        let due = services.filter(|(name, state)| {
            let release = state.position.release;
            judging(state).is_some() && self.sittings.is_due(name, release, now_ms, LOOK_MS)
        });
        let round = |state: &ServiceState| state.position.run.as_ref().map_or(0, |run| run.round);
        due.map(|(name, state)| (name.clone(), round(state)))
            .collect()
    }

    /// One look; what the judge says if that is news.
    fn look(&mut self, service: &str, now_ms: u64) -> Result<Option<Opinion>, ControlError> {
        let state = self.state.service(service)?;
        let (Some(judging), Some(run)) = (judging(state), &state.position.run) else {
            return Ok(None);
        };
        let signals = self.dataplane.signals(state.id)?;
        let record = self.image.records.get(&state.id);
        let seen = Seen {
            candidate: state.pool_name(run.candidate).to_owned(),
            active: other(state, run).to_owned(),
            place: Place {
                round: run.round,
                step: run.step().unwrap_or_default(),
                evidence: run.present().is_some_and(|step| step.evidence),
                ..Place::default()
            },
            draw: record.map(Record::draw),
            compares: state.compares(&state.position.now),
            dealt: Dealt {
                clients: signals.cohorts[signal::cohort::CANDIDATE as usize]
                    .tally
                    .clients,
                part: record.map_or(1.0, part),
            },
            tripped: self.trip(state, run)?,
            now_ms,
        };
        let release = state.position.release;
        let settings = Settings {
            steps: run.plan.steps.len().max(1),
            ..visible(&judging.settings, state.forward)
        };
        let forward = state.forward;
        let begins = self.sittings.of(service, release).is_none();
        let beginning = if begins {
            Beginning::at(&self.backend_counts(state)?, &signals)
        } else {
            Beginning::default()
        };
        let judging = Judging {
            settings,
            ..judging.clone()
        };
        let sitting = self
            .sittings
            .open((service, release), (&judging, forward), beginning);
        Ok(sitting.look(&counts(&signals), seen))
    }

    /// What the breaker says of the present step's candidate, if it has tripped: for whichever of the
    /// step's records, since a weight or a check may have brought another one since.
    fn trip(&self, state: &ServiceState, run: &Run) -> Result<Option<String>, ControlError> {
        let (first, last) = state.position.records();
        let breaker = self.dataplane.breaker(state.id)?;
        Ok(breaker.tripped(first, last).map(|_| {
            format!(
                "the breaker: new connections of {BREAKER} clients or more in a row were not \
                 answered, while `{}` answered",
                other(state, run)
            )
        }))
    }

    /// What an event that would take a release further comes to: another step's breaker is another one,
    /// so a trip that the judge has not looked at yet goes first.
    pub(super) fn rather(
        &self,
        service: &str,
        event: &Event,
    ) -> Result<Option<Event>, ControlError> {
        let further = matches!(
            event,
            Event::Tick
                | Event::Due
                | Event::Gate { .. }
                | Event::Promote { .. }
                | Event::CutOver { .. }
        );
        let state = self.state.service(service)?;
        let run = state.position.run.as_ref();
        let unheard = |run: &&Run| !matches!(run.opinion, Some(Opinion::Harm(_)));
        let Some(run) = run.filter(unheard) else {
            return Ok(None);
        };
        if !further || judging(state).is_none() {
            return Ok(None);
        }
        let Some(why) = self.trip(state, run)? else {
            return Ok(None);
        };
        if let Event::Promote { .. } | Event::CutOver { .. } = event {
            return Err(ControlError::Unfit {
                service: service.to_owned(),
                why: format!("{why}; all users are being taken back: look with `serin status`"),
            });
        }
        Ok(Some(Event::Judged {
            round: run.round,
            opinion: Opinion::Harm(why),
        }))
    }
}

/// How a service's release is judged at present; nothing if it is not.
pub(super) fn judging(state: &ServiceState) -> Option<&Judging> {
    let run = state.position.run.as_ref().filter(|run| run.is_judged())?;
    run.plan.judge.as_ref()
}

/// The candidate's part of all clients that a record has measured.
fn part(record: &Record) -> f64 {
    let [candidate, baseline] = record.measured_buckets().map(f64::from);
    candidate / (candidate + baseline).max(1.0)
}

/// The pool that the candidate is compared with.
fn other<'a>(state: &'a ServiceState, run: &Run) -> &'a str {
    let mut pools = [state.position.now.active, state.position.now.candidate].into_iter();
    let other = pools.find(|pool| *pool != run.candidate);
    other.map_or("the active pool", |pool| state.pool_name(pool))
}

/// What the judge takes of the kernel's counters.
fn counts(signals: &Signals) -> BTreeMap<Signal, Counts> {
    let cohorts = &signals.cohorts;
    let of = |signal: Signal| {
        let counts = match kernel_signal(signal) {
            Kernel::Pair(pair) => Counts::Outcomes(each(cohorts, |cohort| {
                let (all, first) = (cohort.tally.pair(pair), cohort.tally.first(pair));
                Tally::new(all.trials.into(), all.failures.into())
                    .of_clients(first.trials.into(), first.failures.into())
            })),
            Kernel::Histogram(histogram) => Counts::Values(each(cohorts, |cohort| {
                let bins = cohort.histogram(histogram).as_flattened().iter();
                bins.map(|&count| u64::from(count)).collect()
            })),
        };
        (signal, counts)
    };
    Signal::ALL.into_iter().map(of).collect()
}

fn each<T>(cohorts: &[Cohort; 3], f: impl Fn(&Cohort) -> T) -> Cohorts<T> {
    use signal::cohort::{CANDIDATE, EVEN, ODD};
    let of = |cohort: u32| f(&cohorts[cohort as usize]);
    Cohorts {
        candidate: of(CANDIDATE),
        baseline: [of(EVEN), of(ODD)],
    }
}

/// Where the kernel counts a signal.
enum Kernel {
    Pair(signal::Signal),
    Histogram(Histogram),
}

const fn kernel_signal(signal: Signal) -> Kernel {
    match signal {
        Signal::Connect => Kernel::Pair(signal::Signal::Connect),
        Signal::Reset => Kernel::Pair(signal::Signal::Reset),
        Signal::EarlyReset => Kernel::Pair(signal::Signal::ResetEarly),
        Signal::Retransmission => Kernel::Pair(signal::Signal::Retransmission),
        Signal::Handshake => Kernel::Histogram(Histogram::Handshake),
        Signal::FirstByte => Kernel::Histogram(Histogram::FirstByte),
        Signal::Bytes => Kernel::Histogram(Histogram::Bytes),
    }
}
