//! A past release before its judge once more.

use super::{archive::Taped, sitting::told_of};
use crate::{
    api::replayed::{End, ReplayQuery, Replayed, Side},
    config::{Rejudged, rejudged},
    control::{Control, ControlError},
    dataplane::Dataplane,
    judge::{Replay, Told, Verdict},
    release::engine::{Judging, OnInconclusive},
};

impl<D: Dataplane> Control<D> {
    /// A past release that is to be judged again, or the one under way by what was seen so far.
    pub fn replay(&self, service: &str, query: &ReplayQuery) -> Result<Replaying, ControlError> {
        let state = self.state.service(service)?;
        let unfit = |why: String| ControlError::Unfit {
            service: service.to_owned(),
            why,
        };
        let taped = self.sittings.taped(service, query.release);
        let taped = taped.map_err(unfit)?;
        let wanted = Rejudged {
            signals: query.signals.as_deref(),
            false_alarm: query.false_alarm.as_deref(),
            min_clients: query.min_clients,
            on_inconclusive: query.on_inconclusive.as_deref(),
        };
        // What could be seen of it is on the tape, whatever can be today.
        let forward = taped.forward.unwrap_or(state.forward);
        let judging = rejudged(&taped.judging, &wanted, forward);
        let judging = judging.map_err(ControlError::Usage)?;
        Ok(Replaying {
            service: service.to_owned(),
            taped: taped.into_owned(),
            judging,
        })
    }
}

/// A release that is judged again: by itself, since that may take a while.
pub struct Replaying {
    service: String,
    taped: Taped,
    judging: Judging,
}

impl Replaying {
    /// Judges it.
    pub fn judge(self) -> Replayed {
        let taped = self.taped;
        let was = side(&taped, &taped.judging, taped.told);
        let same = self.judging == taped.judging;
        let would_be = (!same).then(|| side(&taped, &self.judging, None));
        Replayed {
            service: self.service,
            release: taped.release,
            looks: taped.tape.looks().len(),
            looks_gone: taped.tape.gone(),
            would_be: would_be.unwrap_or_else(|| was.clone()),
            was,
            candidate: taped.candidate,
            active: taped.active,
            breaker: taped.breaker,
        }
    }
}

/// A release as it is judged so; as it was told at the time, if it was.
fn side(taped: &Taped, judging: &Judging, told: Option<Told>) -> Side {
    let settings = judging.settings.clone();
    let mut replay = Replay::of(&taped.tape, settings.clone());
    if let (Some(told), Some(last)) = (told, replay.steps.last_mut()) {
        (replay.told, *last) = (told, told);
        // Of a tape whose looks were joined the odds may come out otherwise than they did.
        if !taped.evidence.is_empty() {
            replay.evidence.clone_from(&taped.evidence);
        }
    }
    let (end, step) = end(&replay, judging.on_inconclusive, taped.breaker.is_some());
    Side {
        signals: settings.signals,
        false_alarm: settings.false_alarm,
        min_clients: settings.min_clients,
        on_inconclusive: judging.on_inconclusive,
        told: replay.told,
        end,
        end_step: step + 1,
        evidence: told_of(replay.evidence, &taped.candidate, &taped.active),
    }
}

/// What becomes of a release, and in which step: each that was seen is taken to have come to its end.
fn end(replay: &Replay, policy: OnInconclusive, tripped: bool) -> (End, usize) {
    let ends = |told: &Told| {
        let taken_back = match told.verdict {
            Verdict::Harm(_) => true,
            Verdict::NoWorse | Verdict::Undecided | Verdict::Starved | Verdict::Unsound(_) => false,
        };
        if taken_back {
            return Some(End::TakenBack);
        }
        let policy = told.doubts().then_some(policy)?;
        match policy {
            OnInconclusive::Abort => Some(End::TakenBack),
            OnInconclusive::Hold | OnInconclusive::Extend => Some(End::Waits),
            OnInconclusive::Promote => None,
        }
    };
    // The step in which the breaker tripped came to no end.
    let whole = replay.steps.len() - usize::from(tripped && !replay.steps.is_empty());
    let mut steps = replay.steps[..whole].iter();
    let found = steps.find_map(|told| Some((ends(told)?, told.step)));
    let goes_on = if tripped { End::TakenBack } else { End::GoesOn };
    found.unwrap_or((goes_on, replay.told.step))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        config::Forward,
        judge::{Cohorts, Counts, Dealt, Judge, Place, Settings, Signal, Tally},
    };

    /// One that was looked at so often that its looks were joined, and what its judge says of it.
    fn long_release() -> (Taped, Judge) {
        let settings = Settings {
            signals: vec![Signal::Connect],
            ..Settings::default()
        };
        let judging = Judging {
            settings: settings.clone(),
            on_inconclusive: OnInconclusive::Hold,
        };
        let mut taped = Taped::new(1, judging, Forward::Nat);
        let (mut judge, mut total) = (Judge::new(settings), Cohorts::<Tally>::default());
        for look in 0..3000_u64 {
            total = total.plus(&Cohorts {
                candidate: Tally::new(5, u64::from(look % 100 == 7)),
                baseline: [Tally::new(37, u64::from(look % 20 == 0)), Tally::new(38, 0)],
            });
            let counts = BTreeMap::from([(Signal::Connect, Counts::Outcomes(total))]);
            let dealt = Dealt::usual(total.candidate.trials);
            let has_judged = judge.look(&counts, dealt, look * 250);
            let now = (has_judged, look * 250);
            let after_ms = taped.tape.look(&counts, dealt, Place::default(), now);
            taped.told = Some(Told::by(&judge, Place::default(), after_ms));
        }
        taped.evidence = judge.evidence();
        (taped, judge)
    }

    #[test]
    fn odds_stand_beside_the_verdict_that_they_have_led_to() {
        let (taped, judge) = long_release();
        let again = Replay::of(&taped.tape, judge.settings().clone());
        assert_ne!(again.evidence, judge.evidence(), "joined looks tell others");
        let judging = taped.judging.clone();
        let replayed = Replaying {
            service: "shop".to_owned(),
            taped,
            judging,
        };
        let replayed = replayed.judge();
        let told: Vec<_> = replayed
            .was
            .evidence
            .iter()
            .map(|told| &told.evidence)
            .collect();
        assert_eq!(told, judge.evidence().iter().collect::<Vec<_>>());
        assert_eq!(
            replayed.would_be, replayed.was,
            "nothing else was asked for"
        );
    }

    fn replay(verdicts: &[(Verdict, bool)]) -> Replay {
        let told = |(step, &(verdict, by_evidence)): (usize, &(Verdict, bool))| Told {
            verdict,
            after_ms: 0,
            judged: 0,
            step,
            by_evidence,
        };
        let steps: Vec<Told> = verdicts.iter().enumerate().map(told).collect();
        Replay {
            told: *steps.last().expect("a step"),
            steps,
            evidence: Vec::new(),
        }
    }

    #[test]
    fn the_policy_decides_at_the_end_of_each_step_of_which_the_judge_can_t_tell() {
        use OnInconclusive::{Abort, Extend, Hold, Promote};
        let harm = (Verdict::Harm(Signal::Connect), false);
        let (fine, timed) = ((Verdict::NoWorse, true), (Verdict::Undecided, false));
        let (starved, undecided) = ((Verdict::Starved, false), (Verdict::Undecided, true));
        for (steps, policy, tripped, expected) in [
            (vec![fine, timed], Abort, false, (End::GoesOn, 1)),
            (vec![fine, harm], Promote, false, (End::TakenBack, 1)),
            (vec![starved, harm], Hold, false, (End::Waits, 0)),
            (vec![undecided, fine], Extend, false, (End::Waits, 0)),
            (vec![starved, harm], Abort, false, (End::TakenBack, 0)),
            (vec![starved, fine], Promote, false, (End::GoesOn, 1)),
            (vec![fine, starved], Hold, true, (End::TakenBack, 1)),
        ] {
            let told = end(&replay(&steps), policy, tripped);
            assert_eq!(told, expected, "{steps:?} {policy:?} {tripped}");
        }
    }
}
