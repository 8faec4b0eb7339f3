//! `datagram = "session"`: an order waits until the sessions that are there have been pinned; and what
//! becomes of connections that outlast a drain.

use std::time::Duration;

use lb_common::{
    flow::{FlowKey, Pin},
    release::Record,
};

use lb_userspace::{
    control::ControlError,
    journal::{Actor, Happened},
};

use super::{FIVE, assert_whole, changed, settle};
use crate::{site::Site, world::World};

/// Longer than `idle`, in ticks that begin anywhere.
const IDLE: Duration = Duration::from_secs(12);

fn sessions() -> World {
    let mut site = Site::new(&[&[2, 2]]);
    site.services[0].lines += "datagram = \"session\"\nidle = \"10s\"\n";
    World::new(site)
}

#[test]
fn an_order_waits_for_the_idle_time_and_then_comes_by_itself() {
    let mut world = sessions();

    let done = world.share("s0", FIVE, None).expect("begun");

    assert!(done.arming_s.is_some_and(|left| (10..13).contains(&left)));
    let record = world.record("s0");
    assert!(record.has(Record::ARMING | Record::SESSIONS));
    assert_eq!((record.share_ppm, record.touched_ppm), (0, FIVE));
    let status = world.status("s0");
    assert_eq!(status.pending.as_deref(), Some("share 50000ppm"));
    world.pass(Duration::from_secs(9)).expect("tended");
    assert_eq!(world.record("s0").share_ppm, 0, "too early");

    world.pass(Duration::from_secs(3)).expect("tended");

    let record = world.record("s0");
    assert!(record.has(Record::MOVING) && !record.has(Record::ARMING));
    assert_eq!(record.share_ppm, FIVE);
    let status = world.status("s0");
    let ended = status.ended.expect("it has ended");
    assert_eq!((status.pending, status.order), (None, None));
    assert_eq!((Some(ended.number), ended.failure), (done.order, None));
    assert_whole(&mut world);
}

#[test]
fn a_daemon_that_dies_while_an_order_waits_carries_it_out_when_it_is_back() {
    for away in [
        Duration::ZERO,
        Duration::from_secs(5),
        Duration::from_mins(1),
    ] {
        let mut world = sessions();
        world.cutover("s0", None).expect("begun");
        world.pass(Duration::from_secs(3)).expect("tended");

        world.abandon();
        world.twin.edge().now += u64::try_from(away.as_nanos()).expect("a minute");
        world.restart().expect("started");

        if away < Duration::from_secs(6) {
            assert!(world.record("s0").has(Record::ARMING), "{away:?}");
            assert!(world.status("s0").pending.is_some(), "{away:?}");
        }
        world.pass(IDLE).expect("tended");
        assert!(!world.record("s0").has(Record::ARMING), "{away:?}");
        assert_eq!(world.status("s0").active, "p1", "{away:?}");
    }
}

#[test]
fn another_order_has_to_wait_and_a_rollback_calls_the_first_one_off() {
    let mut world = sessions();
    world.share("s0", FIVE, None).expect("begun");

    let error = world.weight("s0", 0, 7).expect_err("occupied").to_string();
    assert!(error.contains("`share 50000ppm`"), "{error}");
    assert!(error.contains("serin rollback s0"), "{error}");
    let done = world.share("s0", FIVE, None).expect("the same again");
    assert!(done.arming_s.is_some());
    let done = world.rollback("s0").expect("called off");
    let ended = world.status("s0").ended.expect("it has ended");
    let failure = ended.failure.expect("not carried out");
    assert_eq!(failure, "`share 50000ppm` was called off by serin");

    assert_eq!(done.arming_s, None);
    assert!(!world.record("s0").has(Record::ARMING));
    world.pass(Duration::from_mins(1)).expect("tended");
    assert_eq!(world.record("s0").share_ppm, 0);
    assert_whole(&mut world);
}

#[test]
fn a_rollback_to_the_last_settled_state_does_not_wait() {
    let mut world = sessions();
    world.cutover("s0", None).expect("begun");
    world.pass(IDLE).expect("tended");

    let done = world.rollback("s0").expect("back");

    assert_eq!((done.arming_s, done.active.as_str()), (None, "p0"));
}

/// At 5%, settled, and a site in which an audience gets the candidate.
fn with_another_audience() -> (World, Site) {
    let mut world = sessions();
    world.share("s0", FIVE, None).expect("begun");
    world.pass(IDLE).expect("tended");
    settle(&mut world);
    let site = changed(&world, |site| {
        site.services[0].tables += "[[service.audience]]\nname = \"staff\"\nsources = \
                                    [\"198.51.100.0/24\"]\npool = \"candidate\"\n";
    });
    (world, site)
}

fn arm_for(world: &mut World, site: &Site) -> Result<Option<u64>, ControlError> {
    let config = site.config(world.directory()).expect("a good site");
    let tick = world.tick();
    world.control().arm_for(&config, tick)
}

#[test]
fn a_configuration_that_moves_sessions_waits_for_them() {
    let (mut world, site) = with_another_audience();

    let left = arm_for(&mut world, &site).expect("begun");

    assert!(left.is_some_and(|left| (9..13).contains(&left)), "{left:?}");
    assert!(world.record("s0").has(Record::ARMING));
    assert_eq!(world.record("s0").touched_ppm, 1_000_000);
    assert_eq!(world.status("s0").pending.as_deref(), Some("apply"));
    world.pass(Duration::from_secs(9)).expect("tended");
    assert!(arm_for(&mut world, &site).expect("waits").is_some());
    world.pass(Duration::from_secs(3)).expect("tended");
    assert_eq!(arm_for(&mut world, &site).expect("due"), None);

    world.apply(site).expect("applied");

    let record = world.record("s0");
    assert!(!record.has(Record::ARMING) && record.audiences != 0);
    assert_eq!(record.touched_ppm, 1_000_000);
    let status = world.status("s0");
    assert_eq!(status.pending, None);
    assert_eq!(status.ended.and_then(|ended| ended.failure), None);
    assert_whole(&mut world);
}

#[test]
fn a_configuration_that_moves_no_session_does_not_wait() {
    let mut world = sessions();
    let site = changed(&world, |site| site.services[0].drain_s = 7);
    assert_eq!(arm_for(&mut world, &site).expect("at once"), None);
    // Without another pool to go to, an audience moves nobody.
    let (_, other) = with_another_audience();
    assert_eq!(arm_for(&mut world, &other).expect("at once"), None);
    assert!(!world.record("s0").has(Record::ARMING));
}

#[test]
fn a_configuration_that_waits_is_called_off_by_a_rollback_and_by_a_restart() {
    for restart in [false, true] {
        let (mut world, site) = with_another_audience();
        arm_for(&mut world, &site).expect("begun");
        let error = world.share("s0", 60_000, None).expect_err("occupied");
        assert!(error.to_string().contains("pinned for `apply`"), "{error}");

        if restart {
            world.restart().expect("started again");
        } else {
            world.rollback("s0").expect("called off");
        }

        let status = world.status("s0");
        assert_eq!((status.pending, status.share_ppm), (None, FIVE));
        let failure = status.ended.and_then(|ended| ended.failure);
        let expected = ["called off", "started anew"][usize::from(restart)];
        assert!(
            failure.as_ref().is_some_and(|why| why.contains(expected)),
            "{failure:?}"
        );
        assert!(!world.record("s0").has(Record::ARMING));
    }
}

#[test]
fn a_configuration_has_to_wait_for_an_order_that_waits() {
    let (mut world, site) = with_another_audience();
    world.share("s0", 60_000, None).expect("begun");
    let error = arm_for(&mut world, &site)
        .expect_err("occupied")
        .to_string();
    assert!(error.contains("pinned for `share 60000ppm`"), "{error}");
}

#[test]
fn an_order_that_has_waited_is_in_the_log_under_the_name_of_who_gave_it() {
    let mut world = sessions();
    world.control().act_for(Actor::user(0));
    world.cutover("s0", None).expect("begun");
    world.control().act_for(Actor::daemon());
    world.restart().expect("started again");
    world.pass(IDLE).expect("tended");
    let entries = world.control().entries(0, None).expect("readable");
    let last = entries.last().expect("an entry");
    assert_eq!((last.event, last.actor.uid), (Happened::Cutover, Some(0)));
}

#[test]
fn a_weight_waits_too() {
    let mut world = sessions();
    let done = world.weight("s0", 0, 7).expect("begun");
    assert!(done.arming_s.is_some());
    assert_eq!(world.record("s0").touched_ppm, 1_000_000);
    world.pass(IDLE).expect("tended");
    let status = world.status("s0");
    let weights = status.pools[0].backends.iter().map(|b| b.weight);
    assert!(weights.into_iter().any(|weight| weight == 7));
}

#[test]
fn what_outlasts_the_deadline_of_a_drain_is_counted_and_cut_and_what_is_silent_is_orphaned() {
    let mut site = Site::new(&[&[1, 1]]);
    site.services[0].lines += "drain_deadline = \"20s\"\n";
    let mut world = World::new(site);
    world.twin.edge().leave();
    world.cutover("s0", None).expect("cut over");
    world.pass(Duration::from_secs(1)).expect("tended");
    // Two connections of the old pool: one talks on, one is silent from now on.
    let listener = world.image().listeners.values().next().copied();
    let listener = listener.expect("a listener").id();
    let old = world.state().services["s0"].backends.iter();
    let old = old.filter(|(_, backend)| backend.pool == "p0");
    let (id, generation) = old.map(|(id, b)| (*id, b.generation)).next().expect("b0");
    let key = |port: u8| {
        let client = lb_common::address::Address::v4([198, 51, 100, 7]);
        FlowKey::new(client, [9, port], listener)
    };
    let pin = |world: &World| Pin::new(id, generation, world.tick());
    for port in [1, 2] {
        let pin = pin(&world);
        world.twin.edge().memory.pins.insert(key(port), pin);
    }
    for _ in 0..18 {
        let live = pin(&world);
        world.twin.edge().memory.pins.insert(key(1), live);
        world.pass(Duration::from_secs(1)).expect("tended");
    }
    let status = world.status("s0");
    assert_eq!((status.orphaned, status.cut), (1, 0));
    assert!(!world.record("s0").has(Record::OVERDUE));

    let live = pin(&world);
    world.twin.edge().memory.pins.insert(key(1), live);
    world.pass(Duration::from_secs(5)).expect("tended");

    let status = world.status("s0");
    assert_eq!((status.orphaned, status.cut), (1, 1));
    assert!(world.record("s0").has(Record::OVERDUE));
    // The program removes the pin with its reset; then it is over.
    world.twin.edge().memory.pins.clear();
    world.pass(Duration::from_secs(5)).expect("tended");
    let record = world.record("s0");
    assert_eq!(
        (record.has(Record::OVERDUE), record.touched_ppm),
        (false, 0)
    );
}
