//! VLAN tags: walked, kept as they are, and no more of them than two.

use lb_common::reason::Reason;

use crate::{
    case::{Case, check},
    frame::{Frame, tag},
    lab::Lab,
    world::{FAMILIES, KINDS, OLD, Protocol, at_rest, request, translated},
};

#[test]
fn tags_stay_in_front_of_a_packet_that_is_forwarded() {
    let mut lab = Lab::new(&at_rest());
    let stacks = [
        vec![(tag::VLAN, 7)],
        // Priority and drop eligibility are the network's to keep.
        vec![(tag::VLAN, 0xf007)],
        vec![(tag::QINQ, 100)],
        vec![(tag::QINQ, 0xe064), (tag::VLAN, 4094)],
        vec![(tag::VLAN, 100), (tag::VLAN, 7)],
    ];
    for (family, protocol) in KINDS {
        let cases = stacks.iter().map(|tags| {
            let input = Frame {
                tags: tags.clone(),
                ..request(family, protocol)
            };
            let output = translated(input.clone(), family, OLD);
            Case::transmitted(format!("{input:?}"), &input, &output)
        });
        check(&mut lab, cases);
    }
}

#[test]
fn a_third_tag_passes() {
    let mut lab = Lab::new(&at_rest());
    for family in FAMILIES {
        let input = Frame {
            tags: vec![(tag::QINQ, 1), (tag::VLAN, 2), (tag::VLAN, 3)],
            ..request(family, Protocol::Tcp)
        };
        let description = format!("{family:?}");
        Case::passed(description, input.bytes(), Reason::VlanTags).check(&mut lab);
    }
}

#[test]
fn a_tagged_frame_of_another_protocol_passes() {
    let mut lab = Lab::new(&at_rest());
    let plain = request(FAMILIES[0], Protocol::Tcp);
    let tagged = Frame {
        tags: vec![(tag::VLAN, 7)],
        ..plain
    };
    let mut input = tagged.bytes();
    let at = tagged.network_offset() - 2;
    input[at..at + 2].copy_from_slice(&[0x08, 0x06]);
    Case::passed("ARP", input, Reason::NotIp).check(&mut lab);
}
