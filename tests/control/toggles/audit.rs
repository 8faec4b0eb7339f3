//! What the log says of a turn.

use lb_userspace::journal::Actor;

use super::world;
use crate::world::World;

/// Service, object, before, after, who and why, of every turn.
fn told(world: &mut World) -> Vec<String> {
    let entries = world.control().entries(0, None).expect("readable");
    let turns = entries.iter().filter(|e| e.event.to_string() == "toggled");
    let told = turns.map(|e| {
        let [object, before, after] =
            [&e.object, &e.before, &e.after].map(|said| said.as_deref().unwrap_or("-"));
        format!(
            "{}: {object} {before} {after}, {}: {}",
            e.service, e.actor.name, e.cause
        )
    });
    told.collect()
}

#[test]
fn each_service_is_told_who_turned_what_and_why() {
    let mut world = world();
    let tick = world.tick();
    world.control().act_for(Actor::user(0));
    let turned = world.control().turn("preview", true, "the demo", tick);
    turned.expect("turned");
    world.control().act_for(Actor::daemon());
    world.turn("door", true).expect("turned");
    world.turn("idle", false).expect("turned");
    let expected = [
        "s0: preview off on, root: the demo",
        "s1: preview off on, root: the demo",
        "s0: door off on, serin: `toggle door on` by hand",
        ": idle on off, serin: `toggle idle off` by hand",
    ];
    assert_eq!(told(&mut world), expected);
    world.restart().expect("up again");
    assert_eq!(told(&mut world), expected, "once");

    let toggles = world.control().toggles();
    let names: Vec<_> = toggles.iter().map(|t| (&*t.toggle, t.on)).collect();
    assert_eq!(names, [("preview", true), ("door", true), ("idle", false)]);
    assert_eq!(toggles[0].by.as_ref().map(|by| &*by.name), Some("root"));
    assert_eq!(toggles[0].reason.as_deref(), Some("the demo"));
    assert!(toggles[0].since.is_some());
}
