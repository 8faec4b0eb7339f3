//! What the audit log says of a release.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use lb_userspace::{journal::Actor, release::engine::Event, state::Admin};

use super::{PROMOTE, seconds, world};
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

#[test]
fn a_log_that_can_not_be_written_holds_nothing_up() {
    let mut world = world();
    std::fs::create_dir(world.directory().join("audit.jsonl")).expect("in its place");
    world.start("s0", false).expect("started");
    seconds(&mut world, 20);
    assert_eq!(world.record("s0").share_ppm, 10_000);
}
