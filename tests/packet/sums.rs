//! Checksums of translated requests; `etherparse` computes what they must be.

use lb_common::pool::Slot;
use lb_userspace::dataplane::{Image, Table};

use crate::{
    case::Case,
    frame::{Frame, Transport, flag},
    lab::Lab,
    random::Random,
    world::{
        Family, KINDS, NEW, OLD, OLD_TABLE, Protocol, at_rest, chosen, client, request, translated,
    },
};

#[test]
fn udp_without_a_checksum_stays_without_one() {
    let mut lab = Lab::new(&at_rest());
    for family in [Family::V4, Family::V6] {
        let input = Frame {
            transport: Transport::Udp { summed: false },
            ..request(family, Protocol::Udp)
        };
        let output = translated(input.clone(), family, OLD);
        Case::transmitted(format!("{family:?}"), &input, &output).check(&mut lab);
    }
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    let mut lab = Lab::new(&at_rest());
    for family in [Family::V4, Family::V6] {
        let plain = request(family, Protocol::Udp);
        // Of all values of one word, one makes the sum of the translated packet zero.
        let (input, output) = (0..=u16::MAX)
            .map(|word| Frame {
                payload: word.to_be_bytes().to_vec(),
                ..plain.clone()
            })
            .map(|input| (input.clone(), translated(input, family, OLD)))
            .find(|(_, output)| output.bytes()[output.transport_offset() + 6..][..2] == [0xff; 2])
            .expect("one word of the 65 536");
        Case::transmitted(format!("{family:?}"), &input, &output).check(&mut lab);
    }
}

#[test]
fn a_wrong_checksum_stays_as_wrong_as_it_was() {
    let mut lab = Lab::new(&at_rest());
    for (family, protocol) in KINDS {
        let input = request(family, protocol);
        let output = translated(input.clone(), family, OLD);
        let last = |frame: &Frame| frame.bytes().len() - 1;
        let (mut sent, mut expected) = (input.bytes(), output.bytes());
        sent[last(&input)] ^= 0x10;
        expected[last(&output)] ^= 0x10;
        assert_eq!(lab.send(&sent).frame, expected, "{family:?} {protocol:?}");
    }
}

#[test]
fn all_checksums_are_right_over_random_packets() {
    let mut lab = Lab::new(&random_world());
    let mut random = Random::new(1);
    for number in 0..20_000_u32 {
        let (family, protocol) = KINDS[number as usize % KINDS.len()];
        let mut input = request(family, protocol);
        input.source = client(family, random.word());
        input.source.set_port(random.word());
        input.hops = 2 + random.next().to_be_bytes()[0] % 254;
        let length = random.below(80);
        input.payload = random.bytes(length);
        if protocol == Protocol::Tcp {
            input.transport = Transport::Tcp(flag::ACK, vec![1; random.below(11) * 4]);
        }
        let (_, frame) = lab.pass_through(&input.bytes());
        let output = translated(input, family, chosen(&frame));
        assert_eq!(frame, output.bytes(), "packet {number}");
    }
}

/// Both backends in one pool, so that two addresses are written.
fn random_world() -> Image {
    let mut image = at_rest();
    let table = Table::new(|slot| Slot::settled(if slot % 2 == 0 { OLD } else { NEW }));
    image.tables.insert(OLD_TABLE, table);
    image
}
