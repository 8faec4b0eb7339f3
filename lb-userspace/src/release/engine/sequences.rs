//! The engine against what is promised of it, by random sequences of events.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::{Just, Strategy as _, TestCaseError, any, prop, proptest};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, strategy};

use super::{
    gate_tests::gate,
    tests::{GREEN, MINUTE, abort, plan},
    *,
};
use crate::judge::Settings;

const DEADLINE: Duration = Duration::from_hours(1);
const BAKE: Duration = Duration::from_mins(5);
/// What guards the steps, each its own.
const TOGGLES: [&str; 3] = ["one", "two", "three"];
/// One before each stage that can be left, one that lasts as long as the second step, and one as long as
/// the bake time.
const GATES: [&str; 5] = ["start", "second", "promote", "lasting", "watch"];
/// Whom the first and the third step show the candidate to, the latter beside its share.
const AUDIENCES: [Option<&str>; 3] = [Some("staff"), None, Some("testers")];

fn start(replace: bool, straight: bool, gated: bool, judged: Option<OnInconclusive>) -> Event {
    let points = [
        Point::Before(0),
        Point::Before(1),
        Point::Before(3),
        Point::During(1),
        Point::After,
    ];
    let all = GATES.iter().zip(points);
    let all = all.map(|(name, point)| gate(name, point));
    let steps = plan().steps.into_iter().zip(TOGGLES).zip(AUDIENCES);
    let steps = steps
        .enumerate()
        .map(|(at, ((step, toggle), audience))| Step {
            toggle: Some(toggle.to_owned()),
            audience: audience.map(str::to_owned),
            evidence: judged.is_some() && at == 1,
            ..step
        });
    let judge = judged.map(|on_inconclusive| Judging {
        settings: Settings::default(),
        on_inconclusive,
    });
    Event::Start {
        plan: Plan {
            steps: steps.collect(),
            deadline: Some(DEADLINE),
            bake: BAKE,
            gates: all.filter(|_| gated).collect(),
            judge,
            ..plan()
        },
        candidate: GREEN,
        replace,
        straight,
        at_ms: None,
    }
}

/// Those that it is bound to.
fn group() -> BTreeSet<String> {
    ["this", "other"].map(str::to_owned).into()
}

/// What is done next; a gate is answered as if it had just been asked.
#[derive(Clone, Debug)]
enum Turn {
    Event(Event),
    Answer(usize, Outcome),
    /// The judge has looked just now.
    Judge(Opinion),
    /// One of the toggles.
    Toggle(usize),
}

fn any_turn() -> impl strategy::Strategy<Value = Turn> {
    let promote = (any::<bool>(), prop::option::of(1..4_usize));
    let outcome = prop_oneof![
        6 => Just(Outcome::Passed),
        1 => Just(Outcome::Failed(String::new())),
        2 => Just(Outcome::Inconclusive(String::new())),
    ];
    let policy = prop_oneof![
        Just(OnInconclusive::Hold),
        Just(OnInconclusive::Extend),
        Just(OnInconclusive::Abort),
        Just(OnInconclusive::Promote),
    ];
    let opinion = prop_oneof![
        1 => Just(Opinion::Harm(String::new())),
        4 => Just(Opinion::NoWorse),
        3 => Just(Opinion::NoHarm),
        2 => Just(Opinion::CantTell(String::new())),
        1 => Just(Opinion::Unsound(String::new())),
    ];
    let event = prop_oneof![
        8 => Just(Event::Tick),
        3 => promote.prop_map(|(full, expect_step)| Event::Promote { full, expect_step }),
        2 => Just(Event::Pause),
        2 => Just(Event::Resume),
        1 => Just(abort()),
        2 => Just(Event::Retry),
        2 => (any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of(policy))
            .prop_map(|(replace, straight, gated, judged)| {
                start(replace, straight, gated, judged)
            }),
        1 => prop::option::of(Just(1_000)).prop_map(|at_ms| Event::CutOver { at_ms }),
        1 => Just(Event::Due),
        1 => any::<bool>().prop_map(|begun| Event::Bind { services: group(), begun }),
        1 => Just(Event::LetGo { why: String::new() }),
        1 => Just(Event::TakeOver),
        1 => Just(Event::RollBack),
    ];
    prop_oneof![
        1 => (0..TOGGLES.len()).prop_map(Turn::Toggle),
        6 => event.prop_map(Turn::Event),
        2 => (0..GATES.len(), outcome).prop_map(|(gate, outcome)| Turn::Answer(gate, outcome)),
        2 => opinion.prop_map(Turn::Judge),
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
        self.heeds_the_judge()?;
        self.shows_no_more_than_its_steps()?;
        self.is_let_go_where_it_is()?;
        self.goes_with_the_others_alone()?;
        self.promotes_once()
    }

    /// Nothing but an order moves on one that is bound to others.
    fn goes_with_the_others_alone(&self) -> Result<(), TestCaseError> {
        let bound = self.before.filter(|before| before.is_bound());
        let (Some(before), Event::Tick | Event::Due | Event::Gate { .. } | Event::Judged { .. }) =
            (bound, self.event)
        else {
            return Ok(());
        };
        let ended = place(self.next).is_none();
        prop_assert!(
            ended || self.next.stage == before.stage,
            "without the others"
        );
        Ok(())
    }

    /// Who is let go by the others stays where they are, until somebody says that they go alone; one that
    /// was begun for them alone, and has moved nobody, is over.
    fn is_let_go_where_it_is(&self) -> Result<(), TestCaseError> {
        let bound = self.before.filter(|before| before.is_bound());
        let (Some(before), Event::LetGo { .. }) = (bound, self.event) else {
            return Ok(());
        };
        let over = before.stage == Stage::Waiting && before.begun_bound;
        if over {
            let aborted = matches!(self.next.stage, Stage::Aborted { .. });
            prop_assert!(aborted, "nobody waits for it any more");
        } else {
            prop_assert_eq!(&self.next.stage, &before.stage);
            prop_assert_eq!(self.actions, []);
            prop_assert!(self.next.paused || !before.is_under_way());
        }
        prop_assert!(!self.next.is_bound() && self.next.scheduled_ms.is_none());
        Ok(())
    }

    /// Harm at a judged step takes all users back at once.
    fn heeds_the_judge(&self) -> Result<(), TestCaseError> {
        let judged = self.before.filter(|before| before.is_judged());
        if let (
            Some(_),
            Event::Judged {
                opinion: Opinion::Harm(_),
                ..
            },
        ) = (judged, self.event)
        {
            let aborted = matches!(self.next.stage, Stage::Aborted { .. });
            prop_assert!(aborted && self.actions == [Action::Withdraw]);
        }
        Ok(())
    }

    /// What the judge says of the stage of before, this opinion included.
    fn opinion<'a>(&'a self, before: &'a Run) -> Option<&'a Opinion> {
        if let Event::Judged { opinion, .. } = self.event
            && before.is_judged()
        {
            return Some(opinion);
        }
        before.opinion.as_ref()
    }

    /// An audience sees the candidate from a step that names it on, to which the release has come, and
    /// not before.
    fn shows_no_more_than_its_steps(&self) -> Result<(), TestCaseError> {
        let hidden = |run: &Run, name: &str| run.hidden.contains(name);
        for (step, name) in AUDIENCES.iter().enumerate() {
            let Some(name) = name else { continue };
            let anew = matches!(self.event, Event::Start { .. } | Event::Retry);
            let was = anew || self.before.is_some_and(|before| hidden(before, name));
            let here = self.next.stage == Stage::Step(step);
            let over = matches!(self.next.stage, Stage::Bake | Stage::Promoted);
            let expected = was && !here && !over;
            prop_assert_eq!(hidden(self.next, name), expected, "{}", name);
        }
        Ok(())
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

    /// By itself it goes to the next step whose toggle is on and no further, after its whole hold, with
    /// approval and gates, in time; and a canary makes one before the promotion.
    fn goes_on_soundly(&self) -> Result<(), TestCaseError> {
        let under_way = self.before.filter(|before| before.is_under_way());
        let (Some(before), Event::Tick | Event::Gate { .. } | Event::Judged { .. }) =
            (under_way, self.event)
        else {
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
            let judging = before.plan.judge.as_ref();
            let unsure = judging.is_some_and(|j| j.on_inconclusive == OnInconclusive::Abort);
            let unsure = unsure && before.is_judged() && before.doubt().is_some();
            prop_assert!(!aborted || late || failed || unsure, "nothing was wrong");
        }
        let (at, next) = (place(before), place(self.next));
        let Some(next) = next.filter(|next| Some(*next) != at) else {
            return Ok(());
        };
        let at = at.unwrap_or(0);
        let straight = before.straight && before.is_ahead();
        let closed = |stage: &usize| {
            let toggle = stage.checked_sub(1).and_then(|step| TOGGLES.get(step));
            toggle.is_some_and(|toggle| straight || self.next.off.contains(*toggle))
        };
        let expected = (at + 1..6).find(|stage| !closed(stage));
        prop_assert_eq!(Some(next), expected, "the stage");
        prop_assert!(straight || at > 0 || next < 4, "no step at all");
        prop_assert!(!before.paused && !late);
        prop_assert!(before.scheduled_ms.is_none());
        self.was_let_go(before)
    }

    fn was_let_go(&self, before: &Run) -> Result<(), TestCaseError> {
        let bake = (before.stage == Stage::Bake).then_some(BAKE);
        let hold = before.present().map(|step| step.hold).or(bake);
        let hold = hold.unwrap_or_default();
        let hold = hold * if before.extended { 2 } else { 1 };
        let over = u128::from(before.held_ms + self.passed_ms) >= hold.as_millis();
        let evidence = before.present().is_some_and(|step| step.evidence);
        let opinion = self.opinion(before);
        let shown = evidence && opinion == Some(&Opinion::NoWorse);
        prop_assert!(before.approved || over || shown, "the hold");
        if let Some(judging) = before.plan.judge.as_ref().filter(|_| before.is_judged()) {
            let lets = match opinion {
                Some(Opinion::NoWorse) => true,
                Some(Opinion::NoHarm) => !evidence,
                Some(Opinion::Harm(_) | Opinion::CantTell(_) | Opinion::Unsound(_)) | None => false,
            };
            let promotes = judging.on_inconclusive == OnInconclusive::Promote;
            prop_assert!(
                before.approved || lets || promotes,
                "the judge: {:?}",
                opinion
            );
        }
        let approve = before.present().is_some_and(|step| step.approve);
        prop_assert!(before.approved || !approve, "the approval");
        let first = (before.stage == Stage::Waiting).then_some("start");
        let then = match place(self.next) {
            Some(2) => Some("second"),
            Some(4) => Some("promote"),
            Some(5) => Some("watch"),
            _ => None,
        };
        let lasting = (before.stage == Stage::Step(1) && !before.approved).then_some("lasting");
        let asked = first.into_iter().chain(lasting).chain(then);
        for gate in asked.filter(|_| !before.plan.gates.is_empty()) {
            prop_assert!(self.open.contains(gate), "{} among {:?}", gate, self.open);
        }
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
            let moment = Moment {
                off: self.next.off.clone(),
                ..Moment::default()
            };
            let again = advance(Some(self.next), self.event, moment);
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

/// Nothing happens to a release when a toggle is turned.
fn event(turn: Turn, run: Option<&Run>) -> Option<Event> {
    match turn {
        Turn::Event(event) => Some(event),
        Turn::Answer(gate, outcome) => Some(Event::Gate {
            gate: GATES[gate].to_owned(),
            round: run.map_or(0, |run| run.round),
            outcome,
        }),
        Turn::Judge(opinion) => Some(Event::Judged {
            round: run.map_or(0, |run| run.round),
            opinion,
        }),
        Turn::Toggle(_) => None,
    }
}

proptest! {
    #[test]
    fn users_follow_the_stages_whatever_happens(
        turns in prop::collection::vec((0..8 * MINUTE, any_turn()), 1..80),
    ) {
        let (mut run, mut seen_ms, mut now_ms) = (None::<Run>, 0, 0);
        let (mut users, mut open) = (Users::default(), BTreeSet::new());
        let mut off = BTreeSet::new();
        for (passed, turn) in turns {
            now_ms += passed;
            if let Turn::Toggle(toggle) = turn {
                let name = TOGGLES[toggle].to_owned();
                if !off.remove(&name) {
                    off.insert(name);
                }
            }
            let Some(event) = event(turn, run.as_ref()) else {
                continue;
            };
            let moment = Moment { ms: now_ms, off: off.clone(), ..Moment::default() };
            let Ok((next, actions)) = advance(run.as_ref(), &event, moment) else {
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
