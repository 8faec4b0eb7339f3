//! Packets that are larger than the way to their backend takes.

use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice, icmpv4};
use lb_common::{backend::index, encap::Encap, reason::Reason, release::Record};
use lb_userspace::dataplane::Image;

use crate::{
    encap::tunnelled,
    frame::{Frame, tag},
    lab::{Lab, node},
    outcome::Verdict,
    tunnel::{marked, network},
    world::{
        FAMILIES, Family, KINDS, OLD, Protocol, SERVICE, at_rest, backend, client, request,
        resting, vip,
    },
};

/// The next hop's MTU in these tests.
const MTU: usize = 1400;
/// Bytes of the packet that an answer quotes.
const QUOTE: usize = 256;

/// A forward, the outer family where it has one, and what it adds to a packet.
const FORWARDS: [(u32, Option<Family>, usize); 6] = [
    (Record::FORWARD_NAT, None, 0),
    (Record::FORWARD_L2, None, 0),
    (Record::FORWARD_IPIP, Some(Family::V4), 20),
    (Record::FORWARD_IPIP, Some(Family::V6), 40),
    (Record::FORWARD_GUE, Some(Family::V4), 28),
    (Record::FORWARD_GUE, Some(Family::V6), 48),
];

fn image(forward: u32, outer: Option<Family>) -> Image {
    let mut image = match outer {
        Some(outer) => tunnelled(forward, outer),
        None => at_rest(),
    };
    let record = Record {
        flags: forward,
        ..resting()
    };
    image.records.insert(SERVICE, record);
    for family in FAMILIES {
        let mtu = u32::try_from(MTU).expect("small");
        let entry = backend(outer.unwrap_or(family), OLD).with_mtu(mtu);
        image
            .backends
            .insert(index(OLD, family == Family::V6), entry);
    }
    image
}

/// A data plane with a way that is narrower than usual.
pub fn narrow() -> Image {
    image(Record::FORWARD_NAT, None)
}

/// A packet that is too big for it.
pub fn large(family: Family) -> Frame {
    of_length(request(family, Protocol::Udp), MTU + 1)
}

/// A packet of `length` bytes, IP header included.
fn of_length(plain: Frame, length: usize) -> Frame {
    let headers = plain.bytes().len() - plain.payload.len() - network(&plain.bytes());
    Frame {
        payload: vec![0xa5; length - headers],
        ..plain
    }
}

#[test]
fn what_just_fits_goes_and_one_byte_more_is_answered_with_the_size_that_fits() {
    for (forward, outer, overhead) in FORWARDS {
        let mut lab = Lab::new(&image(forward, outer));
        for (family, protocol) in KINDS {
            let most = MTU - overhead;
            let fits = of_length(request(family, protocol), most);
            assert_eq!(lab.send_frame(&fits).reason, Reason::Transmitted);
            let surplus = of_length(request(family, protocol), most + 1);
            for tags in [
                vec![],
                vec![(tag::VLAN, 7)],
                vec![(tag::QINQ, 9), (tag::VLAN, 7)],
            ] {
                let input = Frame {
                    tags,
                    ..surplus.clone()
                };
                let outcome = lab.send_frame(&input);
                let told = (outcome.verdict, outcome.reason);
                assert_eq!(told, (Verdict::Transmit, Reason::TooBig));
                check_answer(&input, &outcome.frame, most);
            }
        }
    }
}

/// The answer to `input`, which says that `mtu` bytes are the most: its parts by `etherparse`, its
/// sums by a look at the whole.
fn check_answer(input: &Frame, answer: &[u8], mtu: usize) {
    let bytes = input.bytes();
    let (asked, answered) = (network(&bytes), network(answer));
    assert_eq!(asked, answered);
    assert_eq!(answer[..6], bytes[6..12], "back to where it came from");
    assert_eq!(answer[6..12], bytes[..6]);
    assert_eq!(answer[12..answered], bytes[12..asked], "tags and type");
    let parsed = SlicedPacket::from_ethernet(answer).expect("a packet");
    let quote = &bytes[asked..asked + QUOTE];
    match (parsed.net.expect("IP"), parsed.transport.expect("ICMP")) {
        (NetSlice::Ipv4(ip), TransportSlice::Icmpv4(icmp)) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(ip.header().destination_addr(), input.source.ip());
            assert_eq!(ip.header().source_addr(), input.destination.ip());
            let needed = icmpv4::DestUnreachableHeader::FragmentationNeeded {
                next_hop_mtu: mtu.try_into().expect("small"),
            };
            let found = icmp.icmp_type();
            assert_eq!(found, Icmpv4Type::DestinationUnreachable(needed));
            let sum = found.calc_checksum(icmp.payload());
            assert_eq!(icmp.checksum(), sum);
            assert_eq!(icmp.payload(), quote);
        }
        (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
            let header = ip.header();
            assert_eq!(header.destination_addr(), input.source.ip());
            assert_eq!(header.source_addr(), input.destination.ip());
            let found = icmp.icmp_type();
            let mtu = mtu.try_into().expect("small");
            assert_eq!(found, Icmpv6Type::PacketTooBig { mtu });
            let sum = found.calc_checksum(header.source(), header.destination(), icmp.payload());
            assert_eq!(icmp.checksum(), sum.expect("short"));
            assert_eq!(icmp.payload(), quote);
        }
        other => panic!("no answer but {other:?}"),
    }
}

#[test]
fn what_may_be_cut_is_answered_as_well() {
    let mut lab = Lab::new(&image(Record::FORWARD_IPIP, Some(Family::V4)));
    let frame = of_length(request(Family::V4, Protocol::Udp), 1500);
    let outcome = lab.send(&marked(&frame.bytes(), 0, false));
    assert_eq!(outcome.reason, Reason::TooBig);
}

#[test]
fn answers_are_limited_and_what_goes_unanswered_is_dropped_as_it_came() {
    const SENT: usize = 2000;
    let encap = Encap::default().with_too_big_per_second(1);
    for family in FAMILIES {
        let image = image(Record::FORWARD_NAT, None);
        let mut lab = Lab::of_node(&image, node().with_encap(encap));
        let frame = of_length(request(family, Protocol::Tcp), 1500);
        let mut answered = 0;
        for _ in 0..SENT {
            let outcome = lab.send_frame(&frame);
            if outcome.reason == Reason::TooBig {
                answered += 1;
                continue;
            }
            let left = (outcome.verdict, outcome.reason, outcome.frame);
            let dropped = (Verdict::Drop, Reason::TooBigUntold, frame.bytes());
            assert_eq!(left, dropped);
        }
        // A burst, one a second after it, and on each CPU that the test has run on.
        assert!((50..SENT / 4).contains(&answered), "{answered} answers");
    }
}

#[test]
fn a_limit_of_zero_answers_nobody() {
    let encap = Encap::default().with_too_big_per_second(0);
    let image = image(Record::FORWARD_L2, None);
    let mut lab = Lab::of_node(&image, node().with_encap(encap));
    let frame = of_length(request(Family::V4, Protocol::Tcp), 1500);
    assert_eq!(lab.send_frame(&frame).reason, Reason::TooBigUntold);
}

#[test]
fn a_next_hop_of_unknown_mtu_takes_everything() {
    let mut lab = Lab::new(&at_rest());
    for family in FAMILIES {
        let frame = of_length(Frame::ack(client(family, 1), vip(family)), 3000);
        assert_eq!(lab.send_frame(&frame).reason, Reason::Transmitted);
    }
}
