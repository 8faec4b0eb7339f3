//! A past release before its judge once more, under settings of today.

use serde::{Deserialize, Serialize};

use super::{Dealt, Evidence, Judge, Place, Settings, Tape, Verdict};

/// What a judge would have said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Of the whole: harm as soon as it is found, else what it comes to at the end.
    pub told: Told,
    /// At the end of each step that it was asked about, the last one included, be it over or not.
    pub steps: Vec<Told>,
    /// The numbers behind it, by signal.
    pub evidence: Vec<Evidence>,
}

/// What a judge says, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What.
    pub verdict: Verdict,
    /// Milliseconds after its first look.
    pub after_ms: u64,
    /// Connections of the candidate that were judged by then.
    pub judged: u64,
    /// In which step, from 0.
    pub step: usize,
    /// That step was to end by evidence.
    pub by_evidence: bool,
}

impl Replay {
    /// Judges what is on the tape.
    pub fn of(tape: &Tape, settings: Settings) -> Self {
        let mut judge = Judge::new(settings);
        let first = tape.looks().first().map_or(1.0, |look| look.dealt.part);
        let dealt = Dealt {
            clients: 0,
            part: first,
        };
        judge.look(&Tape::nothing(), dealt, 0);
        let mut steps: Vec<Told> = Vec::new();
        let mut round = None;
        for (look, counts, clients) in tape.counters() {
            if round.replace(look.place.round) != Some(look.place.round) {
                judge.next_step();
                steps.push(Told::by(&judge, look.place, look.at_ms));
            } else if look.place.anew {
                judge.begin_step_anew();
            }
            let dealt = Dealt {
                clients,
                ..look.dealt
            };
            if look.place.redealt {
                judge.pass_over(&counts, clients, look.at_ms);
            } else {
                judge.look(&counts, dealt, look.at_ms);
            }
            if let Some(last) = steps.last_mut() {
                *last = Told::by(&judge, look.place, look.at_ms);
            }
            if matches!(judge.verdict(), Verdict::Harm(_)) {
                break;
            }
        }
        let nothing = Told::by(&judge, Place::default(), 0);
        Self {
            told: steps.last().copied().unwrap_or(nothing),
            steps,
            evidence: judge.evidence(),
        }
    }
}

impl Told {
    /// What it says now.
    pub fn by(judge: &Judge, place: Place, after_ms: u64) -> Self {
        Self {
            verdict: judge.verdict(),
            after_ms,
            judged: judge.judged(),
            step: place.step,
            by_evidence: place.evidence,
        }
    }

    /// Whether the judge can't tell, so that the release does not simply go on.
    pub const fn doubts(&self) -> bool {
        match self.verdict {
            Verdict::Starved | Verdict::Unsound(_) => true,
            Verdict::Undecided => self.by_evidence,
            Verdict::NoWorse | Verdict::Harm(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::judge::{Cohorts, Counts, Signal, Tally};

    /// In its second step, one in so many of the candidate's connections fails; both what was said at
    /// the time, and the tape.
    fn release(one_in: u64, settings: &Settings) -> (Told, Tape) {
        let (mut judge, mut tape) = (Judge::new(settings.clone()), Tape::default());
        let mut said: Option<Told> = None;
        let mut total = Cohorts::<Tally>::default();
        let mut round = 0;
        for look in 0..400_u64 {
            let place = Place {
                round: 1 + look / 200,
                step: usize::from(look >= 200),
                ..Place::default()
            };
            let fails = place.step == 1 && look.is_multiple_of(one_in);
            total = total.plus(&Cohorts {
                candidate: Tally::new(5, u64::from(fails)),
                baseline: [Tally::new(37, u64::from(look % 20 == 0)), Tally::new(38, 0)],
            });
            let counts = BTreeMap::from([(Signal::Connect, Counts::Outcomes(total))]);
            let dealt = Dealt::usual(total.candidate.trials);
            if round != place.round {
                round = place.round;
                judge.next_step();
            }
            let has_judged = judge.look(&counts, dealt, look * 250);
            tape.look(&counts, dealt, place, (has_judged, look * 250));
            if !said.is_some_and(|said| matches!(said.verdict, Verdict::Harm(_))) {
                said = Some(Told::by(&judge, place, look * 250));
            }
        }
        (said.expect("it has looked"), tape)
    }

    fn settings(false_alarm: f64) -> Settings {
        Settings {
            signals: vec![Signal::Connect],
            false_alarm,
            steps: 2,
            ..Settings::default()
        }
    }

    #[test]
    fn under_the_same_settings_it_says_the_same_at_the_same_look() {
        for one_in in [2, 10, 1000] {
            let settings = settings(0.01);
            let (said, tape) = release(one_in, &settings);
            let again = Replay::of(&tape, settings);
            assert_eq!(again.told, said, "{one_in}");
            assert_eq!(again.steps.len(), 2, "{one_in}");
        }
    }

    /// Blocks that waited for an outcome of the candidate's are judged at the same looks, be these empty:
    /// else the odds were others than those beside them.
    #[test]
    fn looks_at_which_nothing_came_are_judged_by_as_they_were() {
        let settings = settings(0.01);
        let (mut judge, mut tape) = (Judge::new(settings.clone()), Tape::default());
        let mut total = Cohorts::<Tally>::default();
        for look in 0..2000_u64 {
            // Of the candidate's one each nine seconds, of the baseline's some each four.
            let candidate = u64::from(look % 36 == 35);
            let baseline = if look % 16 == 0 { 20 } else { 0 };
            total = total.plus(&Cohorts {
                candidate: Tally::new(candidate, candidate * (look % 5) / 4),
                baseline: [
                    Tally::new(baseline, u64::from(look % 48 == 0)),
                    Tally::new(baseline, 0),
                ],
            });
            let counts = BTreeMap::from([(Signal::Connect, Counts::Outcomes(total))]);
            let dealt = Dealt::usual(total.candidate.trials);
            let has_judged = judge.look(&counts, dealt, look * 250);
            tape.look(&counts, dealt, Place::default(), (has_judged, look * 250));
        }
        assert!(tape.looks().len() < 500, "{}", tape.looks().len());
        let again = Replay::of(&tape, settings);
        assert_eq!(again.evidence, judge.evidence());
    }

    #[test]
    fn a_stricter_one_finds_it_later_and_one_that_looks_elsewhere_not_at_all() {
        let (said, tape) = release(4, &settings(0.01));
        assert_eq!(said.verdict, Verdict::Harm(Signal::Connect));
        let strict = Replay::of(&tape, settings(1e-6)).told;
        assert_eq!(strict.verdict, said.verdict);
        assert!(strict.after_ms > said.after_ms, "{strict:?}, {said:?}");
        let elsewhere = Settings {
            signals: vec![Signal::Reset],
            ..settings(0.01)
        };
        let replay = Replay::of(&tape, elsewhere);
        assert_eq!(replay.told.verdict, Verdict::Starved);
        assert!(replay.told.doubts());
    }

    #[test]
    fn a_tape_comes_back_from_its_file_as_it_was() {
        let (_, tape) = release(3, &settings(0.01));
        let text = serde_json::to_string(&tape).expect("it can be kept");
        let kept: Tape = serde_json::from_str(&text).expect("it can be read");
        let [a, b] = [&tape, &kept].map(|tape| Replay::of(tape, settings(0.01)).told);
        assert_eq!(a, b);
    }
}
