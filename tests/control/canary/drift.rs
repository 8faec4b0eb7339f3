//! Another configuration while a release is under way.

use lb_userspace::{
    control::Ask,
    journal::Happened,
    release::engine::{Event, Outcome},
};

use super::{PROMOTE, assert_whole, at, over, place, release, seconds, world};
use crate::{
    site::{Backend, Site},
    world::World,
};

/// At 1%.
fn under_way() -> World {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.steer("s0", &PROMOTE).expect("1%");
    world
}

fn changed(world: &World, change: impl FnOnce(&mut Site)) -> Site {
    let mut site = world.site.clone();
    change(&mut site);
    site
}

fn refusal(change: fn(&mut Site)) -> String {
    let mut world = under_way();
    let (site, writes) = (changed(&world, change), world.writes());
    let refused = world
        .apply(site.clone())
        .expect_err("it touches the release");
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    assert_eq!(world.writes(), writes, "all or nothing");
    assert_whole(&mut world);

    // Once it is over, the same is nobody's business.
    world.abort("s0").expect("aborted");
    seconds(&mut world, 20);
    world.apply(site).expect("applied");
    refused.to_string()
}

/// An edit of the file.
type Edit = fn(&mut Site);

fn replace_tables(site: &mut Site, from: &str, to: &str) {
    let tables = &mut site.services[0].tables;
    assert!(tables.contains(from));
    *tables = tables.replace(from, to);
}

#[test]
fn what_would_change_the_release_is_refused_with_its_place_and_the_remedy() {
    let cases: [(Edit, &str); 6] = [
        (
            |site| drop(site.services.remove(0)),
            "the service would be removed",
        ),
        (
            |site| "p9".clone_into(&mut site.services[0].pools[1].name),
            "its pool `p1` would be removed",
        ),
        (
            |site| {
                site.services[0].pools[1]
                    .backends
                    .iter_mut()
                    .for_each(|b| b.place = 1);
            },
            "no backend that serves in pool `p1` would be left of those that do now",
        ),
        (
            |site| replace_tables(site, "198.51.100.0/24", "198.51.0.0/16"),
            "the audiences that get its candidate would be others",
        ),
        (
            |site| {
                let before = "[[service.audience]]\nname = \"some\"\nsources = [\"10.0.0.0/8\"]\npool = \"active\"\n";
                site.services[0].tables.insert_str(0, before);
            },
            "the audiences that get its candidate would be others",
        ),
        (
            |site| {
                let steps = site.services[0].tables.find("steps").expect("there");
                site.services[0].tables.truncate(steps);
                site.services[0]
                    .tables
                    .push_str("strategy = \"blue-green\"\n");
            },
            "its strategy would be another",
        ),
    ];
    for (change, what) in cases {
        let refused = refusal(change);
        let expected = format!(
            "service `s0`: its release of pool `p1` is at step 2 of 3, and {what}; nothing of the \
             file was applied: leave that as it is until the release is over, or end it first \
             (`serin abort s0`); `serin apply --dry-run` tells whether a file may be applied"
        );
        assert_eq!(refused, expected);
    }
}

#[test]
fn the_active_pool_may_not_be_replaced_under_a_release_either() {
    let refused = refusal(|site| {
        let backends = site.services[0].pools[0].backends.iter_mut();
        backends.for_each(|backend| backend.place = 1);
    });
    assert!(refused.contains("serves in pool `p0`"), "{refused}");
}

#[test]
fn what_does_not_touch_the_release_is_applied() {
    let mut world = under_way();
    let more = changed(&world, |site| {
        let pool = &mut site.services[0].pools[1];
        pool.backends[0].weight = 7;
        pool.backends.push(Backend {
            number: 9,
            place: 0,
            weight: 1,
        });
        site.services[1].drain_s = 9;
    });
    world.apply(more).expect("a weight and a backend more");
    let less = changed(&world, |site| {
        site.services[0].pools[1].backends.remove(0);
    });
    world.apply(less).expect("one of several backends less");
    let behind = changed(&world, |site| {
        let after = site.services[0]
            .tables
            .find("[service.release]")
            .expect("there");
        let some = "[[service.audience]]\nname = \"some\"\nsources = [\"10.0.0.0/8\"]\npool = \"active\"\n";
        site.services[0].tables.insert_str(after, some);
    });
    world
        .apply(behind)
        .expect("an audience that gets nothing of it");
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    assert_whole(&mut world);
}

#[test]
fn an_edit_of_steps_is_for_the_next_release_and_is_said() {
    let mut world = under_way();
    let site = changed(&world, |site| replace_tables(site, "25%", "50%"));
    let config = site.config(world.directory()).expect("a good site");
    let remarks = world.control().drift_remarks(&config);
    assert_eq!(
        remarks,
        [
            "service `s0`: its release is at step 2 of 3, and goes on by the steps and gates that it \
          began with; the edited ones are for the next"
        ]
    );
    world.apply(site).expect("applied");
    seconds(&mut world, 30);
    assert_eq!(place(&mut world), at(3, "holding", 250_000));
}

/// A canary that is promoted, and watched by a gate for longer than the old pool drains.
fn baking() -> (World, Ask) {
    let mut site = world().site.clone();
    replace_tables(&mut site, "steps =", "bake = \"1h\"\nsteps =");
    site.services[0].tables.push_str(
        "[[service.release.gate]]\nname = \"errors\"\nafter = \"promote\"\nexec = [\"/x\"]\n",
    );
    let mut world = World::new(site);
    world.start("s0", false).expect("started");
    let full = Event::Promote {
        full: true,
        expect_step: None,
    };
    world.steer("s0", &full).expect("promoted");
    world.calm_down().expect("drained");
    let ask = world.control().due_gates().remove(0);
    (world, ask)
}

fn without_old_pool(world: &World) -> Site {
    changed(world, |site| {
        "p9".clone_into(&mut site.services[0].pools[0].name);
        site.services[0].lines.push_str("active = \"p1\"\n");
    })
}

#[test]
fn while_a_release_bakes_the_pool_that_it_may_go_back_to_stays() {
    let (mut world, ask) = baking();
    let elsewhere = changed(&world, |site| {
        let backends = site.services[0].pools[0].backends.iter_mut();
        backends.for_each(|backend| backend.place = 1);
    });
    for (site, what) in [
        (without_old_pool(&world), "its pool `p0` would be removed"),
        (
            elsewhere,
            "no backend that serves in pool `p0` would be left",
        ),
    ] {
        let refused = world.apply(site).expect_err("the way back").to_string();
        assert!(refused.contains(what), "{refused}");
        let remedy = "end it first (`serin promote s0`, or back with `serin rollback s0`)";
        assert!(refused.contains(remedy), "{refused}");
    }
    let tick = world.tick();
    let failed = Outcome::Failed("7 errors".to_owned());
    world
        .control()
        .answers(vec![(ask, failed)], tick)
        .expect("taken");
    assert_eq!(place(&mut world), over("rolled-back"));
    assert_eq!(world.status("s0").active, "p0");
}

#[test]
fn once_the_bake_is_over_the_old_pool_may_go() {
    let (mut world, _) = baking();
    world.steer("s0", &PROMOTE).expect("baked");
    let site = without_old_pool(&world);
    world.apply(site).expect("applied");
}

#[test]
fn a_start_without_the_pool_that_a_release_may_go_back_to_ends_its_bake() {
    let (mut world, _) = baking();
    world.abandon();
    world.site = without_old_pool(&world);
    world.restart().expect("started");
    assert_eq!(place(&mut world), over("promoted"));
    let cause = "the file has no pool `p0` any more, to which its release could be taken back; it was \
                 promoted and in its bake time";
    assert_eq!(last_event(&mut world), (Happened::Baked, cause.to_owned()));
    seconds(&mut world, 100);
    assert_eq!(world.status("s0").active, "p1");
    assert_whole(&mut world);
}

fn last_event(world: &mut World) -> (Happened, String) {
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let last = entries.last().expect("an entry");
    (last.event, last.cause.clone())
}

#[test]
fn a_start_without_the_candidate_ends_its_release_and_drains_its_users() {
    let mut world = under_way();
    world.twin.edge().talk();
    world.abandon();
    let file = world.site.clone();
    "p9".clone_into(&mut world.site.services[0].pools[1].name);
    world.restart().expect("started, with the other file");

    assert_eq!(place(&mut world), over("aborted"));
    let cause = "the file has no pool `p1` any more; its release was at step 2 of 3";
    assert_eq!(
        last_event(&mut world),
        (Happened::Aborted, cause.to_owned())
    );
    seconds(&mut world, 60);
    assert_whole(&mut world);
    world.calm_down().expect("drained");
    let again = world.site.clone();
    world.apply(again).expect("and the pool goes");
    assert!(!world.state().services["s0"].pools.contains_key("p1"));
    world.apply(file).expect("back");
}

#[test]
fn a_start_without_the_audience_of_a_step_holds_the_release() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.abandon();
    replace_tables(&mut world.site, "name = \"staff\"", "name = \"crew\"");
    replace_tables(
        &mut world.site,
        "audience = \"staff\"",
        "audience = \"crew\"",
    );
    world.restart().expect("started");

    assert_eq!(place(&mut world), at(1, "paused", 0));
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let paused = entries.iter().find(|entry| entry.event == Happened::Paused);
    let cause = &paused.expect("told").cause;
    assert!(
        cause.contains("no audience `staff`") && cause.contains("serin resume s0"),
        "{cause}"
    );
    seconds(&mut world, 100);
    assert_eq!(release(&mut world).state, "paused");
}

#[test]
fn a_start_without_the_service_of_a_release_says_so() {
    let mut world = under_way();
    world.abandon();
    world.site.services.remove(0);
    world.restart().expect("started");
    let entries = world.control().entries(0, None).expect("readable");
    let last = entries.last().expect("an entry");
    let cause = "the file has no such service any more; its release was at step 2 of 3";
    assert_eq!(
        (last.service.as_str(), last.event, last.cause.as_str()),
        ("s0", Happened::Aborted, cause)
    );
}
