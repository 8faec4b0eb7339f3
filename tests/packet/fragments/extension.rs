//! IPv6 packets with another extension header behind the fragment header: only the first piece tells
//! which protocol they carry.

use lb_common::reason::Reason;

use super::*;
use crate::{case::Case, frame::extension, lab::Lab, outcome::Verdict};

/// Bytes of the options, which are divided with what follows them.
const OPTIONS: usize = 8;
const CUTS_BEHIND: [Cut; 3] = [(0, 72), (72, 160), (160, 221 + OPTIONS)];
/// No next header.
const NONE: u8 = 59;

fn with_options(protocol: Protocol, from: SocketAddr) -> Frame {
    Frame {
        extensions: vec![(extension::DESTINATION_OPTIONS, vec![1, 4, 0, 0, 0, 0])],
        ..large(Family::V6, protocol, from)
    }
}

/// A piece of all that follows the IPv6 header.
fn piece_behind(frame: &Frame, id: u32, (start, end): Cut) -> Vec<u8> {
    let whole = frame.bytes();
    let at = network(&whole);
    let divided = &whole[at + V6..];
    piece_of(
        &whole[..at],
        &whole[at..],
        &divided[start..end],
        id,
        (start, end < divided.len()),
    )
}

fn follows(frame: &Frame, backend: u16, id: u32, cut: Cut) -> Case {
    let output = translated(frame.clone(), Family::V6, backend);
    Case::sent(
        format!("{cut:?} of {frame:?}"),
        piece_behind(frame, id, cut),
        piece_behind(&output, id, cut),
    )
}

#[test]
fn later_pieces_follow_the_first_one() {
    let [first, second, third] = CUTS_BEHIND;
    let mut lab = Lab::new(&two_backends());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut id = 0;
        for (flow, alone) in [(OLD, NEW), (NEW, OLD)] {
            let from = client_of(Family::V6, protocol, flow, alone);
            let frame = with_options(protocol, from);
            for order in [[first, second, third], [first, third, second]] {
                id += 1;
                for cut in order {
                    follows(&frame, flow, id, cut).check(&mut lab);
                }
            }
        }
    }
}

#[test]
fn what_their_fragment_headers_say_of_the_next_one_need_not_agree() {
    let mut lab = Lab::new(&two_backends());
    let number = V6 + 14;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let from = client_of(Family::V6, protocol, NEW, OLD);
        let frame = with_options(protocol, from);
        follows(&frame, NEW, 1, CUTS_BEHIND[0]).check(&mut lab);
        for next in [TCP, UDP, NONE] {
            let output = translated(frame.clone(), Family::V6, NEW);
            let [input, output] = [&frame, &output].map(|frame| {
                let mut bytes = piece_behind(frame, 1, CUTS_BEHIND[1]);
                bytes[number] = next;
                bytes
            });
            Case::sent(format!("next header {next}"), input, output).check(&mut lab);
        }
    }
}

#[test]
fn one_that_comes_before_the_first_tells_nothing_and_is_left_to_the_kernel() {
    let mut lab = Lab::new(&two_backends());
    let from = client_of(Family::V6, Protocol::Udp, NEW, OLD);
    let frame = with_options(Protocol::Udp, from);
    let early = piece_behind(&frame, 1, CUTS_BEHIND[1]);
    Case::passed("early", early, Reason::Fragment).check(&mut lab);
    for cut in CUTS_BEHIND {
        follows(&frame, NEW, 1, cut).check(&mut lab);
    }
}

#[test]
fn one_that_overlaps_the_first_refuses_the_packet() {
    let mut lab = Lab::new(&two_backends());
    let from = client_of(Family::V6, Protocol::Tcp, NEW, OLD);
    let frame = with_options(Protocol::Tcp, from);
    follows(&frame, NEW, 1, CUTS_BEHIND[0]).check(&mut lab);
    for cut in [(64, 160), CUTS_BEHIND[2]] {
        let input = piece_behind(&frame, 1, cut);
        Case::sent("later", input.clone(), input)
            .by(Verdict::Drop, Reason::FragmentOverlap)
            .check(&mut lab);
    }
}
