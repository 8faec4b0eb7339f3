//! What an order to turn a toggle does.

use std::time::Duration;

use lb_userspace::dataplane::Write;

use super::{assert_whole, looked_at, site, world};
use crate::{site::Door, world::is_at_rest};

#[test]
fn an_audience_is_looked_at_while_its_toggle_is_on_and_no_connection_breaks() {
    let mut world = world();
    assert_eq!(looked_at(&world), [0, 0]);
    for on in [true, false, true] {
        let turned = world.turn("preview", on).expect("turned");
        assert!(turned.changed && turned.stored_at_ns.is_some());
        assert_eq!(turned.services, ["s0", "s1"]);
        assert_eq!(looked_at(&world), [usize::from(on); 2]);
        world.pass(Duration::from_secs(3)).expect("tended");
    }
    assert_whole(&mut world);
    world.calm_down().expect("tended");
    assert!(is_at_rest(&world.image()));
}

#[test]
fn the_same_turn_again_stores_and_tells_nothing() {
    let mut world = world();
    world.turn("preview", true).expect("turned");
    let (image, state) = (world.image(), world.state().clone());
    let again = world.turn("preview", true).expect("it is on already");
    assert!(!again.changed && again.on && again.stored_at_ns.is_none());
    assert_eq!(world.image(), image);
    assert_eq!(world.state(), &state);
}

#[test]
fn a_listener_comes_and_goes_by_one_write() {
    let mut world = world();
    let door = Door::Guarded.endpoint(0);
    assert!(!world.image().listeners.contains_key(&door));
    for on in [true, false] {
        let before = world.writes();
        world.turn("door", on).expect("turned");
        let writes = world.twin.edge().memory.writes[before..].to_vec();
        match &writes[..] {
            [Write::SetListener(vip, _)] if on => assert_eq!(*vip, door),
            [Write::RemoveListener(vip)] if !on => assert_eq!(*vip, door),
            others => panic!("{others:?}"),
        }
    }
    assert_whole(&mut world);
}

#[test]
fn a_toggle_that_guards_nothing_is_turned_all_the_same() {
    let mut world = world();
    let image = world.image();
    let turned = world.turn("idle", false).expect("turned");
    assert!(turned.changed && turned.services.is_empty());
    assert_eq!(world.image(), image);
    let unknown = world.turn("idel", false).expect_err("no such toggle");
    let expected = "toggle `idel`: not configured; there are `door`, `idle`, `preview`";
    assert_eq!(unknown.to_string(), expected);
}

#[test]
fn a_restart_and_another_configuration_keep_what_was_turned() {
    let mut world = world();
    world.turn("preview", true).expect("turned");
    world.turn("idle", false).expect("turned");
    world.restart().expect("up again");
    assert_eq!(looked_at(&world), [1, 1]);

    let mut site = site();
    site.services[0].pools[0].backends[0].weight = 7;
    site.services[1].tables = site.services[1].tables.replace("\"idle\"", "\"other\"");
    world.apply(site).expect("applied");
    assert_eq!(looked_at(&world), [1, 1]);
    let toggles = &world.state().toggles;
    assert!(!toggles.contains_key("idle"), "it has left the file");
    assert!(toggles["other"].on && toggles["other"].turned.is_none());
    world.apply(super::site()).expect("and back");
    assert!(world.state().toggles["idle"].on, "as the file has it");
    assert_whole(&mut world);
}

#[test]
fn a_host_that_starts_anew_keeps_what_was_turned() {
    let mut world = world();
    world.turn("preview", true).expect("turned");
    world.turn("door", true).expect("turned");
    world.reboot();
    world.restart().expect("up again");
    assert!(
        world
            .image()
            .listeners
            .contains_key(&Door::Guarded.endpoint(0))
    );
    assert_eq!(looked_at(&world), [1, 1]);
    assert_whole(&mut world);
}

#[test]
fn turns_among_other_orders_break_nothing() {
    let mut world = world();
    world.turn("preview", true).expect("turned");
    world.share("s0", 250_000, None).expect("25%");
    world.pass(Duration::from_secs(2)).expect("tended");
    world.turn("preview", false).expect("turned");
    world.cutover("s0", None).expect("cut over");
    world.turn("preview", true).expect("turned");
    world.pass(Duration::from_secs(2)).expect("tended");
    world.rollback("s0").expect("back");
    world.share("s0", 10_000, None).expect("1%");
    world.turn("preview", false).expect("turned");
    world.pass(Duration::from_secs(20)).expect("tended");
    assert_whole(&mut world);
    world.calm_down().expect("tended");
    assert!(is_at_rest(&world.image()));
}
