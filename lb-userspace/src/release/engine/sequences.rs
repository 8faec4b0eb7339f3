//! The engine against what is promised of it, by random sequences of events.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    tests::{GREEN, MINUTE, abort, plan},
    *,
};

const DEADLINE: Duration = Duration::from_hours(1);

fn start(replace: bool) -> Event {
    Event::Start {
        plan: Plan {
            deadline: Some(DEADLINE),
            ..plan()
        },
        candidate: GREEN,
        replace,
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let promote = (any::<bool>(), prop::option::of(1..4_usize));
    prop_oneof![
        8 => Just(Event::Tick),
        3 => promote.prop_map(|(full, expect_step)| Event::Promote { full, expect_step }),
        2 => Just(Event::Pause),
        2 => Just(Event::Resume),
        1 => Just(abort()),
        2 => Just(Event::Retry),
        2 => any::<bool>().prop_map(start),
        1 => Just(Event::TakeOver),
        1 => Just(Event::RollBack),
    ]
}

/// One event: what was, what is, and how long after the last one it came.
struct Turn<'a> {
    before: Option<&'a Run>,
    event: &'a Event,
    passed_ms: u64,
    next: &'a Run,
    actions: &'a [Action],
}

impl Turn<'_> {
    fn check(&self) -> Result<(), TestCaseError> {
        self.stays_over()?;
        self.ticks_soundly()?;
        self.promotes_once()
    }

    /// Nothing but a retry or a start moves a release that has ended.
    fn stays_over(&self) -> Result<(), TestCaseError> {
        let ended = self.before.is_some_and(|before| before.step().is_none());
        if ended
            && !matches!(
                self.event,
                Event::Start { .. } | Event::Retry | Event::RollBack
            )
        {
            prop_assert_eq!(self.actions, []);
            prop_assert_eq!(
                Some(&self.next.stage),
                self.before.map(|before| &before.stage)
            );
        }
        Ok(())
    }

    /// Time makes one step at most, after its whole hold, with its approval and in time.
    fn ticks_soundly(&self) -> Result<(), TestCaseError> {
        let under_way = self.before.and_then(|run| Some((run, run.step()?)));
        let (Some((before, index)), Event::Tick) = (under_way, self.event) else {
            return Ok(());
        };
        let late = u128::from(before.age_ms + self.passed_ms) >= DEADLINE.as_millis();
        let aborted = matches!(self.next.stage, Stage::Aborted { .. });
        prop_assert_eq!(late, aborted, "the deadline");
        let step = &before.plan.steps[index];
        let held = u128::from(before.held_ms + self.passed_ms) >= step.hold.as_millis();
        let may = held && !step.approve && !before.paused && !late;
        let expected = if may { index + 1 } else { index };
        let last = before.plan.steps.len();
        let found = match self.next.stage {
            Stage::Step(step) => step,
            Stage::Promoted => last,
            Stage::Aborted { .. } => expected,
            Stage::TakenOver | Stage::RolledBack => last + 1,
        };
        prop_assert_eq!(found, expected, "the step");
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
        if expects {
            let again = advance(Some(self.next), self.event, 0);
            prop_assert!(again.is_err(), "a second click did something");
        }
        Ok(())
    }
}

proptest! {
    /// What users get, followed from outside by the actions alone.
    #[test]
    fn the_share_follows_the_steps_whatever_happens(
        events in prop::collection::vec((0..8 * MINUTE, any_event()), 1..80),
    ) {
        let (mut run, mut seen_ms, mut now_ms, mut share_ppm) = (None::<Run>, 0, 0, 0);
        for (passed, event) in events {
            now_ms += passed;
            let Ok((next, actions)) = advance(run.as_ref(), &event, now_ms) else {
                continue;
            };
            for action in &actions {
                share_ppm = match action {
                    Action::Share { share_ppm, .. } => *share_ppm,
                    Action::Promote { .. } | Action::Withdraw => 0,
                };
            }
            let asked = next.step().map_or(0, |step| next.plan.steps[step].share_ppm);
            if next.stage != Stage::TakenOver {
                prop_assert_eq!(share_ppm, asked, "{:?}", event);
            }
            let turn = Turn {
                before: run.as_ref(),
                event: &event,
                passed_ms: now_ms - seen_ms,
                next: &next,
                actions: &actions,
            };
            turn.check()?;
            (run, seen_ms) = (Some(next), now_ms);
        }
    }
}
