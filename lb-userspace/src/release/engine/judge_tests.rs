//! The judge's opinions, and what a release makes of them.

use std::time::Duration;

use super::{
    Action, Event, Judging, OnInconclusive, Opinion, Plan, Run, Stage, Step, advance, tests::MINUTE,
};
use crate::{judge::Settings, release::PoolId};

const CANDIDATE: PoolId = 2;

fn step(share_ppm: u32, evidence: bool) -> Step {
    Step {
        share_ppm,
        evidence,
        hold: Duration::from_mins(10),
        ..Step::default()
    }
}

/// 5% for ten minutes, 25% until it is proved to be no worse, or for ten minutes.
fn started(on_inconclusive: OnInconclusive) -> Run {
    let plan = Plan {
        steps: vec![step(50_000, false), step(250_000, true)],
        judge: Some(Judging {
            settings: Settings::default(),
            on_inconclusive,
        }),
        ..Plan::default()
    };
    let start = Event::Start {
        plan,
        candidate: CANDIDATE,
        replace: false,
        straight: false,
        at_ms: None,
    };
    advance(None, &start, 0).expect("it starts").0
}

fn say(run: &Run, opinion: Opinion, now_ms: u64) -> (Run, Vec<Action>) {
    let round = run.round;
    advance(Some(run), &Event::Judged { round, opinion }, now_ms).expect("it is heard")
}

fn tick(run: &Run, now_ms: u64) -> Run {
    advance(Some(run), &Event::Tick, now_ms)
        .expect("time passes")
        .0
}

fn cant_tell() -> Opinion {
    Opinion::CantTell("too few connections".to_owned())
}

/// At its second step, which lasts until there is evidence.
fn at_evidence(on_inconclusive: OnInconclusive) -> Run {
    let (run, _) = say(&started(on_inconclusive), Opinion::NoHarm, 0);
    let run = tick(&run, 10 * MINUTE);
    assert_eq!(run.step(), Some(1));
    run
}

#[test]
fn harm_takes_all_users_back_at_once_even_from_a_pause() {
    let run = started(OnInconclusive::Hold);
    let (paused, _) = advance(Some(&run), &Event::Pause, 1).expect("paused");
    for run in [run, paused] {
        let (aborted, actions) = say(&run, Opinion::Harm("resets".to_owned()), 2);
        let reason = "resets".to_owned();
        assert_eq!(aborted.stage, Stage::Aborted { reason });
        assert_eq!(
            (aborted.inconclusive, actions),
            (false, vec![Action::Withdraw])
        );
    }
}

#[test]
fn a_timed_step_goes_on_at_its_end_if_no_harm_was_found() {
    let (run, _) = say(&started(OnInconclusive::Hold), Opinion::NoHarm, 1);
    assert_eq!(tick(&run, 10 * MINUTE - 1).step(), Some(0));
    assert_eq!(tick(&run, 10 * MINUTE).step(), Some(1));
}

#[test]
fn no_step_is_left_that_the_judge_has_not_looked_at() {
    let mut run = started(OnInconclusive::Hold);
    for minutes in [10, 20, 30, 300] {
        run = tick(&run, minutes * MINUTE);
        assert_eq!(run.step(), Some(0), "after {minutes} minutes");
    }
    assert!(run.awaits_judge());
}

#[test]
fn a_starved_step_lasts_once_more_as_long_and_then_the_policy_decides() {
    for policy in [
        OnInconclusive::Hold,
        OnInconclusive::Extend,
        OnInconclusive::Abort,
        OnInconclusive::Promote,
    ] {
        let (run, _) = say(&started(policy), cant_tell(), 1);
        let run = tick(&run, 10 * MINUTE);
        assert_eq!((run.step(), run.extended), (Some(0), true), "{policy:?}");
        assert_eq!(run.hold_left_ms(), Some(10 * MINUTE));
        let run = tick(&run, 20 * MINUTE);
        match policy {
            OnInconclusive::Hold | OnInconclusive::Extend => assert_eq!(run.step(), Some(0)),
            OnInconclusive::Promote => assert_eq!(run.step(), Some(1)),
            OnInconclusive::Abort => {
                let reason = "the judge can't tell: too few connections".to_owned();
                assert_eq!(run.stage, Stage::Aborted { reason });
            }
        }
        let aborted = policy == OnInconclusive::Abort;
        assert_eq!(run.inconclusive, aborted, "{policy:?}");
    }
}

#[test]
fn a_person_may_go_on_without_the_judge_but_not_against_it() {
    let (run, _) = say(&started(OnInconclusive::Hold), cant_tell(), 1);
    let promote = Event::Promote {
        full: false,
        expect_step: Some(1),
    };
    let (next, _) = advance(Some(&run), &promote, 2).expect("it may");
    assert_eq!(next.step(), Some(1));
    let (aborted, _) = say(&next, Opinion::Harm("resets".to_owned()), 3);
    assert!(!aborted.is_under_way());
}

#[test]
fn a_step_until_evidence_ends_with_it() {
    let run = at_evidence(OnInconclusive::Hold);
    let (next, actions) = say(&run, Opinion::NoWorse, 10 * MINUTE + 1);
    assert_eq!(next.stage, Stage::Promoted);
    let candidate = CANDIDATE;
    assert_eq!(actions, [Action::Promote { candidate }]);
}

#[test]
fn a_step_until_evidence_that_never_comes_waits_for_a_person_at_its_limit() {
    let run = at_evidence(OnInconclusive::Hold);
    let (run, _) = say(&run, Opinion::NoHarm, 11 * MINUTE);
    let run = tick(&run, 60 * MINUTE);
    assert_eq!((run.step(), run.extended), (Some(1), false));
    assert!(run.awaits_judge());
    let (next, _) = say(&run, Opinion::NoWorse, 61 * MINUTE);
    assert_eq!(next.stage, Stage::Promoted, "late, but there");
}

#[test]
fn the_soonest_that_a_plan_ends_counts_evidence_of_steps_that_are_compared_alone() {
    let held = |steps: &[Step]| {
        let steps = steps.to_vec();
        Plan {
            steps,
            ..Plan::default()
        }
        .shortest()
    };
    let minutes = |minutes| Duration::from_mins(minutes);
    assert_eq!(
        held(&[step(50_000, true), step(250_000, false)]),
        minutes(10)
    );
    assert_eq!(held(&[step(0, true), step(1_000_000, true)]), minutes(20));
}

#[test]
fn an_opinion_of_an_earlier_stage_counts_for_nothing() {
    let run = started(OnInconclusive::Hold);
    let old = Event::Judged {
        round: run.round - 1,
        opinion: Opinion::Harm("old".to_owned()),
    };
    let (next, actions) = advance(Some(&run), &old, 1).expect("it is heard");
    assert_eq!((next.opinion, actions), (None, vec![]));
}

#[test]
fn what_is_due_is_done_once() {
    let (run, _) = say(&started(OnInconclusive::Hold), cant_tell(), 0);
    let run = run.aged(10 * MINUTE);
    assert_eq!(run.due_in_ms(), Some(0), "the extension");
    let run = tick(&run, 10 * MINUTE);
    assert_eq!(run.due_in_ms(), Some(10 * MINUTE));
    let run = tick(&run, 20 * MINUTE);
    assert_eq!(run.due_in_ms(), None, "it waits for a person");
}
