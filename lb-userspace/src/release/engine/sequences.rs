//! The engine against what is promised of it, by random sequences of events.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::{Just, Strategy as _, TestCaseError, any, prop, proptest};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, strategy};

use super::{
    gate_tests::gate,
    tests::{GREEN, MINUTE, abort, plan},
    *,
};

const DEADLINE: Duration = Duration::from_hours(1);
const BAKE: Duration = Duration::from_mins(5);
/// One before each stage that can be left, one that lasts.
const GATES: [&str; 4] = ["start", "second", "promote", "watch"];

fn start(replace: bool, straight: bool, gated: bool) -> Event {
    let points = [
        Point::Before(0),
        Point::Before(1),
        Point::Before(3),
        Point::After,
    ];
    let all = GATES.iter().zip(points);
    let all = all.map(|(name, point)| gate(name, point));
    Event::Start {
        plan: Plan {
            deadline: Some(DEADLINE),
            bake: BAKE,
            gates: all.filter(|_| gated).collect(),
            ..plan()
        },
        candidate: GREEN,
        replace,
        straight,
        at_ms: None,
    }
}

/// What is done next; a gate is answered as if it had just been asked.
#[derive(Clone, Debug)]
enum Turn {
    Event(Event),
    Answer(usize, Outcome),
}

fn any_turn() -> impl strategy::Strategy<Value = Turn> {
    let promote = (any::<bool>(), prop::option::of(1..4_usize));
    let outcome = prop_oneof![
        6 => Just(Outcome::Passed),
        1 => Just(Outcome::Failed(String::new())),
        2 => Just(Outcome::Inconclusive(String::new())),
    ];
    let event = prop_oneof![
        8 => Just(Event::Tick),
        3 => promote.prop_map(|(full, expect_step)| Event::Promote { full, expect_step }),
        2 => Just(Event::Pause),
        2 => Just(Event::Resume),
        1 => Just(abort()),
        2 => Just(Event::Retry),
        2 => (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(replace, straight, gated)| start(replace, straight, gated)),
        1 => prop::option::of(Just(1_000)).prop_map(|at_ms| Event::CutOver { at_ms }),
        1 => Just(Event::Due),
        1 => Just(Event::TakeOver),
        1 => Just(Event::RollBack),
    ];
    prop_oneof![
        3 => event.prop_map(Turn::Event),
        1 => (0..GATES.len(), outcome).prop_map(|(gate, outcome)| Turn::Answer(gate, outcome)),
    ]
}

/// What users get, followed from outside by the actions alone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Users {
    share_ppm: u32,
    promoted: bool,
}

impl Users {
    fn follow(&mut self, actions: &[Action]) {
        for action in actions {
            (self.share_ppm, self.promoted) = match action {
                Action::Share { share_ppm, .. } => (*share_ppm, false),
                Action::Promote { .. } => (0, true),
                Action::Withdraw => (0, self.promoted),
                Action::RollBack { .. } => (0, false),
            };
        }
    }
}

/// One event: what was, what is, and how long after the last one it came.
struct Seen<'a> {
    before: Option<&'a Run>,
    event: &'a Event,
    passed_ms: u64,
    next: &'a Run,
    actions: &'a [Action],
    /// The gates that have passed since the stage of before began, this answer among them.
    open: &'a BTreeSet<String>,
}

impl Seen<'_> {
    fn check(&self) -> Result<(), TestCaseError> {
        self.stays_over()?;
        self.goes_on_soundly()?;
        self.promotes_once()
    }

    /// Nothing but a retry or a start moves a release that has ended.
    fn stays_over(&self) -> Result<(), TestCaseError> {
        let ended = self.before.filter(|before| !before.is_under_way());
        let moves = matches!(
            self.event,
            Event::Start { .. } | Event::Retry | Event::RollBack
        );
        if let Some(before) = ended.filter(|_| !moves) {
            prop_assert_eq!(self.actions, []);
            prop_assert_eq!(&self.next.stage, &before.stage);
        }
        Ok(())
    }

    /// By itself it makes one step at most, after its whole hold, with approval and gates, in time.
    fn goes_on_soundly(&self) -> Result<(), TestCaseError> {
        let under_way = self.before.filter(|before| before.is_under_way());
        let (Some(before), Event::Tick | Event::Gate { .. }) = (under_way, self.event) else {
            return Ok(());
        };
        // Nobody waits for a release that is to begin later.
        let waits = before.stage == Stage::Waiting && before.scheduled_ms.is_some();
        let passed_ms = if waits { 0 } else { self.passed_ms };
        let age = u128::from(before.age_ms + passed_ms);
        let late = before.is_ahead() && age >= DEADLINE.as_millis();
        if matches!(self.event, Event::Tick) {
            let aborted = matches!(self.next.stage, Stage::Aborted { .. });
            let failed = before.checks.values();
            let failed = failed
                .clone()
                .any(|check| matches!(check.outcome, Outcome::Failed(_)));
            prop_assert!(aborted || !late, "the deadline");
            prop_assert!(!aborted || late || failed, "nothing was wrong");
        }
        let (at, next) = (place(before), place(self.next));
        let Some(next) = next.filter(|next| Some(*next) != at) else {
            return Ok(());
        };
        let at = at.unwrap_or(0);
        let straight = before.straight && before.is_ahead();
        prop_assert_eq!(next, if straight { 4 } else { at + 1 }, "the stage");
        prop_assert!(!before.paused && !late);
        prop_assert!(before.scheduled_ms.is_none());
        self.was_let_go(before)
    }

    fn was_let_go(&self, before: &Run) -> Result<(), TestCaseError> {
        let bake = (before.stage == Stage::Bake).then_some(BAKE);
        let hold = before.present().map(|step| step.hold).or(bake);
        let hold = hold.unwrap_or_default();
        let over = u128::from(before.held_ms + self.passed_ms) >= hold.as_millis();
        prop_assert!(before.approved || over, "the hold");
        let approve = before.present().is_some_and(|step| step.approve);
        prop_assert!(before.approved || !approve, "the approval");
        let asked = match place(self.next) {
            _ if before.plan.gates.is_empty() => None,
            Some(1) => Some("start"),
            Some(2) => Some("second"),
            Some(4) => Some("promote"),
            Some(5) => Some("watch"),
            _ => None,
        };
        let open = asked.is_none_or(|gate| self.open.contains(gate));
        prop_assert!(open, "gate {:?} among {:?}", asked, self.open);
        Ok(())
    }

    /// The same click again is refused.
    fn promotes_once(&self) -> Result<(), TestCaseError> {
        let expects = matches!(
            self.event,
            Event::Promote {
                expect_step: Some(_),
                ..
            }
        );
        if expects && self.before.map(|before| before.round) != Some(self.next.round) {
            let again = advance(Some(self.next), self.event, 0);
            prop_assert!(again.is_err(), "a second click did something");
        }
        Ok(())
    }
}

/// The stage's number in the order in which they come.
const fn place(run: &Run) -> Option<usize> {
    match run.stage {
        Stage::Waiting => Some(0),
        Stage::Step(step) => Some(step + 1),
        Stage::Bake => Some(4),
        Stage::Promoted => Some(5),
        Stage::Aborted { .. } | Stage::TakenOver | Stage::RolledBack => None,
    }
}

fn event(turn: Turn, run: Option<&Run>) -> Event {
    match turn {
        Turn::Event(event) => event,
        Turn::Answer(gate, outcome) => Event::Gate {
            gate: GATES[gate].to_owned(),
            round: run.map_or(0, |run| run.round),
            outcome,
        },
    }
}

proptest! {
    #[test]
    fn users_follow_the_stages_whatever_happens(
        turns in prop::collection::vec((0..8 * MINUTE, any_turn()), 1..80),
    ) {
        let (mut run, mut seen_ms, mut now_ms) = (None::<Run>, 0, 0);
        let (mut users, mut open) = (Users::default(), BTreeSet::new());
        for (passed, turn) in turns {
            now_ms += passed;
            let event = event(turn, run.as_ref());
            let Ok((next, actions)) = advance(run.as_ref(), &event, now_ms) else {
                continue;
            };
            // Nobody is at the candidate when it is released again.
            if matches!(event, Event::Start { .. }) {
                users = Users::default();
            }
            users.follow(&actions);
            if let Event::Gate { gate, outcome: Outcome::Passed, .. } = &event {
                open.insert(gate.clone());
            }
            let asked = Users {
                share_ppm: next.present().map_or(0, |step| step.share_ppm),
                promoted: matches!(next.stage, Stage::Bake | Stage::Promoted),
            };
            if !matches!(next.stage, Stage::TakenOver | Stage::RolledBack) {
                prop_assert_eq!(&users, &asked, "{:?}", event);
            }
            Seen {
                before: run.as_ref(),
                event: &event,
                passed_ms: now_ms - seen_ms,
                next: &next,
                actions: &actions,
                open: &open,
            }
            .check()?;
            if run.as_ref().map(|run| run.round) != Some(next.round) {
                open.clear();
            }
            (run, seen_ms) = (Some(next), now_ms);
        }
    }
}
