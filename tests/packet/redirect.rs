//! Frames that leave by another interface.

use lb_common::{backend::index, reason::Reason};
use nix::net::if_::if_nametoindex;
use serin_tests::netns::Namespace;

use crate::{
    case::Case,
    lab::Lab,
    outcome::Verdict,
    world::{Family, KINDS, OLD, at_rest, backend, macs, request, translated},
};

#[test]
fn a_backend_behind_another_interface_is_reached_by_redirect() {
    let (mut lab, other) = behind_another();
    lab.change(|image| {
        image.ports.insert(other);
    });
    for (family, protocol) in KINDS {
        let input = request(family, protocol);
        let output = translated(input.clone(), family, OLD);
        Case::transmitted(format!("{family:?} {protocol:?}"), &input, &output)
            .by(Verdict::Redirect, Reason::Redirected)
            .check(&mut lab);
    }
}

#[test]
fn an_interface_that_is_not_ours_to_send_on_drops_and_counts_for_no_backend() {
    let (mut lab, _) = behind_another();
    for (family, protocol) in KINDS {
        let input = request(family, protocol);
        Case::dropped(format!("{family:?} {protocol:?}"), &input, Reason::NoPort).check(&mut lab);
    }
    assert_eq!(lab.counters().backends[&OLD].packets, 0);
}

/// A data plane whose backend is behind a veth, and that interface's index.
fn behind_another() -> (Lab, u32) {
    let namespace = Namespace::create("packet").expect("root makes namespaces");
    namespace
        .ip("link add wan type veth peer name far")
        .expect("the kernel has veth");
    let mut lab = Lab::within(namespace, 1024);
    let other = if_nametoindex("wan").expect("it was just made");
    let mut image = at_rest();
    for family in [Family::V4, Family::V6] {
        let (destination, source) = macs(OLD);
        let entry = backend(family, OLD).via(other, source, destination);
        image
            .backends
            .insert(index(OLD, family == Family::V6), entry);
    }
    lab.become_image(&image);
    (lab, other)
}
