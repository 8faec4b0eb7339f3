//! Listeners that the packet path remembers: no packet meets one that has changed.

use lb_common::{
    listener::{Endpoint, Listener},
    protocol::TCP,
    reason::Reason,
};
use lb_userspace::dataplane::Image;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    frame::{Frame, flag},
    lab::Lab,
    world::{FAMILIES, Family, PORT, Protocol, at_rest, client, endpoint, request, vip},
};

/// A service that there is not.
const NOBODY: u32 = 9;

#[test]
fn a_listener_that_changes_is_another_for_the_next_packet() {
    stay_on_one_cpu();
    let mut lab = Lab::new(&at_rest());
    for family in FAMILIES {
        let frame = request(family, Protocol::Tcp);
        let key = endpoint(vip(family), TCP);
        let becomes = |lab: &mut Lab, listener: Option<Listener>, reason| {
            lab.change(|image| set(image, key, listener));
            // The second packet finds what the first has remembered.
            for _ in 0..2 {
                assert_eq!(lab.send_frame(&frame).reason, reason, "{family:?}");
            }
        };
        let listener = at_rest().listeners[&key];
        for _ in 0..3 {
            becomes(&mut lab, Some(listener), Reason::Transmitted);
            let moved = Listener::new(NOBODY, listener.id(), PORT);
            becomes(&mut lab, Some(moved), Reason::NoRecord);
            becomes(&mut lab, None, Reason::NotListening);
        }
    }
}

#[test]
fn listeners_that_share_a_place_are_told_apart() {
    stay_on_one_cpu();
    let ours = endpoint(vip(Family::V4), TCP);
    let place_of = |port: u16| endpoint_at(port).place();
    let other = (1024..=u16::MAX).find(|&port| place_of(port) == ours.place());
    let other = other.expect("64 ports share each of 1024 places");
    let mut image = at_rest();
    let listener = Listener::new(NOBODY, 77, PORT);
    image.listeners.insert(endpoint_at(other), listener);
    let mut lab = Lab::new(&image);
    let to = |port| {
        let mut at = vip(Family::V4);
        at.set_port(port);
        Frame::tcp(client(Family::V4, 7), at, flag::ACK)
    };
    for _ in 0..3 {
        assert_eq!(lab.send_frame(&to(PORT)).reason, Reason::Transmitted);
        assert_eq!(lab.send_frame(&to(other)).reason, Reason::NoRecord);
    }
}

fn set(image: &mut Image, key: Endpoint, listener: Option<Listener>) {
    match listener {
        Some(listener) => image.listeners.insert(key, listener),
        None => image.listeners.remove(&key),
    };
}

fn endpoint_at(port: u16) -> Endpoint {
    let mut at = vip(Family::V4);
    at.set_port(port);
    endpoint(at, TCP)
}

/// Each CPU remembers for itself; this thread is the test's own.
fn stay_on_one_cpu() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("a thread may ask");
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut only = CpuSet::new();
    only.set(first.expect("a thread runs somewhere"))
        .expect("it is a CPU");
    sched_setaffinity(this, &only).expect("a CPU that is allowed");
}
