//! Gates: what is asked, and what becomes of an answer, over crashes and restarts.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use lb_userspace::{
    control::Ask,
    release::engine::{Event, Outcome},
    state::Admin,
};

use super::{PROMOTE, assert_whole, at, over, place, release, seconds, site};
use crate::{fake::Fake, program::client, site::Site, world::World};

/// Every five seconds while staff alone have it; two failures in a row count.
const ERRORS: &str = "name = \"errors\"\nduring = 1\nprometheus = { url = \"http://p\", query = \
                      \"errors\", condition = \"< 1\" }\ninterval = \"5s\"\nfall = 2\n";
/// Before anybody but staff gets it.
const SMOKE: &str = "name = \"smoke\"\nbefore = 2\nexec = [\"/x\"]\ninterval = \"5s\"\n";

fn gated(gates: &[&str]) -> Site {
    let mut site = site();
    for gate in gates {
        let tables = &mut site.services[0].tables;
        tables.push_str("[[service.release.gate]]\n");
        tables.push_str(gate);
    }
    site
}

fn started(gates: &[&str]) -> World {
    let mut world = World::new(gated(gates));
    world.start("s0", false).expect("started");
    world
}

fn due(world: &mut World) -> Vec<Ask> {
    world.control().due_gates()
}

/// The only gate that is due.
fn asked(world: &mut World) -> Ask {
    let mut due = due(world);
    assert_eq!(due.len(), 1, "{due:?}");
    due.remove(0)
}

fn answer(world: &mut World, ask: &Ask, outcome: Outcome) {
    let tick = world.tick();
    let answers = vec![(ask.clone(), outcome)];
    world.control().answers(answers, tick).expect("taken");
}

fn failed() -> Outcome {
    Outcome::Failed("7 is not < 1".to_owned())
}

fn unclear() -> Outcome {
    Outcome::Inconclusive("no data".to_owned())
}

/// Event, object, before, after and cause of what happened since the start.
fn told(world: &mut World) -> Vec<String> {
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let told = entries.into_iter().skip(1).map(|entry| {
        let change = [entry.object, entry.before, entry.after].map(Option::unwrap_or_default);
        let [object, before, after] = change;
        format!("{} {object} {before} {after}: {}", entry.event, entry.cause)
    });
    told.collect()
}

#[test]
fn a_gate_is_told_what_it_is_about() {
    let mut world = started(&[ERRORS]);
    let ask = asked(&mut world);
    let about = (ask.service.as_str(), ask.release, ask.step, ask.share_ppm);
    assert_eq!(about, ("s0", 1, 1, 0));
    assert_eq!((ask.candidate.as_str(), ask.active.as_str()), ("p1", "p0"));
}

#[test]
fn a_gate_that_fails_often_enough_takes_all_users_back_and_the_log_says_why() {
    let mut world = started(&[ERRORS]);
    for outcome in [Outcome::Passed, Outcome::Passed, failed()] {
        let ask = asked(&mut world);
        answer(&mut world, &ask, outcome);
        assert_eq!(due(&mut world), [], "not again for five seconds");
        let pause = world.tend().expect("tended").expect("a gate is due");
        // Sooner while sweeps are due.
        assert!(pause <= Duration::from_secs(5), "the loop wakes up for it");
        seconds(&mut world, 5);
    }
    assert_eq!(place(&mut world), at(1, "holding", 0));
    let ask = asked(&mut world);
    answer(&mut world, &ask, failed());

    assert_eq!(place(&mut world), over("aborted"));
    let why = "gate `errors` failed: 7 is not < 1";
    assert_eq!(release(&mut world).reason.as_deref(), Some(why));
    let expected = [
        "gate errors unknown passed: gate `errors` passed".to_owned(),
        format!("gate errors passed failed: {why}"),
        format!("aborted   : {why}"),
    ];
    assert_eq!(told(&mut world), expected);
    assert_eq!(due(&mut world), []);
    assert_whole(&mut world);
}

#[test]
fn an_inconclusive_gate_holds_the_release_until_it_passes() {
    let mut world = started(&[SMOKE]);
    assert_eq!(due(&mut world), [], "the hold comes first");
    seconds(&mut world, 20);
    assert_eq!(place(&mut world), at(1, "awaits-gates", 0));
    for _ in 0..20 {
        let ask = asked(&mut world);
        answer(&mut world, &ask, unclear());
        seconds(&mut world, 5);
    }
    assert_eq!(place(&mut world), at(1, "awaits-gates", 0));
    let gates = release(&mut world).gates;
    let shown = (gates[0].outcome.as_deref(), gates[0].why.as_deref());
    assert_eq!(shown, (Some("inconclusive"), Some("no data")));
    assert_eq!((gates[0].streak, gates[0].ago_s), (20, Some(5)));
    let ask = asked(&mut world);
    answer(&mut world, &ask, Outcome::Passed);

    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    let expected = [
        "gate smoke unknown inconclusive: gate `smoke` can't tell: no data",
        "step   : gate `smoke` passed",
    ];
    assert_eq!(told(&mut world), expected);
    assert_whole(&mut world);
}

#[test]
fn an_answer_to_another_round_or_release_counts_for_nothing() {
    let mut world = started(&[&ERRORS.replace("fall = 2", "fall = 1")]);
    let old = asked(&mut world);
    world.steer("s0", &PROMOTE).expect("promoted");
    answer(&mut world, &old, failed());
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    world.start("s0", true).expect("replaced");
    answer(&mut world, &old, failed());
    assert_eq!(place(&mut world), at(1, "holding", 0));
    world.abort("s0").expect("aborted");
    answer(&mut world, &old, Outcome::Passed);
    assert_eq!(place(&mut world), over("aborted"));
    world.steer("s0", &Event::Retry).expect("again");
    answer(&mut world, &old, failed());
    assert_eq!(place(&mut world), at(1, "holding", 0));
    // This one's own does.
    let ask = asked(&mut world);
    answer(&mut world, &ask, failed());
    assert_eq!(place(&mut world), over("aborted"));
}

#[test]
fn a_daemon_that_dies_between_question_and_answer_leaves_a_gate_that_is_asked_again() {
    let mut world = started(&[SMOKE]);
    seconds(&mut world, 20);
    let ask = asked(&mut world);
    world.restart().expect("started again");
    assert_eq!(asked(&mut world), ask);
    answer(&mut world, &ask, Outcome::Passed);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
}

#[test]
fn a_crash_at_any_write_of_an_answer_leaves_it_taken_or_to_be_asked_again() {
    let (mut found, mut write) = (Vec::new(), 0);
    loop {
        let mut world = started(&[SMOKE]);
        seconds(&mut world, 20);
        let ask = asked(&mut world);
        {
            let mut edge = world.twin.edge();
            edge.begin(None);
            edge.crash_at = Some(write);
        }
        let answered = || answer(&mut world, &ask, Outcome::Passed);
        let crashed = catch_unwind(AssertUnwindSafe(answered)).is_err();
        world.twin.edge().crash_at = None;
        if !crashed {
            break;
        }
        world.abandon();
        world.restart().expect("up again");
        let after = place(&mut world);
        if after == at(1, "awaits-gates", 0) {
            let ask = asked(&mut world);
            answer(&mut world, &ask, Outcome::Passed);
        }
        assert_eq!(place(&mut world), at(2, "holding", 10_000), "write {write}");
        assert_whole(&mut world);
        found.push(after.0);
        write += 1;
    }
    assert!(write >= 2, "{found:?}");
}

#[test]
fn an_answer_that_no_backend_lets_the_release_act_on_is_kept_and_acted_on_later() {
    let smoke = SMOKE.replace("before = 2", "before = \"start\"");
    let mut world = World::new(gated(&[&smoke]));
    for backend in [2, 3] {
        world.admin("s0", backend, Admin::Drain).expect("drained");
    }
    world.start("s0", false).expect("it waits");
    let ask = asked(&mut world);
    assert_eq!(ask.step, 0);
    answer(&mut world, &ask, Outcome::Passed);
    seconds(&mut world, 30);
    assert_eq!(release(&mut world).state, "awaits-backends");
    assert_eq!(due(&mut world), [], "it has passed");
    world.admin("s0", 2, Admin::Ready).expect("ready");
    seconds(&mut world, 1);
    assert_eq!(place(&mut world).0, Some(1));
}

#[test]
fn nobody_is_taken_back_to_a_pool_that_can_not_serve_until_it_can() {
    let mut world = started(&[&ERRORS.replace("fall = 2", "fall = 1")]);
    world.health("s0", &[(0, false), (1, false)]).expect("told");
    let ask = asked(&mut world);

    answer(&mut world, &ask, failed());
    assert_eq!(
        place(&mut world),
        at(1, "holding", 0),
        "the verdict is kept"
    );
    world.health("s0", &[(0, true), (1, true)]).expect("told");
    world.tend().expect("tended");

    assert_eq!(place(&mut world), over("aborted"));
    let why = "gate `errors` failed: 7 is not < 1";
    assert_eq!(release(&mut world).reason.as_deref(), Some(why));
}

#[test]
fn status_shows_gates_with_their_last_answer() {
    let fake = Fake::new(gated(&[SMOKE, ERRORS]));
    let said = client(&fake.socket, &["start", "s0"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let ask = fake.shared.control().due_gates().remove(0);
    let answers = vec![(ask, failed())];
    let taken = fake.shared.control().answers(answers, 1000);
    taken.expect("taken");

    let text = client(&fake.socket, &["status", "s0"]).out;
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("  gate "))
        .collect();
    let expected = [
        "  gate      smoke (exec, before 2): not asked yet",
        "  gate      errors (prometheus, during 1): failed 0s ago: 7 is not < 1",
    ];
    assert_eq!(lines, expected);
    let json = client(&fake.socket, &["status", "s0", "-o", "json"]).json();
    let gate = &json["release"]["gates"][1];
    assert_eq!(
        (&gate["outcome"], &gate["streak"]),
        (&"failed".into(), &1.into())
    );
}
