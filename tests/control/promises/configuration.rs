//! Another configuration: what may change, what may not, and what a dry run tells.

use std::time::Duration;

use lb_userspace::config::Config;

use super::{assert_whole, changed, settle, two_pools};
use crate::{
    site::{Backend, Door, Site},
    world::{Behaviour, World},
};

#[test]
fn what_decides_where_live_connections_go_does_not_change_under_them() {
    for line in ["affinity = \"client\"", "forward = \"l2\""] {
        let mut world = two_pools();
        let other = changed(&world, |site| site.services[0].lines = line.to_owned());
        let error = world.apply(other).expect_err("fixed").to_string();
        let key = line.split(' ').next().expect("a word");
        assert!(
            error.contains(&format!("{key} can't change while the service runs")),
            "{error}"
        );
        assert_whole(&mut world);
    }
}

#[test]
fn a_number_of_a_removed_listener_is_not_given_out_while_pins_name_it() {
    let mut world = two_pools();
    world
        .cutover("s0", None)
        .expect("connections are pinned now");
    world.twin.edge().talk();
    let number = |world: &World| world.state().services["s0"].listeners.clone();
    let first = number(&world);
    let other = changed(&world, |site| {
        site.services[0].listeners = [Door::V4, Door::Second].into();
    });
    let back = changed(&world, |site| {
        site.services[0].listeners = [Door::V4, Door::V6].into();
    });
    world.apply(other).expect("one goes, one comes");
    world.apply(back).expect("and the other way");
    let v6 = "tcp://[2001:db8::]:443";
    assert_ne!(number(&world)[v6], first[v6]);
    settle(&mut world);
    assert!(world.state().retired.is_empty());
    assert_whole(&mut world);
}

#[test]
fn pins_of_a_removed_service_are_swept_although_nothing_else_is_due() {
    let mut world = World::new(Site::new(&[&[2, 2], &[1, 1]]));
    world
        .cutover("s0", None)
        .expect("connections are pinned now");
    world.twin.edge().talk();
    assert!(world.pins() > 0);
    let without = changed(&world, |site| {
        site.services.remove(0);
    });
    world.apply(without).expect("removed");
    world.pass(Duration::from_secs(2)).expect("tended");
    assert_eq!(world.pins(), 0);
    assert_eq!(world.tend().expect("tended"), None);
}

#[test]
fn the_backend_port_of_a_listener_does_not_change_under_live_connections() {
    let mut world = two_pools();
    let directory = world.directory().to_owned();
    let text = world
        .site
        .text(&directory)
        .replace(":443\"", ":443?to=8443\"");
    let config = Config::parse(&text).expect("a good file");
    let (view, tick) = (world.control().view().clone(), world.tick());
    let error = world
        .control()
        .apply(config, view, false, tick)
        .expect_err("fixed")
        .to_string();
    assert!(
        error.contains("listener `tcp://192.0.2.0:443?to=8443`: the backends' port can't"),
        "{error}"
    );
}

#[test]
fn a_server_changes_its_service_only_when_its_connections_have_ended() {
    let mut world = World::new(Site::new(&[&[2, 1], &[1, 1]]));
    let directory = world.directory().to_owned();
    let moved = changed(&world, |site| {
        site.services[0].pools[0].backends.remove(0);
    });
    let text = moved.text(&directory);
    // The server of s0's b0 becomes s1's b9.
    let more = "backends = [{ name = \"b9\", address = [\"10.0.0.1\", \"fd00::1\"], weight = 1 }, ";
    let at = text.rfind("backends = [").expect("a pool");
    let text = format!(
        "{}{}{}",
        &text[..at],
        more,
        &text[at + "backends = [".len()..]
    );
    let config = Config::parse(&text).expect("a good file");
    let (view, tick) = (world.control().view().clone(), world.tick());

    let apply = world
        .control()
        .apply(config.clone(), view.clone(), false, tick);
    let error = apply.expect_err("its replies would be s1's").to_string();
    assert!(
        error.contains("service `s0`: backend `b0` at 10.0.0.1:443 has left"),
        "{error}"
    );

    world.apply(moved).expect("it leaves s0");
    let apply = world
        .control()
        .apply(config.clone(), view.clone(), false, tick);
    assert!(apply.is_err(), "connections live");
    world.calm_down().expect("tended");
    let tick = world.tick();
    world
        .control()
        .apply(config, view, false, tick)
        .expect("it has left s0");
}

#[test]
fn a_dry_run_tells_the_writes_and_makes_none() {
    let mut world = two_pools();
    let without = changed(&world, |site| {
        site.services[0].pools[0].backends.remove(0);
    });
    let (behaviour, writes) = (Behaviour::of(&world.image()), world.writes());
    let state = world.state().clone();

    let told = world.offer(&without, true).expect("told");

    assert_eq!(
        (Behaviour::of(&world.image()), world.writes()),
        (behaviour, writes)
    );
    assert_eq!(*world.state(), state);
    let made = world.offer(&without, false).expect("made");
    assert_eq!(told, made);
    assert!(
        made.iter().any(|write| write.starts_with("store record")),
        "{made:?}"
    );
}

#[test]
fn what_can_not_change_while_the_data_plane_runs_is_refused_by_its_key() {
    let mut world = two_pools();
    let directory = world.directory().to_owned();
    for (key, from, to) in [
        (
            "node.hash_seed",
            "sixteen-or-longer",
            "another-secret-of-16",
        ),
        (
            "node.connections",
            "connections = 1024",
            "connections = 2048",
        ),
        ("node.pins", "serin-none", "serin-other"),
        ("node.state", "state.json", "other.json"),
        ("node.attach", "[node]", "[node]\nattach = \"generic\""),
        (
            "node.client_prefix",
            "[node]",
            "[node]\nclient_prefix = { v4 = 24 }",
        ),
        ("node.answer_echo", "[node]", "[node]\nanswer_echo = false"),
        (
            "node.encap",
            "[node]",
            "[node]\nencap = { gue_port = 6081 }",
        ),
        (
            "node.too_big_per_second",
            "[node]",
            "[node]\ntoo_big_per_second = 7",
        ),
        ("api.socket", "serin.sock", "other.sock"),
    ] {
        let text = world.site.text(&directory).replacen(from, to, 1);
        let config = Config::parse(&text).expect("a good file");
        let (view, tick) = (world.control().view().clone(), world.tick());
        let error = world
            .control()
            .apply(config, view, false, tick)
            .expect_err(key)
            .to_string();
        assert!(error.starts_with(&format!("{key} can't change")), "{error}");
    }
}

#[test]
fn a_view_from_before_an_apply_does_not_forget_the_new_backends_next_hop() {
    let mut world = two_pools();
    let stale = world.control().view().clone();
    let backend = Backend {
        number: 7,
        place: 0,
        weight: 100,
    };
    let more = changed(&world, |site| {
        site.services[0].pools[0].backends.push(backend);
    });
    world.apply(more).expect("added");
    let before = world.image();

    world.control().follow(stale).expect("followed");

    assert_eq!(world.image(), before);
}
