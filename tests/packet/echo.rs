//! Echo requests to a VIP: answered before the kernel sees them, where the node is told to.

use std::net::SocketAddr;

use lb_common::{node::Node, reason::Reason};

use crate::{
    case::Case,
    frame::{Frame, tag},
    lab::{Lab, node},
    outcome::Verdict,
    portless::with_keys,
    world::{FAMILIES, Family, client, server, vip},
};

/// Identifier and sequence number.
const REST: [u8; 4] = [0x12, 0x34, 0, 9];

fn request(family: Family, to: SocketAddr, payload: Vec<u8>) -> Frame {
    let kind = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    Frame {
        payload,
        ..Frame::icmp(client(family, 7), to, [kind, 0], REST)
    }
}

/// The answer to a request, by all that it has in common with it.
fn answer(request: &Frame) -> Frame {
    let kind = if request.source.is_ipv4() { 0 } else { 129 };
    Frame {
        source_mac: request.destination_mac,
        destination_mac: request.source_mac,
        source: request.destination,
        destination: request.source,
        hops: 64,
        transport: Frame::icmp(request.source, request.destination, [kind, 0], REST).transport,
        ..request.clone()
    }
}

fn answering() -> Lab {
    Lab::of_node(&with_keys(), node().with(Node::ANSWER_ECHO))
}

#[test]
fn the_answer_has_the_requests_payload_and_tags_and_starts_its_hops_anew() {
    let mut lab = answering();
    for family in FAMILIES {
        for length in [0, 1, 8, 56, 57, 1400] {
            let payload: Vec<_> = (0..length).map(|byte: u16| byte.to_le_bytes()[0]).collect();
            for tags in [
                vec![],
                vec![(tag::VLAN, 7)],
                vec![(tag::QINQ, 9), (tag::VLAN, 7)],
            ] {
                for hops in [1, 64, 255] {
                    let input = Frame {
                        tags: tags.clone(),
                        hops,
                        ..request(family, vip(family), payload.clone())
                    };
                    Case::transmitted(format!("{input:?}"), &input, &answer(&input))
                        .by(Verdict::Transmit, Reason::EchoAnswered)
                        .check(&mut lab);
                }
            }
        }
    }
}

#[test]
fn options_and_padding_come_back_as_they_are() {
    let mut lab = answering();
    for family in FAMILIES {
        let plain = Frame {
            padding: vec![0x5a; 12],
            ..request(family, vip(family), vec![1, 2, 3])
        };
        let input = match family {
            Family::V4 => Frame {
                options: vec![1; 8],
                ..plain
            },
            Family::V6 => Frame {
                extensions: vec![(0, vec![1, 4, 0, 0, 0, 0])],
                ..plain
            },
        };
        Case::transmitted(format!("{input:?}"), &input, &answer(&input))
            .by(Verdict::Transmit, Reason::EchoAnswered)
            .check(&mut lab);
    }
}

#[test]
fn a_wrong_checksum_stays_as_wrong_as_it_was() {
    let mut lab = answering();
    for family in FAMILIES {
        let input = request(family, vip(family), vec![1, 2, 3]);
        let (mut asked, mut answered) = (input.bytes(), answer(&input).bytes());
        for bytes in [&mut asked, &mut answered] {
            *bytes.last_mut().expect("not empty") ^= 0x10;
        }
        Case::sent("wrong", asked, answered)
            .by(Verdict::Transmit, Reason::EchoAnswered)
            .check(&mut lab);
    }
}

#[test]
fn a_node_that_is_not_told_to_leaves_them_to_the_kernel() {
    let mut lab = Lab::new(&with_keys());
    for family in FAMILIES {
        let input = request(family, vip(family), vec![1; 56]);
        Case::passed("off", input.bytes(), Reason::OtherProtocol).check(&mut lab);
    }
}

#[test]
fn requests_to_others_and_answers_pass() {
    let mut lab = answering();
    for family in FAMILIES {
        let other = request(family, server(family, 9), vec![1; 56]);
        let answered = answer(&request(family, vip(family), vec![1; 56]));
        let from_outside = answered.to(vip(family)).from(client(family, 7));
        for input in [other, from_outside] {
            Case::passed(format!("{input:?}"), input.bytes(), Reason::OtherProtocol)
                .check(&mut lab);
        }
    }
}

#[test]
fn sources_that_no_client_has_are_not_answered() {
    let mut lab = answering();
    for (family, source, reason) in [
        (Family::V4, "127.0.0.1", Reason::MartianSource),
        (Family::V4, "224.0.0.1", Reason::MartianSource),
        (Family::V4, "192.0.2.80", Reason::Land),
        (Family::V6, "::1", Reason::MartianSource),
        (Family::V6, "ff02::1", Reason::MartianSource),
        (Family::V6, "2001:db8::80", Reason::Land),
    ] {
        let mut input = request(family, vip(family), vec![1; 56]);
        input
            .source
            .set_ip(source.parse().expect("a literal address"));
        Case::dropped(source, &input, reason).check(&mut lab);
    }
}

#[test]
fn a_request_cut_anywhere_is_not_answered() {
    let mut lab = answering();
    for family in FAMILIES {
        let whole = request(family, vip(family), vec![1; 16]).bytes();
        for length in 14..whole.len() {
            let cut = &whole[..length];
            let outcome = lab.send(cut);
            assert_eq!(outcome.verdict, Verdict::Pass, "{length} bytes");
            assert_eq!(outcome.frame, cut);
        }
    }
}
