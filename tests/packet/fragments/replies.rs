//! Pieces of what backends send (`nat`).

use lb_common::reason::Reason;

use super::*;
use crate::{
    case::Case,
    lab::Lab,
    outcome::Verdict,
    reply::{GATEWAY, WAN, from_vip, routed},
    world::{KINDS, server},
};

fn lab() -> Lab {
    let (mut lab, _) = routed();
    lab.change(lb_userspace::state::portless::add);
    lab
}

/// What a backend sends from this port to a client.
fn large_reply(family: Family, protocol: Protocol, port: u16) -> Frame {
    let mut from = server(family, OLD);
    from.set_port(port);
    large(family, protocol, from).to(client(family, 7))
}

fn replied(frame: &Frame, family: Family, id: u32, cut: Cut) -> Case {
    let output = from_vip(frame, family).forwarded(GATEWAY, WAN);
    let description = format!("{cut:?} of {frame:?}");
    Case::sent(description, piece(frame, id, cut), piece(&output, id, cut))
        .by(Verdict::Redirect, Reason::ReplyRedirected)
}

#[test]
fn pieces_of_a_reply_come_from_the_vip_in_any_order() {
    let mut lab = lab();
    for (family, protocol) in KINDS {
        let frame = large_reply(family, protocol, crate::world::BACKEND_PORT);
        for (id, order) in [
            (1, [0, 1, 2]),
            (2, [0, 2, 1]),
            (3, [2, 1, 0]),
            (4, [1, 0, 2]),
        ] {
            for number in order {
                replied(&frame, family, id, CUTS[number]).check(&mut lab);
            }
        }
    }
}

#[test]
fn pieces_of_what_a_backend_sends_from_another_port_pass_after_the_first() {
    let mut lab = lab();
    for (family, protocol) in KINDS {
        let frame = large_reply(family, protocol, 9);
        for cut in CUTS {
            let input = piece(&frame, 1, cut);
            Case::passed("port 9", input, Reason::NotListening).check(&mut lab);
        }
    }
}

#[test]
fn where_a_backend_replies_for_several_vips_a_piece_alone_is_left_to_the_kernel() {
    let mut lab = lab();
    lab.change(|image| {
        for (family, protocol) in KINDS {
            let mut from = server(family, OLD);
            from.set_port(9);
            let key = crate::world::endpoint(from, number(protocol));
            let other = Address::from(server(family, 77).ip());
            let reply = lb_common::listener::Reply::new(other, 99, OLD);
            image.replies.insert(key, reply);
        }
        image.replies.retain(|key, _| !key.is_portless());
        lb_userspace::state::portless::add(image);
    });
    for (family, protocol) in KINDS {
        let frame = large_reply(family, protocol, crate::world::BACKEND_PORT);
        let alone = piece(&frame, 1, CUTS[1]);
        Case::passed("alone", alone, Reason::Fragment).check(&mut lab);
        for cut in CUTS {
            replied(&frame, family, 2, cut).check(&mut lab);
        }
    }
}

#[test]
fn overlapping_pieces_of_a_reply_are_refused() {
    let mut lab = lab();
    for (family, protocol) in KINDS {
        let frame = large_reply(family, protocol, crate::world::BACKEND_PORT);
        replied(&frame, family, 1, CUTS[0]).check(&mut lab);
        for cut in [(56, 160), CUTS[1]] {
            let input = piece(&frame, 1, cut);
            Case::sent("overlap", input.clone(), input)
                .by(Verdict::Drop, Reason::FragmentOverlap)
                .check(&mut lab);
        }
    }
}
