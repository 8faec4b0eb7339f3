//! What the audit log says of a release.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use lb_userspace::{
    journal::{Actor, Entry, Happened},
    release::engine::{Event, Opinion},
    state::Admin,
};

use super::{PROMOTE, seconds, site, world};
use crate::world::World;

fn told(world: &mut World) -> Vec<(String, Option<usize>, u32, String)> {
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let told = entries.into_iter();
    told.map(|e| (e.event.to_string(), e.step, e.share_ppm, e.cause))
        .collect()
}

fn line(
    event: &str,
    step: Option<usize>,
    share_ppm: u32,
    cause: &str,
) -> (String, Option<usize>, u32, String) {
    (event.to_owned(), step, share_ppm, cause.to_owned())
}

#[test]
fn every_transition_is_told_once_with_its_numbers_and_its_cause() {
    let mut world = world();
    world.start("s0", false).expect("started");
    seconds(&mut world, 25);
    world.restart().expect("started again");
    world.steer("s0", &Event::Pause).expect("paused");
    world.steer("s0", &Event::Resume).expect("resumed");
    world.steer("s0", &PROMOTE).expect("promoted");
    world.abort("s0").expect("aborted");
    world.steer("s0", &Event::Retry).expect("again");
    world.share("s0", 70_000, None).expect("by hand");
    world.rollback("s0").expect("back");
    let expected = [
        line("started", Some(1), 0, "start"),
        line("step", Some(2), 10_000, "held for 20s"),
        line("continued", Some(2), 10_000, "the daemon has started"),
        line("paused", Some(2), 10_000, "pause"),
        line("resumed", Some(2), 10_000, "resume"),
        line("step", Some(3), 250_000, "promote"),
        line("aborted", None, 0, "enough"),
        line("retried", Some(1), 0, "retry"),
        line("taken-over", None, 70_000, "`share 70000ppm` by hand"),
        line("rolled-back", None, 0, "`rollback` by hand"),
    ];
    assert_eq!(told(&mut world), expected);
}

#[test]
fn an_entry_names_who_gave_the_order_and_the_daemon_for_what_it_did_itself() {
    let mut world = world();
    world.control().act_for(Actor::user(0));
    world.start("s0", false).expect("started");
    world.control().act_for(Actor::daemon());
    seconds(&mut world, 20);
    let entries = world.control().entries(0, None).expect("readable");
    let actors: Vec<_> = entries
        .iter()
        .map(|entry| (entry.actor.uid, entry.actor.name.as_str()))
        .collect();
    assert_eq!(actors, [(Some(0), "root"), (None, "serin")]);
}

#[test]
fn orders_about_backends_and_configurations_are_told_with_what_they_changed() {
    let mut world = world();
    let weight = world.weight("s0", 0, 7);
    weight.expect("another weight");
    world.admin("s0", 0, Admin::Drain).expect("drained");
    world.admin("s0", 0, Admin::Maint).expect("out");
    world.admin("s0", 0, Admin::Ready).expect("back");
    let mut site = world.site.clone();
    site.services[0].pools[1].backends[0].weight = 5;
    site.services[0].pools[0].backends[1].weight = 5;
    world.apply(site).expect("applied");

    let entries = world.control().entries(0, None).expect("readable");
    let told: Vec<_> = entries
        .iter()
        .map(|e| {
            let [object, before, after] =
                [&e.object, &e.before, &e.after].map(|said| said.as_deref().unwrap_or("-"));
            format!("{} {object} {before} {after}", e.event)
        })
        .collect();
    let expected = [
        "weight b0 100 7",
        "drain b0 ready drain",
        "maint b0 drain maint",
        "ready b0 maint ready",
    ];
    assert_eq!(told[..4], expected);
    let (epoch, last) = (entries[3].epoch, entries.last().expect("an entry"));
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(told[4], format!("applied - {epoch} {}", last.epoch));
    assert!(last.epoch > epoch);
}

/// Whether a core that shares dies before its write of this number, or the wait after all of them.
fn dies_before(world: &mut World, write: usize) -> bool {
    {
        let mut edge = world.twin.edge();
        edge.begin(None);
        edge.crash_at = Some(write);
    }
    let crashed = catch_unwind(AssertUnwindSafe(|| world.share("s0", 70_000, None))).is_err();
    world.twin.edge().crash_at = None;
    crashed
}

#[test]
fn what_a_daemon_did_that_died_before_it_could_tell_is_told_once() {
    let mut shares = BTreeSet::new();
    for write in 0.. {
        let mut world = world();
        if !dies_before(&mut world, write) {
            break;
        }
        world.abandon();
        let share = world.image().records[&0].share_ppm;
        for _ in 0..2 {
            world.restart().expect("started again");
            let events: Vec<_> = told(&mut world).into_iter().map(|told| told.0).collect();
            assert_eq!(
                events.len(),
                usize::from(share == 70_000),
                "{write}: {events:?}"
            );
            assert!(events.iter().all(|event| event == "share"), "{events:?}");
        }
        shares.insert(share);
    }
    assert_eq!(shares, [0, 70_000].into());
}

/// Waits until the log has all that it was told; tells what that is.
fn written(world: &mut World) -> Vec<Entry> {
    let entries = world.control().entries(0, None).expect("readable");
    let last = entries.last().map_or(0, |entry| entry.seq);
    let began = Instant::now();
    while world.control().journal().written() < last {
        assert!(began.elapsed() < Duration::from_secs(10), "entry {last}");
        thread::yield_now();
    }
    entries
}

/// Deletes the log once the state has nothing left for it, as it is days later.
fn lose_log(world: &mut World) -> Vec<Entry> {
    written(world);
    world.calm_down().expect("settled");
    let entries = written(world);
    world.abandon();
    fs::remove_file(world.directory().join("audit.jsonl")).expect("deleted");
    entries
}

#[test]
fn what_was_told_is_not_told_anew_where_the_log_was_deleted() {
    let full = Event::Promote {
        full: true,
        expect_step: None,
    };
    for event in [
        PROMOTE,
        full,
        Event::Abort {
            reason: String::new(),
        },
    ] {
        let mut world = world();
        world.start("s0", false).expect("started");
        world.steer("s0", &event).expect("taken");
        let under_way = world.state().services["s0"].is_released();
        let before = lose_log(&mut world);
        world.restart().expect("started again");
        let mut entries = world.control().entries(0, None).expect("readable");
        // What the state still keeps for a log is the same entry.
        entries.retain(|entry| !before.contains(entry));
        let events: Vec<_> = entries.iter().map(|entry| entry.event).collect();
        let continued = [Happened::Continued];
        let expected = if under_way { &continued[..] } else { &[] };
        assert_eq!(events, expected, "{event}");
    }
}

/// Event, step, cause and what is found, of what was told since an entry.
fn since(world: &mut World, seq: u64) -> Vec<String> {
    let entries = world.control().entries(seq, Some("s0")).expect("readable");
    let told = entries.into_iter().map(|entry| {
        let step = entry.step.map_or("-".to_owned(), |step| step.to_string());
        let after = entry.after.unwrap_or_default();
        format!("{} {step} {after}: {}", entry.event, entry.cause)
    });
    told.collect()
}

#[test]
fn that_a_person_is_needed_is_told_once_with_what_to_do() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.steer("s0", &PROMOTE).expect("1%");
    seconds(&mut world, 30);
    seconds(&mut world, 60);
    let person = "awaits-approval 3 : it waits for a person: let it go on with `serin promote s0`, or \
                  end it with `serin abort s0`";
    assert_eq!(since(&mut world, 3), [person]);
    world.restart().expect("started again");
    seconds(&mut world, 60);
    world.steer("s0", &Event::Pause).expect("paused");
    world.steer("s0", &Event::Resume).expect("resumed");
    seconds(&mut world, 60);
    let events: Vec<_> = told(&mut world).into_iter().map(|told| told.0).collect();
    let expected = [
        "started",
        "step",
        "step",
        "awaits-approval",
        "continued",
        "paused",
        "resumed",
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_candidate_without_backends_is_told_each_time_that_it_has_none() {
    let mut world = world();
    world.start("s0", false).expect("started");
    let dead = [(2, false), (3, false)];
    for _ in 0..2 {
        world.health("s0", &dead).expect("told");
        seconds(&mut world, 2);
        world.health("s0", &[(2, true)]).expect("told");
        seconds(&mut world, 2);
    }
    let backends = "awaits-backends 1 : pool `p1` has no backend that takes connections; `serin \
                    status s0` shows them";
    assert_eq!(since(&mut world, 1), [backends; 2]);
}

/// 1% for 20 s, and 25% for 20 s, both judged.
fn judged(on_inconclusive: &str) -> World {
    let mut site = site();
    site.services[0].tables = format!(
        "[service.release]\nsteps = [{{ share = \"1%\", hold = \"20s\" }}, {{ share = \"25%\", hold = \
         \"20s\" }}]\n[service.release.judge]\non_inconclusive = \"{on_inconclusive}\"\n"
    );
    let mut world = World::new(site);
    world.start("s0", false).expect("started");
    world
}

fn says(world: &mut World, opinion: Opinion) {
    let run = world.state().services["s0"].position.run.clone();
    let round = run.expect("under way").round;
    let event = Event::Judged { round, opinion };
    world.steer("s0", &event).expect("heard");
}

#[test]
fn a_verdict_is_told_once_a_step_with_its_sentence() {
    let mut world = judged("hold");
    let unsound = || Opinion::Unsound("clients of `p0` differ".to_owned());
    for opinion in [
        Opinion::NoHarm,
        unsound(),
        Opinion::CantTell("few".to_owned()),
        unsound(),
        Opinion::NoWorse,
        Opinion::NoHarm,
        Opinion::NoWorse,
    ] {
        says(&mut world, opinion);
    }
    world.restart().expect("started again");
    says(&mut world, Opinion::NoWorse);
    world.steer("s0", &PROMOTE).expect("25%");
    says(&mut world, Opinion::Harm("resets: 9 of 10".to_owned()));
    let expected = [
        "verdict 1 unsound: clients of `p0` differ",
        "verdict 1 no-worse: the judge has found the candidate no worse",
        "continued 1 : the daemon has started",
        "step 2 : promote",
        "verdict 2 harm: resets: 9 of 10",
        "aborted - : resets: 9 of 10",
    ];
    assert_eq!(since(&mut world, 1), expected);
}

#[test]
fn a_step_that_lasts_longer_and_one_that_waits_for_evidence_are_told() {
    let mut world = judged("hold");
    seconds(&mut world, 19);
    assert_eq!(since(&mut world, 1), [""; 0]);
    seconds(&mut world, 41);
    let told = since(&mut world, 1);
    assert_eq!(told.len(), 2, "{told:?}");
    let doubt = "the judge can't tell: it has seen 0 clients of `p1` in this step, and needs 100; ";
    assert_eq!(
        told[0],
        format!("extended 1 : {doubt}the step lasts another 20s")
    );
    let orders = "let it go on with `serin promote s0`, or end it with `serin abort s0`";
    assert_eq!(told[1], format!("awaits-evidence 1 : {doubt}{orders}"));
}

#[test]
fn a_log_that_can_not_be_written_holds_nothing_up() {
    let mut world = world();
    fs::create_dir(world.directory().join("audit.jsonl")).expect("in its place");
    world.start("s0", false).expect("started");
    seconds(&mut world, 20);
    assert_eq!(world.record("s0").share_ppm, 10_000);
}
