//! What each order does to a release.

use lb_userspace::release::engine::Event;

use super::{PROMOTE, assert_whole, at, over, place, pools, release, seconds, site, world};
use crate::world::{World, is_at_rest};

/// Also where the first step moves nobody, or comes later.
#[test]
fn a_release_of_the_pool_that_all_users_have_is_refused() {
    let mut world = world();
    for at_ms in [None, Some(world.at_ms(60))] {
        let tick = world.tick();
        let refused = world
            .control()
            .start_release("s0", Some("p0"), false, at_ms, tick);
        let refused = refused.expect_err("all users have it").to_string();
        assert!(refused.contains("`p0`"), "{refused}");
        assert_eq!(world.status("s0").release, None);
    }
    world.start("s0", false).expect("begun");
    world.abort("s0").expect("aborted");
    world.cutover("s0", Some("p1")).expect("by hand");
    world
        .steer("s0", &Event::Retry)
        .expect_err("all users have it");
    assert_whole(&mut world);
}

#[test]
fn a_release_goes_from_an_audience_through_its_shares_to_promotion() {
    let mut world = world();
    world.start("s0", false).expect("started");
    assert_eq!(place(&mut world), at(1, "holding", 0));
    assert_eq!(pools(&world), (0, 1), "the audience gets the candidate");
    let told = release(&mut world);
    assert_eq!(
        (told.audience.as_deref(), told.steps, told.left_s),
        (Some("staff"), 3, Some(20))
    );
    seconds(&mut world, 19);
    assert_eq!(place(&mut world), at(1, "holding", 0));
    assert_eq!(release(&mut world).left_s, Some(1));

    seconds(&mut world, 1);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    seconds(&mut world, 29);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    seconds(&mut world, 1);
    assert_eq!(place(&mut world), at(3, "holding", 250_000));
    seconds(&mut world, 60);
    assert_eq!(place(&mut world), at(3, "awaits-approval", 250_000));

    world.steer("s0", &PROMOTE).expect("approved");
    assert_eq!(place(&mut world), over("promoted"));
    assert_eq!(world.status("s0").active, "p1");
    seconds(&mut world, 8);
    world.calm_down().expect("tended");
    assert!(is_at_rest(&world.image()), "the old pool has drained");
    assert_whole(&mut world);
}

#[test]
fn a_pause_stops_the_hold_and_a_resumption_lets_it_go_on() {
    let mut world = world();
    world.start("s0", false).expect("started");
    seconds(&mut world, 15);
    world.steer("s0", &Event::Pause).expect("paused");
    seconds(&mut world, 60);
    assert_eq!(place(&mut world), at(1, "paused", 0));
    assert_eq!(release(&mut world).left_s, Some(5));

    world.steer("s0", &Event::Resume).expect("resumed");
    seconds(&mut world, 4);
    assert_eq!(place(&mut world), at(1, "holding", 0));
    seconds(&mut world, 1);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    assert_whole(&mut world);
}

#[test]
fn promoting_twice_from_one_step_advances_once() {
    let mut world = world();
    world.start("s0", false).expect("started");
    let click = Event::Promote {
        full: false,
        expect_step: Some(1),
    };
    world.steer("s0", &click).expect("the first click");
    let again = world.steer("s0", &click).expect_err("the second");

    assert_eq!(
        again.to_string(),
        "service `s0`: the release is at step 2, not at step 1; look at it with `serin status`"
    );
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    let full = Event::Promote {
        full: true,
        expect_step: Some(2),
    };
    world.steer("s0", &full).expect("to the end");
    assert_eq!(place(&mut world), over("promoted"));
}

#[test]
fn an_abort_takes_all_back_for_good_and_a_retry_draws_the_same_users() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.steer("s0", &PROMOTE).expect("1%");
    let salt = world.record("s0").salt;
    world.abort("s0").expect("aborted");
    assert_eq!(place(&mut world), over("aborted"));
    assert_eq!(release(&mut world).reason.as_deref(), Some("enough"));
    let (active, candidate) = pools(&world);
    assert_eq!((active, candidate), (0, 0), "audiences are back as well");

    seconds(&mut world, 60);
    assert_eq!(place(&mut world), over("aborted"));
    for event in [PROMOTE, Event::Pause, Event::Resume] {
        let refused = world.steer("s0", &event).expect_err("it is over");
        assert!(refused.to_string().contains("it was aborted"), "{refused}");
    }
    world.steer("s0", &Event::Retry).expect("again");
    assert_eq!(place(&mut world), at(1, "holding", 0));
    seconds(&mut world, 20);
    assert_eq!(
        (world.record("s0").salt, place(&mut world).2),
        (salt, 10_000)
    );
    assert_whole(&mut world);
}

#[test]
fn every_release_draws_other_users() {
    let mut world = world();
    let mut salts = Vec::new();
    for _ in 0..3 {
        world.start("s0", false).expect("started");
        seconds(&mut world, 25);
        assert_eq!(place(&mut world), at(2, "holding", 10_000));
        salts.push(world.record("s0").salt);
        world.abort("s0").expect("aborted");
    }
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), 3);
    assert_whole(&mut world);
}

#[test]
fn a_start_in_the_middle_is_refused_and_with_replace_begins_anew() {
    let mut world = world();
    world.start("s0", false).expect("started");
    seconds(&mut world, 25);
    let salt = world.record("s0").salt;
    let refused = world.start("s0", false).expect_err("under way");
    assert_eq!(
        refused.to_string(),
        "service `s0`: a release is at step 2; abort it first, or start with --replace"
    );
    assert_eq!(place(&mut world), at(2, "holding", 10_000));

    let epoch = world.record("s0").epoch;
    world.start("s0", true).expect("replaced");
    assert_eq!(place(&mut world), at(1, "holding", 0));
    let record = world.record("s0");
    assert_eq!(record.epoch, epoch + 1, "one store");
    assert_ne!(record.salt, salt);
    assert_whole(&mut world);
}

#[test]
fn a_share_by_hand_takes_the_release_over_and_says_so() {
    let mut world = world();
    world.start("s0", false).expect("started");
    let done = world.share("s0", 400_000, None).expect("by hand");
    assert_eq!(done.notes.len(), 1);
    assert!(
        done.notes[0].contains("the release is yours now"),
        "{done:?}"
    );

    seconds(&mut world, 60);
    let taken = (None, "taken-over".to_owned(), 400_000);
    assert_eq!(place(&mut world), taken);
    assert!(world.steer("s0", &PROMOTE).is_err() && world.abort("s0").is_err());
    let refused = world.start("s0", false).expect_err("users are out");
    assert!(
        refused.to_string().contains("given users by hand"),
        "{refused}"
    );
    world.rollback("s0").expect("back");
    let again = world.start("s0", false).expect("started");
    assert_eq!(again.notes, Vec::<String>::new());
    assert_whole(&mut world);
}

#[test]
fn a_rollback_by_hand_aborts_and_a_cutover_takes_over() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.rollback("s0").expect("back");
    assert_eq!(place(&mut world), over("aborted"));
    world.steer("s0", &Event::Retry).expect("again");
    world.cutover("s0", Some("p1")).expect("by hand");
    assert_eq!(place(&mut world), over("taken-over"));
    assert_eq!(world.status("s0").active, "p1");
    assert_whole(&mut world);
}

#[test]
fn a_cutover_out_of_a_canarys_bake_is_a_rollback_in_log_and_status() {
    for together in [false, true] {
        let mut site = site();
        let tables = &mut site.services[0].tables;
        *tables = tables.replace("steps", "bake = \"1h\"\nsteps");
        let mut world = World::new(site);
        world.start("s0", false).expect("started");
        let full = Event::Promote {
            full: true,
            expect_step: None,
        };
        world.steer("s0", &full).expect("promoted");
        if together {
            world.cut_over_together(&["s0", "s1"]).expect("by hand");
        } else {
            let done = world.cutover("s0", Some("p0")).expect("by hand");
            assert_eq!(done.notes, Vec::<String>::new(), "it is over, and nobody's");
        }
        assert_eq!(place(&mut world), over("rolled-back"));
        let entries = world.control().entries(0, Some("s0")).expect("readable");
        let last = entries.last().expect("an entry");
        assert_eq!(last.event.to_string(), "rolled-back", "{}", last.cause);
    }
}

#[test]
fn a_release_past_its_deadline_is_aborted() {
    let mut site = site();
    let service = &mut site.services[0];
    service.tables = service.tables.replace("steps", "deadline = \"90s\"\nsteps");
    let mut world = World::new(site);
    world.start("s0", false).expect("started");
    seconds(&mut world, 89);
    assert_eq!(place(&mut world), at(3, "awaits-approval", 250_000));
    assert_eq!(release(&mut world).deadline_left_s, Some(1));

    seconds(&mut world, 1);
    assert_eq!(place(&mut world), over("aborted"));
    let reason = release(&mut world).reason;
    assert_eq!(reason.as_deref(), Some("the release's deadline has passed"));
    assert_whole(&mut world);
}

#[test]
fn a_release_waits_for_a_candidate_that_can_serve() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.health("s0", &[(2, false), (3, false)]).expect("told");
    seconds(&mut world, 100);
    assert_eq!(place(&mut world), at(1, "awaits-backends", 0));

    world.health("s0", &[(2, true), (3, true)]).expect("told");
    seconds(&mut world, 19);
    assert_eq!(place(&mut world), at(1, "holding", 0), "it is held anew");
    seconds(&mut world, 1);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    assert_whole(&mut world);
}

#[test]
fn a_start_without_a_release_or_a_servable_candidate_is_refused() {
    let mut world = world();
    let refused = world.start("s1", false).expect_err("no release");
    assert!(
        refused
            .to_string()
            .starts_with("service `s1`: no release is configured; add [service.release]"),
        "{refused}"
    );
    world.health("s0", &[(2, false), (3, false)]).expect("told");
    let refused = world.start("s0", false).expect_err("dead");
    assert!(
        refused
            .to_string()
            .contains("pool `p1`: all its backends are down"),
        "{refused}"
    );
    assert_eq!(world.status("s0").release, None);
    for event in [PROMOTE, Event::Pause, Event::Retry] {
        let refused = world.steer("s0", &event).expect_err("nothing to steer");
        assert!(refused.to_string().contains("no release has been started"));
    }
}

#[test]
fn an_edit_of_the_steps_does_not_move_a_release_that_is_under_way() {
    let mut world = world();
    world.start("s0", false).expect("started");
    let mut edited = world.site.clone();
    let tables = &edited.services[0].tables;
    edited.services[0].tables = tables.replace("\"1%\"", "\"9%\"");
    world.apply(edited).expect("allowed");
    seconds(&mut world, 20);
    assert_eq!(place(&mut world), at(2, "holding", 10_000));
    world.start("s0", true).expect("replaced");
    seconds(&mut world, 20);
    assert_eq!(place(&mut world), at(2, "holding", 90_000));
    assert_whole(&mut world);
}

#[test]
fn the_audience_that_a_release_is_shown_to_can_not_be_taken_away() {
    let mut world = world();
    world.start("s0", false).expect("started");
    let mut edited = world.site.clone();
    let tables = &edited.services[0].tables;
    let from = tables.find("[service.release]").expect("there");
    edited.services[0].tables = tables[from..].replace("audience = \"staff\"", "share = \"1%\"");
    let refused = world.apply(edited.clone()).expect_err("it is in use");
    let expected = "and the audiences that get its candidate would be others";
    assert!(refused.to_string().contains(expected), "{refused}");
    world.abort("s0").expect("aborted");
    world.apply(edited).expect("the release is over");
    assert_eq!(place(&mut world), over("aborted"));
    assert_whole(&mut world);
}
