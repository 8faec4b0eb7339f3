//! Pieces on their way through tunnels: each inside a packet that is whole.

use std::collections::BTreeSet;

use etherparse::Ipv4HeaderSlice;
use lb_common::release::Record;

use super::*;
use crate::{
    case::Case,
    encap::{outer_of, tunnelled},
    lab::Lab,
    tunnel::wrapped,
    world::FAMILIES,
};

/// What outer headers show of a piece: its sender.
fn entropy(frame: &Frame) -> u64 {
    let [first, second] = Address::from(frame.source.ip()).halves();
    hash::scatter(first ^ second)
}

#[test]
fn each_piece_goes_inside_of_a_whole_packet_from_the_same_source() {
    let [first, second, third] = CUTS;
    for forward in [Record::FORWARD_IPIP, Record::FORWARD_GUE] {
        for outer in FAMILIES {
            let mut lab = Lab::new(&keyed(tunnelled(forward, outer)));
            for (family, protocol) in KINDS {
                let frame = large(family, protocol, client(family, 1));
                let ends = outer_of(node().encap(), forward, outer, entropy(&frame));
                for (id, order) in [(1, [first, second, third]), (2, [first, third, second])] {
                    for cut in order {
                        let input = piece(&frame, id, cut);
                        let output = wrapped(&input, &ends);
                        let what = format!("{forward:#x} {outer:?} {cut:?} of {frame:?}");
                        Case::sent(what, input, output).check(&mut lab);
                    }
                }
            }
        }
    }
}

/// Around pieces that may be cut themselves, so that nobody takes the parts of two for one packet's.
#[test]
fn packets_around_pieces_have_identifications_of_their_own() {
    let mut lab = Lab::new(&keyed(tunnelled(Record::FORWARD_IPIP, Family::V4)));
    let frame = large(Family::V4, Protocol::Udp, client(Family::V4, 1));
    let ids = CUTS.map(|cut| {
        let output = lab.send(&piece(&frame, 7, cut)).frame;
        let outer = Ipv4HeaderSlice::from_slice(&output[network(&output)..]).expect("IPv4");
        assert!(!outer.more_fragments() && outer.fragments_offset().value() == 0);
        outer.identification()
    });
    assert_eq!(BTreeSet::from(ids).len(), CUTS.len());
}
