//! Audiences that later steps name: staff, then testers, then a share, then partners.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lb_common::address::Address;
use lb_userspace::{control::node, journal::Happened, release::engine::Event};

use super::{PROMOTE, assert_whole, at, over, place, seconds};
use crate::{
    site::{Door, Site},
    world::World,
};

/// More writes than any transition takes.
const MANY: usize = 100;

/// A client of each audience, by its name; shares are of a millionth, so that none gets it by chance.
const CLIENTS: [(&str, [u8; 4]); 3] = [
    ("staff", [198, 51, 100, 1]),
    ("testers", [198, 51, 100, 65]),
    ("partners", [198, 51, 100, 129]),
];

fn site() -> Site {
    let mut site = Site::new(&[&[2, 2], &[1, 1]]);
    let audiences = CLIENTS.map(|(name, [a, b, c, d])| {
        format!(
            "[[service.audience]]\nname = \"{name}\"\npool = \"candidate\"\nsources = \
             [\"{a}.{b}.{c}.{}/26\"]\n",
            d - 1
        )
    });
    site.services[0].tables = format!(
        "{}[service.release]\nsteps = [{{ audience = \"staff\", hold = \"4s\" }}, {{ audience = \
         \"testers\", hold = \"4s\" }}, {{ share = \"0.0001%\", hold = \"4s\" }}, {{ audience = \
         \"partners\", hold = \"4s\" }}, {{ share = \"0.0002%\", hold = \"4s\", approve = true }}]\n",
        audiences.concat()
    );
    site
}

fn world() -> World {
    World::new(site())
}

/// The audiences whose clients new connections send to the candidate.
fn shown(world: &mut World) -> Vec<&'static str> {
    let node = node(world.control().config());
    let (image, vip) = (world.image(), Door::V4.endpoint(0));
    let of_candidate = |id: u16| {
        let backend = &world.state().services["s0"].backends[&id];
        backend.pool == "p1"
    };
    let gets = |client: [u8; 4]| {
        let choice = image.choose(&node, &vip, Address::v4(client), [1, 1]);
        of_candidate(choice.expect("the image is whole").current)
    };
    let audiences = CLIENTS.iter().filter(|(_, client)| gets(*client));
    audiences.map(|(name, _)| *name).collect()
}

/// Those of which `serin status` says that they don't see it yet.
fn hidden(world: &mut World) -> Vec<String> {
    let audiences = world.status("s0").audiences.into_iter();
    let hidden = audiences.filter(|audience| audience.hidden);
    hidden.map(|audience| audience.name).collect()
}

#[test]
fn each_audience_gets_the_candidate_at_its_step_and_not_before() {
    let mut world = world();
    assert_eq!(shown(&mut world), [""; 0]);
    world.start("s0", false).expect("started");
    for (step, share_ppm, expected) in [
        (1, 0, &["staff"][..]),
        (2, 0, &["staff", "testers"]),
        (3, 1, &["staff", "testers"]),
        (4, 1, &["staff", "testers", "partners"]),
        (5, 2, &["staff", "testers", "partners"]),
    ] {
        assert_eq!(place(&mut world), at(step, "holding", share_ppm));
        assert_eq!(shown(&mut world), expected, "at step {step}");
        let all = hidden(&mut world).len() + expected.len();
        assert_eq!(all, CLIENTS.len(), "at step {step}");
        seconds(&mut world, 4);
    }
    world.steer("s0", &PROMOTE).expect("approved");
    assert_eq!(place(&mut world), over("promoted"));
    assert_eq!(hidden(&mut world), [""; 0]);
    assert_whole(&mut world);
}

#[test]
fn a_step_to_an_audience_is_one_store() {
    let mut world = world();
    world.start("s0", false).expect("started");
    for step in 2..=4 {
        let epoch = world.record("s0").epoch;
        world.steer("s0", &PROMOTE).expect("the next");
        assert_eq!(world.record("s0").epoch, epoch + 1, "step {step}");
    }
}

#[test]
fn a_restart_an_edit_and_an_abort_show_the_candidate_to_nobody_else() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.restart().expect("up again");
    assert_eq!(shown(&mut world), ["staff"]);
    let mut wider = site();
    wider.services[1].pools[0].backends[0].weight = 7;
    world.apply(wider).expect("it touches no release");
    assert_eq!(shown(&mut world), ["staff"]);

    let epoch = world.record("s0").epoch;
    world.abort("s0").expect("aborted");
    assert_eq!(world.record("s0").epoch, epoch + 1, "one store");
    assert_eq!(shown(&mut world), [""; 0]);
    world.restart().expect("up again");
    assert_eq!(shown(&mut world), [""; 0]);
    world.steer("s0", &Event::Retry).expect("again");
    assert_eq!(
        (place(&mut world).0, shown(&mut world)),
        (Some(1), vec!["staff"])
    );
    seconds(&mut world, 4);
    assert_eq!(shown(&mut world), ["staff", "testers"]);
    world.start("s0", true).expect("begun anew");
    assert_eq!(
        shown(&mut world),
        ["staff"],
        "also of a release that replaces it"
    );
    assert_whole(&mut world);
}

#[test]
fn a_start_without_the_audience_of_a_later_step_holds_the_release_where_it_is() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.abandon();
    let tables = &mut world.site.services[0].tables;
    let to = |pool: &str| format!("name = \"partners\"\npool = \"{pool}\"");
    *tables = tables.replace(&to("candidate"), &to("active"));
    *tables = tables.replace("{ audience = \"partners\", hold = \"4s\" }, ", "");
    world.restart().expect("started");

    assert_eq!(place(&mut world), at(1, "paused", 0));
    let entries = world.control().entries(0, Some("s0")).expect("readable");
    let paused = entries.iter().find(|entry| entry.event == Happened::Paused);
    let cause = &paused.expect("told").cause;
    let expected = "the file has no audience `partners` any more";
    assert!(cause.starts_with(expected), "{cause}");
    seconds(&mut world, 100);
    assert_eq!(shown(&mut world), ["staff"]);
    assert_whole(&mut world);
}

#[test]
fn a_share_by_hand_shows_it_to_nobody_else_and_one_from_rest_to_all() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.share("s0", 1, None).expect("taken over");
    assert_eq!(shown(&mut world), ["staff"]);
    world.restart().expect("up again");
    assert_eq!(shown(&mut world), ["staff"]);
    world.rollback("s0").expect("back");
    assert_eq!(shown(&mut world), [""; 0]);
    world.share("s0", 0, None).expect("from rest");
    assert_eq!(shown(&mut world), ["staff", "testers", "partners"]);
    assert_whole(&mut world);
}

#[test]
fn an_audience_whose_step_is_passed_over_does_not_see_the_candidate() {
    let mut site = site();
    let tables = &mut site.services[0].tables;
    *tables = tables.replace("\"testers\", hold", "\"testers\", toggle = \"late\", hold");
    tables.push_str("[[toggle]]\nname = \"late\"\n");
    let mut world = World::new(site);
    world.start("s0", false).expect("started");
    seconds(&mut world, 4);
    assert_eq!(place(&mut world), at(3, "holding", 1));
    assert_eq!(shown(&mut world), ["staff"]);
    world.turn("late", true).expect("turned");
    assert_eq!(shown(&mut world), ["staff"], "the release has been there");
    assert_whole(&mut world);
}

#[test]
fn sessions_are_pinned_before_an_audience_gets_the_candidate() {
    let mut site = site();
    site.services[0].lines += "datagram = \"session\"\nidle = \"10s\"\n";
    let mut world = World::new(site);
    world.start("s0", false).expect("begun");
    assert!(world.status("s0").pending.is_some());
    seconds(&mut world, 13);
    assert_eq!(shown(&mut world), ["staff"]);
    seconds(&mut world, 5);
    assert_eq!(world.status("s0").pending.as_deref(), Some("the next step"));
    assert_eq!(shown(&mut world), ["staff"]);
    seconds(&mut world, 13);
    assert_eq!(shown(&mut world), ["staff", "testers"]);
    assert_whole(&mut world);
}

#[test]
fn an_audience_is_not_shown_a_candidate_that_can_not_serve() {
    let mut world = world();
    world.start("s0", false).expect("started");
    world.health("s0", &[(2, false), (3, false)]).expect("told");
    seconds(&mut world, 20);
    assert_eq!(place(&mut world).0, Some(1), "it waits");
    let refused = world.steer("s0", &PROMOTE).expect_err("nor by hand");
    assert!(
        refused
            .to_string()
            .contains("pool `p1`: all its backends are down"),
        "{refused}"
    );
    world.health("s0", &[(2, true), (3, true)]).expect("told");
    seconds(&mut world, 6);
    assert_eq!(shown(&mut world), ["staff", "testers"]);
}

/// A crash before each write of a step to an audience: what users see is what the step says that the
/// release is at.
#[test]
fn a_crash_at_any_write_leaves_the_audience_and_the_step_together() {
    let survives = |write: usize| {
        let mut world = world();
        world.start("s0", false).expect("started");
        {
            let mut edge = world.twin.edge();
            edge.begin(None);
            edge.crash_at = Some(write);
        }
        let crashed = catch_unwind(AssertUnwindSafe(|| seconds(&mut world, 4))).is_err();
        world.twin.edge().crash_at = None;
        if !crashed {
            return false;
        }
        world.abandon();
        world.restart().expect("up again");
        let expected = match place(&mut world).0 {
            Some(1) => vec!["staff"],
            Some(2) => vec!["staff", "testers"],
            other => panic!("at {other:?} after write {write}"),
        };
        assert_eq!(shown(&mut world), expected, "after write {write}");
        assert_whole(&mut world);
        true
    };
    let writes = (0..MANY).take_while(|&write| survives(write)).count();
    assert!((2..MANY).contains(&writes), "{writes} writes");
}
