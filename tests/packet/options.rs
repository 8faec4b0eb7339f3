//! IPv4 options (RFC 791, section 3.1): walked, never changed.

use lb_common::reason::Reason;

use crate::{
    case::Case,
    frame::Frame,
    lab::Lab,
    world::{Family, OLD, Protocol, at_rest, request, translated},
};

fn with_options(protocol: Protocol, options: &[u8]) -> Frame {
    Frame {
        options: options.to_vec(),
        ..request(Family::V4, protocol)
    }
}

fn check_passed(lab: &mut Lab, options: &[u8], reason: Reason) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let input = with_options(protocol, options);
        Case::passed(format!("{options:?}"), input.bytes(), reason).check(lab);
    }
}

#[test]
fn options_that_hosts_send_go_through_as_they_are() {
    let mut lab = Lab::new(&at_rest());
    for options in [
        &[0, 0, 0, 0][..],
        // What is behind the end of the list is padding.
        &[0, 7, 1, 99],
        &[1, 1, 1, 0],
        // Router alert (RFC 2113).
        &[148, 4, 0, 0],
        // Record route, with room for one address.
        &[7, 7, 4, 0, 0, 0, 0, 0],
        // Timestamp, and an unknown one of the shortest length.
        &[68, 8, 5, 0, 0, 0, 0, 0, 0x5e, 2, 1, 1],
        // One that takes all there is.
        &[
            7, 39, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0,
        ],
        &[1; 40],
    ] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let input = with_options(protocol, options);
            let output = translated(input.clone(), Family::V4, OLD);
            Case::transmitted(format!("{options:?}"), &input, &output).check(&mut lab);
        }
    }
}

#[test]
fn a_source_route_whose_end_is_reached_goes_through() {
    let mut lab = Lab::new(&at_rest());
    for kind in [131, 137] {
        // The pointer is behind the last address.
        let input = with_options(Protocol::Tcp, &[kind, 7, 8, 10, 0, 0, 1, 0]);
        let output = translated(input.clone(), Family::V4, OLD);
        Case::transmitted(format!("{kind}"), &input, &output).check(&mut lab);
    }
}

#[test]
fn a_source_route_that_goes_on_passes() {
    let mut lab = Lab::new(&at_rest());
    for kind in [131, 137] {
        for options in [
            &[kind, 7, 4, 10, 0, 0, 1, 0][..],
            &[1, kind, 7, 4, 10, 0, 0, 1],
            &[148, 4, 0, 0, kind, 11, 8, 10, 0, 0, 1, 10, 0, 0, 2, 0],
            // Behind as many others as there is room for.
            &[
                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                1, 1, 1, 1, 1, kind, 7, 4, 10, 0, 0, 1,
            ],
        ] {
            check_passed(&mut lab, options, Reason::SourceRoute);
        }
    }
}

#[test]
fn options_that_reach_beyond_their_header_pass() {
    let mut lab = Lab::new(&at_rest());
    for options in [
        &[7, 0, 0, 0][..],
        &[7, 1, 0, 0],
        &[7, 5, 4, 0],
        &[7, 255, 4, 0],
        &[1, 1, 7, 3],
        // The last byte begins an option whose length would be the next header's.
        &[1, 1, 1, 7],
        &[1, 1, 1, 131],
        &[68, 4, 5, 0, 68, 5, 5, 0],
    ] {
        check_passed(&mut lab, options, Reason::BadOptions);
    }
}
