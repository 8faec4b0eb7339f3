//! Gates, blue-green and the bake time, by examples.

use std::time::Duration;

use super::{
    tests::{GREEN, Told, abort, plan, share},
    *,
};

pub(super) fn gate(name: &str, point: Point) -> Gate {
    Gate {
        name: name.to_owned(),
        point,
        probe: Probe::Http {
            ca: None,
            url: "http://192.0.2.1/ready".to_owned(),
            status: vec![(200, 299)],
        },
        timeout: Duration::from_secs(5),
        interval: Duration::from_mins(1),
        fall: 1,
        on_failure: Policy::Abort,
        on_inconclusive: Policy::Hold,
    }
}

fn start(plan: Plan, straight: bool, at_ms: Option<u64>) -> Event {
    Event::Start {
        plan,
        candidate: GREEN,
        replace: false,
        straight,
        at_ms,
    }
}

fn with(gates: Vec<Gate>) -> Plan {
    Plan { gates, ..plan() }
}

/// Blue-green, with a preview that waits for a person, and five minutes of bake time.
fn blue_green(gates: Vec<Gate>) -> Plan {
    let preview = Step {
        audience: Some("staff".to_owned()),
        share_ppm: 0,
        hold: Duration::ZERO,
        approve: true,
        ..Step::default()
    };
    Plan {
        strategy: Strategy::BlueGreen,
        steps: vec![preview],
        gates,
        bake: Duration::from_mins(5),
        ..Plan::default()
    }
}

fn told(event: &Event) -> (Told, Vec<Action>) {
    let (run, actions) = advance(None, event, 0).expect("none is under way");
    (Told { run, now_ms: 0 }, actions)
}

impl Told {
    fn asked(&self) -> Vec<&str> {
        self.run
            .due_gates()
            .map(|gate| gate.name.as_str())
            .collect()
    }

    fn answer(&mut self, minutes: u64, gate: &str, outcome: Outcome) -> Vec<Action> {
        let event = Event::Gate {
            gate: gate.to_owned(),
            round: self.run.round,
            outcome,
        };
        self.after(minutes, &event)
    }
}

fn failed() -> Outcome {
    Outcome::Failed("500".to_owned())
}

fn unknown() -> Outcome {
    Outcome::Inconclusive("no data".to_owned())
}

const PROMOTE: Event = Event::Promote {
    full: false,
    expect_step: None,
};

const PROMOTED: Action = Action::Promote { candidate: GREEN };

#[test]
fn nobody_is_moved_until_the_gate_before_the_start_has_passed() {
    let (mut told, actions) = told(&start(
        with(vec![gate("up", Point::Before(0))]),
        false,
        None,
    ));
    assert_eq!((actions, &told.run.stage), (vec![], &Stage::Waiting));
    assert_eq!(told.asked(), ["up"]);
    assert_eq!(told.after(60, &Event::Tick), []);
    assert_eq!(told.answer(0, "up", Outcome::Passed), [share(10_000)]);
}

#[test]
fn a_gate_before_a_step_is_asked_once_the_hold_is_over() {
    let (mut told, _) = told(&start(
        with(vec![gate("smoke", Point::Before(1))]),
        false,
        None,
    ));
    told.after(4, &Event::Tick);
    assert_eq!(told.asked(), [""; 0]);
    assert_eq!(told.after(1, &Event::Tick), []);
    assert_eq!(told.asked(), ["smoke"]);
    assert_eq!(told.run.due_in_ms(), None, "time alone moves nothing");
    assert_eq!(told.answer(0, "smoke", Outcome::Passed), [share(50_000)]);
}

#[test]
fn a_failing_gate_takes_all_users_back_and_says_why() {
    let (mut told, _) = told(&start(
        with(vec![gate("errors", Point::During(0))]),
        false,
        None,
    ));
    assert_eq!(told.answer(0, "errors", Outcome::Passed), []);
    assert_eq!(told.asked(), [""; 0]);
    told.after(1, &Event::Tick);
    assert_eq!(told.asked(), ["errors"]);
    assert_eq!(told.answer(0, "errors", failed()), [Action::Withdraw]);
    let reason = "gate `errors` failed: 500".to_owned();
    assert_eq!(told.run.stage, Stage::Aborted { reason });
}

#[test]
fn no_data_is_neither_success_nor_failure() {
    let mut errors = gate("errors", Point::During(0));
    let (mut waits, _) = told(&start(with(vec![errors.clone()]), false, None));
    for _ in 0..100 {
        assert_eq!(waits.answer(1, "errors", unknown()), []);
    }
    assert_eq!(waits.answer(0, "errors", Outcome::Passed), [share(50_000)]);
    (errors.fall, errors.on_inconclusive) = (3, Policy::Abort);
    let (mut aborts, _) = told(&start(with(vec![errors.clone()]), false, None));
    assert_eq!(aborts.answer(0, "errors", unknown()), []);
    assert_eq!(aborts.answer(1, "errors", Outcome::Passed), []);
    assert_eq!(aborts.answer(1, "errors", unknown()), []);
    assert_eq!(aborts.answer(1, "errors", unknown()), []);
    assert_eq!(aborts.answer(1, "errors", unknown()), [Action::Withdraw]);
    errors.on_inconclusive = Policy::Pass;
    let (mut passes, _) = told(&start(with(vec![errors]), false, None));
    assert_eq!(passes.answer(2, "errors", unknown()), []);
    assert_eq!(passes.answer(2, "errors", unknown()), []);
    assert_eq!(passes.answer(2, "errors", unknown()), [share(50_000)]);
}

#[test]
fn an_answer_to_an_older_question_counts_for_nothing() {
    let gates = vec![
        gate("errors", Point::During(0)),
        gate("late", Point::During(1)),
    ];
    let (mut told, _) = told(&start(with(gates), false, None));
    let stale = Event::Gate {
        gate: "errors".to_owned(),
        round: told.run.round,
        outcome: failed(),
    };
    told.answer(5, "errors", Outcome::Passed);
    assert_eq!(told.run.stage, Stage::Step(1));
    assert_eq!(told.after(0, &stale), []);
    assert_eq!(told.run.stage, Stage::Step(1));
}

#[test]
fn a_person_overrules_what_is_watched_but_not_what_comes_before_the_next_step() {
    let gates = vec![
        gate("errors", Point::During(0)),
        gate("smoke", Point::Before(1)),
    ];
    let (mut told, _) = told(&start(with(gates), false, None));
    assert_eq!(told.answer(0, "errors", unknown()), []);
    assert_eq!(told.after(0, &PROMOTE), []);
    assert_eq!(told.asked(), ["smoke"]);
    assert_eq!(told.answer(0, "smoke", Outcome::Passed), [share(50_000)]);
}

#[test]
fn a_full_promotion_asks_nobody() {
    let gates = vec![gate("smoke", Point::Before(3))];
    let (mut told, _) = told(&start(with(gates), false, None));
    let full = Event::Promote {
        full: true,
        expect_step: None,
    };
    assert_eq!(told.after(0, &full), [PROMOTED]);
}

#[test]
fn an_approval_that_never_comes_moves_nobody() {
    let mut person = gate("person", Point::Before(3));
    person.probe = Probe::Approval;
    let (mut told, _) = told(&start(with(vec![person]), true, None));
    assert_eq!(told.after(60_000, &Event::Tick), []);
    assert!(told.run.awaits_approval());
    assert_eq!(told.asked(), [""; 0]);
    assert_eq!(told.after(0, &PROMOTE), [PROMOTED]);
}

#[test]
fn blue_green_shows_checks_cuts_over_bakes_and_is_done() {
    let gates = vec![
        gate("smoke", Point::Before(1)),
        gate("errors", Point::After),
    ];
    let (mut told, actions) = told(&start(blue_green(gates), false, None));
    assert_eq!(actions, [share(0)]);
    assert!(told.run.awaits_approval());
    assert_eq!(told.after(9, &Event::CutOver { at_ms: None }), []);
    assert_eq!(told.answer(0, "smoke", Outcome::Passed), [PROMOTED]);
    assert_eq!(told.run.stage, Stage::Bake);
    assert_eq!(told.answer(0, "errors", Outcome::Passed), []);
    assert_eq!(told.answer(4, "errors", Outcome::Passed), []);
    assert_eq!(told.after(1, &Event::Tick), []);
    assert_eq!(told.run.stage, Stage::Promoted);
}

#[test]
fn a_cutover_that_does_not_bake_well_is_taken_back() {
    let (mut told, actions) = told(&start(
        blue_green(vec![gate("errors", Point::After)]),
        true,
        None,
    ));
    assert_eq!(actions, [PROMOTED]);
    let back = Action::RollBack { candidate: GREEN };
    assert_eq!(told.answer(1, "errors", failed()), [back]);
    assert_eq!(told.run.stage, Stage::RolledBack);
    let why = told.run.taken_back.as_deref();
    assert_eq!(why, Some("gate `errors` failed: 500"));
    assert_eq!(told.after(60, &Event::Tick), []);
}

#[test]
fn a_cutover_waits_for_its_time_of_day() {
    let (mut told, actions) = told(&start(blue_green(vec![]), true, Some(1_000)));
    assert_eq!((actions, &told.run.stage), (vec![], &Stage::Waiting));
    assert_eq!(told.after(600, &Event::Tick), []);
    assert_eq!(told.after(0, &Event::Due), [PROMOTED]);
}

#[test]
fn an_end_in_the_bake_time_is_by_hand_or_goes_back() {
    let (mut done, _) = told(&start(blue_green(vec![]), true, None));
    let again = advance(Some(&done.run), &start(plan(), false, None), 0);
    let bakes = "promoted and in its bake time".to_owned();
    assert_eq!(again, Err(Refusal::UnderWay(bakes)));
    assert_eq!(done.after(1, &PROMOTE), []);
    assert_eq!(done.run.stage, Stage::Promoted);
    let (mut back, _) = told(&start(blue_green(vec![]), true, None));
    assert_eq!(
        back.after(1, &abort()),
        [Action::RollBack { candidate: GREEN }]
    );
}

#[test]
fn what_is_watched_is_watched_until_the_time_that_was_set() {
    let (mut told, _) = told(&start(
        with(vec![gate("errors", Point::During(0))]),
        false,
        None,
    ));
    let tonight = Event::CutOver { at_ms: Some(1) };
    assert_eq!(told.after(1, &tonight), []);
    assert_eq!(told.asked(), ["errors"]);
    assert_eq!(told.answer(0, "errors", failed()), [Action::Withdraw]);
}

#[test]
fn a_promotion_by_hand_ends_the_bake_whatever_is_watched() {
    let gates = vec![gate("errors", Point::After)];
    let (mut told, _) = told(&start(blue_green(gates), true, None));
    assert_eq!(told.after(0, &PROMOTE), []);
    assert_eq!(told.run.stage, Stage::Promoted);
}

#[test]
fn nobody_is_sent_to_a_candidate_that_nobody_has_heard_of_but_back_at_once() {
    let unheard = |ms| Moment {
        ms,
        unheard: true,
        ..Moment::default()
    };
    let gates = vec![
        gate("smoke", Point::Before(1)),
        gate("errors", Point::During(0)),
    ];
    let (told, _) = told(&start(with(gates), false, None));
    let round = told.run.round;
    let answer = |run: &Run, gate: &str, outcome| {
        let gate = gate.to_owned();
        let event = Event::Gate {
            gate,
            round,
            outcome,
        };
        advance(Some(run), &event, unheard(60 * 60_000)).expect("taken")
    };
    let (passed, actions) = answer(&told.run, "errors", Outcome::Passed);
    assert_eq!(actions, []);
    let (passed, actions) = answer(&passed, "smoke", Outcome::Passed);
    assert_eq!((passed.step(), actions), (Some(0), vec![]));
    let (held, actions) =
        advance(Some(&passed), &PROMOTE, unheard(60 * 60_000)).expect("it is noted");
    assert_eq!(
        (held.step(), held.approved, actions),
        (Some(0), true, vec![])
    );
    let (_, actions) = advance(Some(&held), &Event::Tick, 60 * 60_000).expect("heard");
    assert_eq!(actions.len(), 1, "the step is made");

    let full = Event::Promote {
        full: true,
        expect_step: None,
    };
    let refused = advance(Some(&passed), &full, unheard(60 * 60_000));
    assert_eq!(refused, Err(Refusal::Unheard));
    let (_, actions) = answer(&passed, "errors", failed());
    assert_eq!(actions, [Action::Withdraw]);
}

#[test]
fn an_end_for_want_of_an_answer_is_told_from_one_for_a_bad_one() {
    for (outcome, inconclusive) in [
        (Outcome::Inconclusive("no data".to_owned()), true),
        (failed(), false),
    ] {
        let mut errors = gate("errors", Point::During(0));
        errors.on_inconclusive = Policy::Abort;
        let (mut canary, _) = told(&start(with(vec![errors.clone()]), false, None));
        assert_eq!(
            canary.answer(1, "errors", outcome.clone()),
            [Action::Withdraw]
        );
        assert_eq!(canary.run.inconclusive, inconclusive);
        errors.point = Point::After;
        let (mut green, _) = told(&start(blue_green(vec![errors]), true, None));
        green.answer(1, "errors", outcome);
        assert_eq!(green.run.inconclusive, inconclusive);
    }
}
