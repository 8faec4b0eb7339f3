//! Releases before their judge: what the kernel has counted, and what becomes of a release by it.

use std::time::Duration;

use lb_common::signal::{
    Breaker, Histogram, Signal,
    breaker::{Attempt, SILENCE_NS},
    cohort,
};
use lb_userspace::{
    api::{
        model::ReleaseStatus,
        replayed::{End, ReplayQuery, Replayed},
    },
    control::ControlError,
    journal::Happened,
    judge::{Said, Verdict},
    release::engine::{Event, Opinion},
};

use crate::{site::Site, world::World};

/// Backends of the candidate.
const CANDIDATE: [u8; 2] = [2, 3];
const ALL: [u8; 4] = [0, 1, 2, 3];
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(250);
const PROMOTE: Event = Event::Promote {
    full: false,
    expect_step: None,
};

/// A twentieth for ten minutes, then a quarter.
fn site(lines: &str) -> Site {
    let mut site = Site::new(&[&[2, 2]]);
    let service = &mut site.services[0];
    lines.clone_into(&mut service.lines);
    "tcp = true".clone_into(&mut service.health);
    "[service.release]\nsteps = [{ share = \"5%\", hold = \"10m\" }, { share = \"25%\", hold = \
     \"10m\" }]\n[service.release.judge]\nsignals = [\"connect\"]\n"
        .clone_into(&mut service.tables);
    site
}

fn started() -> World {
    let mut world = World::new(site(""));
    say(&mut world, &ALL, true);
    world.start("s0", false).expect("started");
    pass(&mut world, LOOK);
    world
}

fn say(world: &mut World, backends: &[u8], up: bool) {
    let said: Vec<_> = ALL
        .iter()
        .map(|&backend| (backend, up || !backends.contains(&backend)))
        .collect();
    world.health("s0", &said).expect("taken");
}

fn pass(world: &mut World, time: Duration) {
    world.pass(time).expect("time passes");
}

/// Attempts, and those that failed, of the candidate; fifteen times as many of the active pool's, of
/// which none does. Then a look.
fn count(world: &mut World, trials: u64, failures: u64) {
    come(world, trials, failures);
    pass(world, LOOK);
}

/// The same before anybody looks.
fn come(world: &mut World, trials: u64, failures: u64) {
    let mut edge = world.twin.edge();
    let signals = edge.memory.signals.entry(0).or_default();
    let halves = [trials * 7, trials * 8].map(|trials| trials << 32);
    for (number, pair) in [
        (cohort::CANDIDATE, trials << 32 | failures),
        (cohort::EVEN, halves[0]),
        (cohort::ODD, halves[1]),
    ] {
        let tally = &mut signals.cohorts[number as usize].tally;
        tally.pairs[Signal::Connect as usize] += pair;
        // Each is of a client of its own.
        tally.clients += pair >> 32;
    }
}

/// A breaker that has tripped for the live record.
fn trip(world: &mut World) {
    let epoch = world.record("s0").epoch;
    let mut breaker = Breaker::default();
    for client in 0..4 {
        let now = 1 + u64::from(client) * SILENCE_NS;
        breaker.answer(cohort::EVEN, 1, now);
        let by = Attempt {
            cohort: cohort::CANDIDATE,
            bucket: client,
        };
        breaker.attempt(by, (epoch, 4), now);
    }
    assert!(breaker.has_tripped(epoch));
    world.twin.edge().memory.breakers.insert(0, breaker);
}

fn release(world: &mut World) -> ReleaseStatus {
    world.status("s0").release.expect("started")
}

fn opinion(world: &World) -> Option<Opinion> {
    let run = world.state().services["s0"].position.run.as_ref();
    run.expect("started").opinion.clone()
}

fn assert_tripped(world: &mut World) {
    let release = release(world);
    assert_eq!(release.state, "aborted", "{release:?}");
    let reason = release.reason.expect("a reason");
    assert!(reason.starts_with("the breaker: "), "{reason}");
}

#[test]
fn a_trip_is_not_forgotten_by_a_record_that_comes_before_the_look() {
    let mut world = started();
    trip(&mut world);
    let before = world.record("s0").epoch;
    world.weight("s0", 0, 50).expect("weighed");
    assert!(world.record("s0").epoch > before);
    pass(&mut world, LOOK);
    assert_tripped(&mut world);
    assert_eq!(world.problems(), Vec::<String>::new());
}

#[test]
fn nor_by_checks_that_find_the_candidate_dead() {
    let mut world = started();
    trip(&mut world);
    say(&mut world, &CANDIDATE, false);
    pass(&mut world, LOOK);
    assert_tripped(&mut world);
}

#[test]
fn nor_by_a_step_that_is_due_just_then() {
    let mut world = started();
    for _ in 0..40 {
        count(&mut world, 50, 0);
    }
    assert_eq!(opinion(&world), Some(Opinion::NoWorse));
    trip(&mut world);
    let refused = world.steer("s0", &PROMOTE).expect_err("it has tripped");
    assert!(matches!(refused, ControlError::Unfit { .. }), "{refused}");
    assert!(refused.to_string().contains("the breaker: "), "{refused}");
    world.twin.edge().now += 600_000_000_000;
    world.steer("s0", &Event::Tick).expect("steered");
    assert_tripped(&mut world);
}

#[test]
fn a_trip_of_an_earlier_step_or_release_is_none_of_this_one() {
    let mut world = started();
    trip(&mut world);
    world.abort("s0").expect("aborted");
    world.start("s0", false).expect("started");
    pass(&mut world, LOOK * 4);
    assert_eq!(release(&mut world).state, "holding");
    world.steer("s0", &PROMOTE).expect("promoted");
    pass(&mut world, LOOK * 4);
    assert_eq!(release(&mut world).step, Some(2));
}

#[test]
fn while_another_pool_stands_in_for_one_of_the_two_nothing_is_measured_as_its() {
    for backends in [[0, 1], CANDIDATE] {
        let mut world = started();
        let before = world.record("s0");
        assert!(before.measures() && before.breaker_limit() > 0);
        say(&mut world, &backends, false);
        let meanwhile = world.record("s0");
        assert_eq!((meanwhile.ratio(), meanwhile.breaker_limit()), (0, 0));
        assert_eq!(meanwhile.share_ppm, before.share_ppm);
        say(&mut world, &backends, true);
        let after = world.record("s0");
        assert_eq!(after.ratio(), before.ratio());
        assert_ne!(after.draw(), before.draw(), "what began before is old");
    }
}

#[test]
fn what_was_said_of_a_candidate_before_it_died_ends_no_step_once_it_is_back() {
    let mut world = started();
    for _ in 0..40 {
        count(&mut world, 50, 0);
    }
    assert_eq!(opinion(&world), Some(Opinion::NoWorse));
    say(&mut world, &CANDIDATE, false);
    pass(&mut world, Duration::from_mins(1));
    say(&mut world, &CANDIDATE, true);
    assert_eq!(opinion(&world), None);
    pass(&mut world, LOOK);
    let starved = opinion(&world);
    assert!(
        matches!(starved, Some(Opinion::CantTell(_))),
        "the evidence begins anew: {starved:?}"
    );
    pass(&mut world, Duration::from_secs(1300));
    assert_eq!(release(&mut world).state, "awaits-evidence");
    for _ in 0..40 {
        count(&mut world, 50, 0);
    }
    assert_eq!(release(&mut world).step, Some(2));
}

/// They were dealt out by another draw, and the candidate's was another part of them.
#[test]
fn those_that_came_between_the_last_look_at_a_step_and_the_next_ones_first_are_of_neither() {
    let mut world = started();
    for _ in 0..40 {
        count(&mut world, 50, 0);
    }
    come(&mut world, 1000, 1000);
    world.steer("s0", &PROMOTE).expect("promoted");
    pass(&mut world, LOOK);
    assert_eq!(release(&mut world).state, "holding");
    for _ in 0..40 {
        count(&mut world, 50, 0);
    }
    assert_eq!(opinion(&world), Some(Opinion::NoWorse));
    let same = replay(&mut world, &ReplayQuery::default()).expect("it is kept");
    assert_eq!(same.was.told.judged, 4000);
    for _ in 0..4 {
        count(&mut world, 50, 50);
    }
    assert_eq!(release(&mut world).state, "aborted", "the tools work");
}

#[test]
fn the_dashboard_tells_of_this_releases_latencies_alone() {
    let mut world = started();
    let wait = |world: &mut World, place: usize, times: u32| {
        let mut edge = world.twin.edge();
        let signals = edge.memory.signals.entry(0).or_default();
        let rows = &mut signals.cohorts[cohort::CANDIDATE as usize].histograms;
        rows[Histogram::Handshake as usize][0][place] += times;
    };
    let shown = |world: &mut World| {
        let tick = world.tick();
        let detail = world.control().detail("s0", tick).expect("a detail");
        detail.latency.expect("judged").handshake.candidate
    };
    wait(&mut world, 3, 5);
    assert_eq!(shown(&mut world), [(4, 5)]);
    world.abort("s0").expect("aborted");
    assert_eq!(shown(&mut world), [(4, 5)], "until another begins");
    world.start("s0", false).expect("started");
    assert_eq!(shown(&mut world), []);
    pass(&mut world, LOOK);
    wait(&mut world, 3, 1);
    wait(&mut world, 6, 2);
    assert_eq!(shown(&mut world), [(4, 1), (7, 2)]);
    world.restart().expect("restarted");
    assert_eq!(shown(&mut world), [(4, 1), (7, 2)], "and over a restart");
}

/// Of this release alone, and only while their ends are seen.
#[test]
fn the_status_tells_how_many_measured_connections_live() {
    let shown = |world: &mut World| {
        let pools = world.status("s0").pools;
        let backends = pools.iter().flat_map(|pool| &pool.backends);
        backends.map(|backend| backend.live).collect::<Vec<_>>()
    };
    let lived = |world: &mut World, opened: u64, ended: u64| {
        let ids: Vec<u16> = world.state().services["s0"]
            .backends
            .keys()
            .copied()
            .collect();
        let mut edge = world.twin.edge();
        for (id, times) in ids.into_iter().zip(1..) {
            let tally = edge.memory.backend_signals.entry(id).or_default();
            tally.opened += opened * times;
            tally.ended += ended * times;
        }
    };
    let mut world = World::new(site(""));
    say(&mut world, &ALL, true);
    lived(&mut world, 100, 50);
    assert_eq!(shown(&mut world), [None; 4]);
    world.start("s0", false).expect("started");
    pass(&mut world, LOOK);
    assert_eq!(shown(&mut world), [Some(0); 4]);
    lived(&mut world, 5, 3);
    assert_eq!(shown(&mut world), [Some(2), Some(4), Some(6), Some(8)]);
    world.restart().expect("restarted");
    pass(&mut world, LOOK);
    assert_eq!(shown(&mut world), [Some(2), Some(4), Some(6), Some(8)]);
    world.abort("s0").expect("aborted");
    assert_eq!(shown(&mut world), [None; 4], "no end is seen any more");
}

#[test]
fn the_history_keeps_what_each_release_was_judged_by() {
    let mut world = started();
    for _ in 0..40 {
        count(&mut world, 50, 10);
    }
    assert_eq!(release(&mut world).state, "aborted");
    // Another one, whose evidence takes the place of the first's.
    world.start("s0", false).expect("started");
    pass(&mut world, LOOK);
    for _ in 0..40 {
        count(&mut world, 50, 0);
    }
    world.abort("s0").expect("aborted");

    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let ended = entries
        .iter()
        .filter(|entry| entry.event == Happened::Aborted);
    let [bad, good] = ended.collect::<Vec<_>>()[..] else {
        panic!("{entries:?}");
    };
    let bad = bad.evidence.as_ref().expect("it was judged");
    let verdict = Verdict::Harm(lb_userspace::judge::Signal::Connect);
    assert_eq!((bad.candidate.as_str(), bad.verdict), ("p1", verdict));
    let said = &bad.signals[0];
    assert_eq!(said.opinion, Said::Harm);
    assert_eq!(said.candidate_rate, Some(0.2));
    assert_eq!(said.baseline.failures, 0);
    assert!(said.baseline.trials >= 15 * said.candidate.trials);
    assert!(said.harm >= said.harm_limit);
    let good = good.evidence.as_ref().expect("it was judged");
    assert_eq!(good.signals[0].opinion, Said::NoWorse);
    assert_eq!(good.signals[0].candidate.failures, 0);
    let told = entries.iter().filter(|entry| entry.evidence.is_some());
    assert_eq!(told.count(), 2, "nothing else has any");
}

fn replay(world: &mut World, query: &ReplayQuery) -> Result<Replayed, ControlError> {
    let replaying = world.control().replay("s0", query)?;
    Ok(replaying.judge())
}

fn number(world: &World) -> u64 {
    world.state().services["s0"].position.release
}

/// One that fails one time of 25, then one that never does; their numbers.
fn two_releases(world: &mut World) -> [u64; 2] {
    let bad = number(world);
    for _ in 0..40 {
        count(world, 50, 2);
    }
    assert_eq!(release(world).state, "aborted");
    world.start("s0", false).expect("started");
    pass(world, LOOK);
    let good = number(world);
    for _ in 0..40 {
        count(world, 50, 0);
    }
    world.abort("s0").expect("aborted");
    pass(world, LOOK);
    [bad, good]
}

#[test]
fn a_past_release_is_judged_again_as_it_was_and_as_it_would_have_been() {
    let mut world = started();
    let [bad, good] = two_releases(&mut world);
    for restarted in [false, true] {
        if restarted {
            world.restart().expect("restarted");
        }
        let query = ReplayQuery {
            release: Some(bad),
            ..ReplayQuery::default()
        };
        let same = replay(&mut world, &query).expect("it is kept");
        let harm = Verdict::Harm(lb_userspace::judge::Signal::Connect);
        assert_eq!(same.was.told.verdict, harm);
        assert_eq!((same.was.end, same.was.end_step), (End::TakenBack, 1));
        assert_eq!(same.would_be, same.was, "nothing else was asked for");
        assert_eq!((same.release, same.candidate.as_str()), (bad, "p1"));

        let strict = ReplayQuery {
            false_alarm: Some("0.0001%".to_owned()),
            ..query.clone()
        };
        let strict = replay(&mut world, &strict).expect("it is kept");
        assert_eq!(strict.was, same.was);
        let told = strict.would_be.told.verdict;
        assert_eq!(told, Verdict::Undecided, "{strict:?}");

        let elsewhere = ReplayQuery {
            signals: Some("reset".to_owned()),
            on_inconclusive: Some("promote".to_owned()),
            ..query
        };
        let elsewhere = replay(&mut world, &elsewhere).expect("it is kept");
        assert_eq!(elsewhere.would_be.told.verdict, Verdict::Starved);
        assert_eq!(elsewhere.would_be.end, End::GoesOn);

        let last = replay(&mut world, &ReplayQuery::default()).expect("it is kept");
        assert_eq!(last.release, good);
        assert_eq!(last.was.told.verdict, Verdict::NoWorse);
        assert_eq!(last.was.end, End::GoesOn);
        assert_eq!(last.was.told.judged, 2000, "to its last look");
    }
}

#[test]
fn what_can_not_be_judged_again_is_named() {
    let mut world = started();
    let none = replay(&mut World::new(site("")), &ReplayQuery::default());
    let none = none.expect_err("there is none").to_string();
    assert!(
        none.contains("no evidence of a release is kept; add"),
        "{none}"
    );
    let [bad, good] = two_releases(&mut world);
    let query = |release, signals: &str| ReplayQuery {
        release: Some(release),
        signals: Some(signals.to_owned()),
        ..ReplayQuery::default()
    };
    let gone = replay(&mut world, &query(99, "reset")).expect_err("it is not kept");
    let kept = format!("no evidence of release 99 is kept; there is some of {bad}, {good}");
    assert!(gone.to_string().ends_with(&kept), "{gone}");
    let unknown = replay(&mut world, &query(bad, "resets")).expect_err("it is none");
    assert!(matches!(unknown, ControlError::Usage(_)), "{unknown}");
    assert!(
        unknown.to_string().starts_with("signals: `resets`: "),
        "{unknown}"
    );
    // By what could be seen when it was judged, not by what can be today.
    assert!(replay(&mut world, &query(bad, "first-byte")).is_ok());
    let evidence = world.state_file().with_file_name("evidence");
    let file = evidence.join(format!("s0.{bad}.json"));
    let text = std::fs::read_to_string(&file).expect("it is kept");
    let other = text.replace("\"forward\":\"nat\"", "\"forward\":\"l2\"");
    std::fs::write(&file, other).expect("written");
    let unseen = replay(&mut world, &query(bad, "first-byte")).expect_err("it was not seen");
    let why = "`first-byte`: not seen with forward = \"l2\"";
    assert!(unseen.to_string().contains(why), "{unseen}");
    std::fs::write(&file, "{").expect("written");
    let broken = replay(&mut world, &query(bad, "reset")).expect_err("it is broken");
    assert!(
        broken.to_string().contains("no evidence of a release ("),
        "{broken}"
    );
    assert!(replay(&mut world, &query(good, "reset")).is_ok());
}

#[test]
fn evidence_of_so_many_releases_is_kept_and_no_more() {
    let mut world = started();
    let first = number(&world);
    for _ in 0..40 {
        count(&mut world, 5, 0);
        world.abort("s0").expect("aborted");
        pass(&mut world, LOOK);
        world.start("s0", false).expect("started");
        pass(&mut world, LOOK);
    }
    let evidence = world.state_file().with_file_name("evidence");
    let files = std::fs::read_dir(evidence).expect("it is there");
    let names = files.map(|file| file.expect("a file").file_name().into_string());
    let names: Vec<String> = names.map(|name| name.expect("a name")).collect();
    let of_releases = names.iter().filter(|name| name.starts_with("s0."));
    // One more is the judge's own.
    assert_eq!(of_releases.count(), 32 + 1, "{names:?}");
    assert!(!names.contains(&format!("s0.{first}.json")), "{names:?}");
}

#[test]
fn the_status_says_what_a_judge_can_not_see() {
    let unseen = |lines: &str| {
        let mut world = World::new(site(lines));
        say(&mut world, &ALL, true);
        world.start("s0", false).expect("started");
        release(&mut world).unseen
    };
    assert_eq!(unseen(""), None);
    let said = unseen("forward = \"l2\"").expect("much");
    assert!(said.contains("the candidate refuses is not seen"), "{said}");
}
