//! From the backends' side (`nat`): to the client, as about a packet to the VIP.

use lb_common::reason::Reason;

use super::*;
use crate::{
    case::Case,
    outcome::Verdict,
    reply::{GATEWAY, WAN, elsewhere, routed},
    world::{KINDS, OLD, server},
};

/// What a client has sent, as its backend gets it.
fn received(family: Family, protocol: Protocol, from: SocketAddr) -> Frame {
    let to = server(family, OLD);
    match protocol {
        Protocol::Tcp => Frame::syn(from, to),
        Protocol::Udp => Frame::udp(from, to),
    }
}

/// The error as the client gets it, which knows of the VIP alone.
fn returned(packet: &Frame, error: &Frame, family: Family, length: usize) -> Frame {
    let after = packet.clone().to(vip(family));
    Frame {
        payload: quoted(packet, &after, length),
        ..error.clone().from(vip(family))
    }
}

#[test]
fn an_error_about_a_request_goes_to_its_client_as_from_the_vip() {
    let (mut lab, wan) = routed();
    for (family, protocol) in KINDS {
        let packet = received(family, protocol, client(family, 7));
        // A port that nobody listens on is told by the backend, most else by routers before it.
        for from in [server(family, OLD), router(family)] {
            for kind in errors(family) {
                let input = about(&packet, from, kind);
                let whole = input.payload.len();
                let output = returned(&packet, &input, family, whole).forwarded(GATEWAY, WAN);
                Case::transmitted(format!("{input:?}"), &input, &output)
                    .by(Verdict::Redirect, Reason::ErrorRedirected)
                    .check(&mut lab);
                let same_interface = lab.send_from(wan, &input.bytes());
                assert_eq!(same_interface.reason, Reason::ErrorTransmitted);
                assert_eq!(same_interface.frame, output.bytes());
            }
        }
    }
}

#[test]
fn a_quote_may_end_anywhere_behind_its_ports() {
    let (mut lab, _) = routed();
    for (family, protocol) in KINDS {
        let packet = received(family, protocol, client(family, 7));
        let error = about(&packet, server(family, OLD), errors(family)[1]);
        for length in ports_end(&packet)..=error.payload.len() {
            let input = Frame {
                payload: error.payload[..length].to_vec(),
                ..error.clone()
            };
            let output = returned(&packet, &input, family, length).forwarded(GATEWAY, WAN);
            Case::transmitted(format!("{length} bytes quoted"), &input, &output)
                .by(Verdict::Redirect, Reason::ErrorRedirected)
                .check(&mut lab);
        }
    }
}

#[test]
fn one_whose_next_hop_is_unknown_is_left_to_the_kernel_rewritten() {
    let (mut lab, _) = routed();
    for (family, protocol) in KINDS {
        let packet = received(family, protocol, elsewhere(family, 78));
        let input = about(&packet, server(family, OLD), errors(family)[1]);
        // The kernel forwards it, and takes the hop.
        let output = returned(&packet, &input, family, input.payload.len());
        Case::transmitted(format!("{family:?} {protocol:?}"), &input, &output)
            .by(Verdict::Pass, Reason::ErrorUnresolved)
            .check(&mut lab);
    }
}

#[test]
fn one_about_another_port_of_a_backend_is_nobodys() {
    let (mut lab, _) = routed();
    for (family, protocol) in KINDS {
        let mut elsewhere = server(family, OLD);
        elsewhere.set_port(9);
        let packet = received(family, protocol, client(family, 7)).to(elsewhere);
        let input = about(&packet, server(family, OLD), errors(family)[1]);
        Case::passed("port 9", input.bytes(), Reason::IcmpUnrelated).check(&mut lab);
    }
}
