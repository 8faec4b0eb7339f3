//! The engine against what is promised of it, by examples.

use std::time::Duration;

use super::*;

pub(super) const GREEN: PoolId = 1;
pub(super) const MINUTE: u64 = 60_000;

/// 1% for five minutes, 5% for ten, 25% until somebody approves.
pub(super) fn plan() -> Plan {
    let step = |share_ppm, minutes, approve| Step {
        audience: None,
        share_ppm,
        hold: Duration::from_mins(minutes),
        approve,
        ..Step::default()
    };
    Plan {
        steps: vec![
            step(10_000, 5, false),
            step(50_000, 10, false),
            step(250_000, 1, true),
        ],
        ..Plan::default()
    }
}

fn start() -> Event {
    Event::Start {
        plan: plan(),
        candidate: GREEN,
        replace: false,
        straight: false,
        at_ms: None,
    }
}

pub(super) const fn share(share_ppm: u32) -> Action {
    Action::Share {
        candidate: GREEN,
        share_ppm,
    }
}

const fn promote(full: bool) -> Event {
    Event::Promote {
        full,
        expect_step: None,
    }
}

pub(super) fn abort() -> Event {
    Event::Abort {
        reason: "enough".to_owned(),
    }
}

/// A release and its clock.
pub(super) struct Told {
    pub(super) run: Run,
    pub(super) now_ms: u64,
}

/// A moment with these toggles off.
fn off(names: &[&str]) -> Moment {
    Moment {
        off: names.iter().map(|&name| name.to_owned()).collect(),
        ..Moment::default()
    }
}

/// The plan whose steps are guarded by `a`, `b` and `a`.
fn guarded() -> Event {
    let mut event = start();
    if let Event::Start { plan, .. } = &mut event {
        for (step, toggle) in plan.steps.iter_mut().zip(["a", "b", "a"]) {
            step.toggle = Some(toggle.to_owned());
        }
    }
    event
}

#[test]
fn a_release_goes_to_the_next_step_whose_toggle_is_on() {
    let (run, actions) = advance(None, &guarded(), off(&["a"])).expect("one is on");
    assert_eq!((run.step(), actions), (Some(1), vec![share(50_000)]));
    assert_eq!(run.passed_over(None), [(1, "a")]);
    let later = Moment {
        ms: 10 * MINUTE,
        ..off(&["b"])
    };
    let (next, _) = advance(Some(&run), &Event::Tick, later).expect("it may");
    assert_eq!(next.step(), Some(2), "the one it was at may be off by now");
    let later = Moment {
        ms: 10 * MINUTE,
        ..off(&["a"])
    };
    let (next, _) = advance(Some(&run), &Event::Tick, later).expect("it may");
    assert_eq!(next.stage, Stage::Promoted);
    assert_eq!(next.passed_over(Some(&run)), [(3, "a")]);
}

#[test]
fn a_canary_without_any_step_is_neither_started_nor_tried_again() {
    let all = || off(&["a", "b"]);
    let refused = advance(None, &guarded(), all()).expect_err("no step");
    assert_eq!(refused, Refusal::Closed("`a`, `b`".to_owned()));
    let (run, _) = advance(None, &guarded(), off(&[])).expect("started");
    let (aborted, _) = advance(Some(&run), &abort(), all()).expect("aborted");
    let refused = advance(Some(&aborted), &Event::Retry, all()).expect_err("no step");
    assert_eq!(refused, Refusal::Closed("`a`, `b`".to_owned()));
    let mut straight = guarded();
    if let Event::Start { straight, .. } = &mut straight {
        *straight = true;
    }
    let (run, _) = advance(None, &straight, all()).expect("steps are left out anyway");
    assert_eq!(run.stage, Stage::Promoted);
}

impl Told {
    fn started() -> Self {
        let (run, actions) = advance(None, &start(), 0).expect("none is under way");
        assert_eq!(actions, [share(10_000)]);
        Self { run, now_ms: 0 }
    }

    /// What is to be done at `event`, so much later.
    pub(super) fn after(&mut self, minutes: u64, event: &Event) -> Vec<Action> {
        self.now_ms += minutes * MINUTE;
        let (run, actions) = advance(Some(&self.run), event, self.now_ms).expect("it may");
        self.run = run;
        actions
    }

    fn refusal(&self, event: &Event) -> Refusal {
        advance(Some(&self.run), event, self.now_ms).expect_err("it may not")
    }
}

#[test]
fn each_step_is_held_for_its_time_and_the_last_waits_for_a_person() {
    let mut told = Told::started();
    assert_eq!(told.after(4, &Event::Tick), []);
    assert_eq!(told.run.due_in_ms(), Some(MINUTE));
    assert_eq!(told.after(1, &Event::Tick), [share(50_000)]);
    assert_eq!(told.after(9, &Event::Tick), []);
    assert_eq!(told.after(1, &Event::Tick), [share(250_000)]);
    assert!(!told.run.awaits_approval());
    assert_eq!(told.after(60, &Event::Tick), []);
    assert!(told.run.awaits_approval());
    assert_eq!(told.run.due_in_ms(), None);
    let promoted = Action::Promote { candidate: GREEN };
    assert_eq!(told.after(0, &promote(false)), [promoted]);
    assert_eq!(told.run.stage, Stage::Promoted);
}

#[test]
fn a_daemon_that_slept_through_two_steps_makes_one_at_a_time() {
    let mut told = Told::started();
    assert_eq!(told.after(60, &Event::Tick), [share(50_000)]);
    assert_eq!(told.run.held_ms, 0);
}

#[test]
fn a_pause_does_not_count_as_hold() {
    let mut told = Told::started();
    assert_eq!(told.after(3, &Event::Pause), []);
    assert_eq!(told.after(60, &Event::Tick), []);
    assert_eq!(told.after(0, &Event::Resume), []);
    assert_eq!(told.after(1, &Event::Tick), []);
    assert_eq!(told.after(1, &Event::Tick), [share(50_000)]);
}

#[test]
fn a_clock_that_began_anew_neither_ends_nor_lengthens_a_hold() {
    let mut told = Told::started();
    told.after(4, &Event::Tick);
    told.run = told.run.rested();
    told.now_ms = 900 * MINUTE;
    assert_eq!(told.after(0, &Event::Tick), []);
    assert_eq!(told.run.held_ms, 4 * MINUTE);
    told.now_ms = 0;
    assert_eq!(told.after(0, &Event::Tick), []);
    assert_eq!(told.run.held_ms, 4 * MINUTE);
    assert_eq!(told.after(1, &Event::Tick), [share(50_000)]);
}

#[test]
fn a_second_click_on_promote_is_refused_by_its_step() {
    let mut told = Told::started();
    let click = Event::Promote {
        full: false,
        expect_step: Some(1),
    };
    assert_eq!(told.after(0, &click), [share(50_000)]);
    let expected = Refusal::OtherStep {
        expected: 1,
        found: "at step 2".to_owned(),
    };
    assert_eq!(told.refusal(&click), expected);
}

#[test]
fn an_aborted_release_starts_again_only_by_a_retry() {
    let mut told = Told::started();
    assert_eq!(told.after(1, &abort()), [Action::Withdraw]);
    assert_eq!(told.after(600, &Event::Tick), []);
    for event in [promote(true), Event::Resume, Event::Pause, abort()] {
        assert_eq!(
            told.refusal(&event),
            Refusal::Over("aborted", ", or this one again with `serin retry`")
        );
    }
    assert_eq!(told.after(1, &Event::Retry), [share(10_000)]);
    assert_eq!(told.refusal(&Event::Retry), Refusal::NotAborted);
}

#[test]
fn a_start_in_the_middle_of_a_release_is_refused_unless_it_replaces_it() {
    let told = Told::started();
    assert_eq!(
        told.refusal(&start()),
        Refusal::UnderWay("at step 1".to_owned())
    );
    let replace = Event::Start {
        plan: plan(),
        candidate: 2,
        replace: true,
        straight: false,
        at_ms: None,
    };
    let (run, actions) = advance(Some(&told.run), &replace, 5).expect("it replaces");
    let first = Action::Share {
        candidate: 2,
        share_ppm: 10_000,
    };
    assert_eq!(actions, [Action::Withdraw, first]);
    assert_eq!((run.candidate, run.step()), (2, Some(0)));
}

#[test]
fn a_release_past_its_deadline_is_aborted_even_while_paused() {
    let limited = Event::Start {
        plan: Plan {
            deadline: Some(Duration::from_mins(7)),
            ..plan()
        },
        candidate: GREEN,
        replace: false,
        straight: false,
        at_ms: None,
    };
    let (run, _) = advance(None, &limited, 0).expect("none is under way");
    let mut told = Told { run, now_ms: 0 };
    told.after(1, &Event::Pause);
    assert_eq!(told.run.due_in_ms(), Some(6 * MINUTE));
    assert_eq!(told.after(6, &Event::Tick), [Action::Withdraw]);
    assert!(matches!(told.run.stage, Stage::Aborted { .. }));
}

#[test]
fn a_share_by_hand_takes_the_release_over() {
    let mut told = Told::started();
    assert_eq!(told.after(1, &Event::TakeOver), []);
    assert_eq!(told.after(60, &Event::Tick), []);
    assert_eq!(
        told.refusal(&abort()),
        Refusal::Over("taken over by hand", "")
    );
}

#[test]
fn nothing_but_a_start_begins_a_release() {
    for event in [Event::Tick, promote(true), Event::Retry, abort()] {
        assert_eq!(advance(None, &event, 0), Err(Refusal::NotStarted));
    }
}

#[test]
fn where_users_are_is_where_a_release_is() {
    let mut told = Told::started();
    told.after(5, &Event::Tick);
    let seen = |active, candidate, share_ppm| Seen {
        active,
        candidate,
        share_ppm,
    };
    let stage = |seen| told.run.heed(seen).map(|run| (run.stage, run.held_ms));
    assert_eq!(stage(seen(0, GREEN, 50_000)), None, "as written");
    assert_eq!(stage(seen(0, GREEN, 10_000)), Some((Stage::Step(0), 0)));
    assert_eq!(stage(seen(0, GREEN, 250_000)), Some((Stage::Step(2), 0)));
    assert_eq!(stage(seen(GREEN, 0, 0)), Some((Stage::Promoted, 0)));
    assert_eq!(stage(seen(0, GREEN, 7)), Some((Stage::TakenOver, 0)));
    assert_eq!(stage(seen(0, 2, 50_000)), Some((Stage::TakenOver, 0)));
    let back = stage(seen(0, GREEN, 0)).map(|(stage, _)| stage);
    assert!(matches!(back, Some(Stage::Aborted { .. })), "{back:?}");
}

#[test]
fn a_promoted_release_whose_users_are_elsewhere_was_rolled_back() {
    let mut told = Told::started();
    told.after(1, &promote(true));
    let seen = |active| Seen {
        active,
        candidate: active,
        share_ppm: 0,
    };
    assert_eq!(told.run.heed(seen(GREEN)), None);
    let stage = told.run.heed(seen(0)).map(|run| run.stage);
    assert_eq!(stage, Some(Stage::RolledBack));
}

#[test]
fn a_release_that_is_over_is_where_it_was_whatever_users_get() {
    let mut told = Told::started();
    told.after(1, &abort());
    let seen = Seen {
        active: 0,
        candidate: GREEN,
        share_ppm: 10_000,
    };
    assert_eq!(told.run.heed(seen), None);
}

#[test]
fn only_a_promoted_release_is_rolled_back() {
    let mut told = Told::started();
    assert_eq!(told.after(1, &Event::RollBack), []);
    assert_eq!(told.run.step(), Some(0));
    told.after(1, &promote(true));
    assert_eq!(told.after(1, &Event::RollBack), []);
    assert_eq!(told.run.stage, Stage::RolledBack);
    assert_eq!(told.refusal(&Event::Retry), Refusal::NotAborted);
}
