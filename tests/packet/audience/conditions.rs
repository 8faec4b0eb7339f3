//! Each condition by itself, and several together.

use lb_common::audience::{RANGES, Range, condition};
use lb_userspace::dataplane::{Dataplane as _, question::Question};

use super::*;
use crate::{
    frame::{Transport, tag},
    world::{FAMILIES, Family, KINDS, Protocol, bucket_of, client, endpoint, vip},
};

/// A packet that begins something: a SYN, or a datagram.
fn first(family: Family, protocol: Protocol) -> Frame {
    let (from, to) = (client(family, 7), vip(family));
    match protocol {
        Protocol::Tcp => Frame::syn(from, to),
        Protocol::Udp => Frame::udp(from, to),
    }
}

fn ranges(given: &[(u16, u16)]) -> [Range; RANGES] {
    let mut ranges = [Range::NONE; RANGES];
    for (place, &(low, high)) in ranges.iter_mut().zip(given) {
        *place = Range { low, high };
    }
    ranges
}

/// Checks packets, each with whether it is in the audience.
fn check(rule: Rule, cases: &[(&str, Frame, bool)]) {
    let mut lab = Lab::new(&image(&[(rule, Vec::new())]));
    for (what, frame, expected) in cases {
        assert_eq!(is_new(&mut lab, frame), *expected, "{what}: {frame:?}");
    }
}

/// The TCP option that pads others.
const NOP: u8 = 1;

#[test]
fn sources_are_prefixes_of_either_version() {
    let all = nets(&[
        "10.77.0.0/24",
        "10.77.1.128/25",
        "fd77:0:0:2::/64",
        "fd77:0:0:3::7/128",
    ]);
    let mut lab = Lab::new(&image(&[(staff(1), all)]));
    let inside = |family, number: u16| match family {
        Family::V4 => number < 0x100 || (0x180..0x200).contains(&number),
        Family::V6 => [2, 3].contains(&number),
    };
    for (family, protocol) in KINDS {
        for number in [0, 2, 3, 4, 0xff, 0x100, 0x17f, 0x180, 0x1ff, 0x200] {
            let frame = first(family, protocol).from(client(family, number));
            assert_eq!(
                is_new(&mut lab, &frame),
                inside(family, number),
                "{frame:?}"
            );
        }
    }
}

#[test]
fn source_ports_are_ranges() {
    let rule = Rule {
        conditions: condition::PORTS,
        ports: ranges(&[(1000, 1999), (53, 53), (60_000, 65_535)]),
        ..staff(1)
    };
    for (family, protocol) in KINDS {
        let at = |port: u16| first(family, protocol).from(from(client(family, 7), port));
        let cases = [
            (999, false),
            (1000, true),
            (1999, true),
            (2000, false),
            (52, false),
            (53, true),
            (54, false),
            (59_999, false),
            (60_000, true),
            (65_535, true),
        ];
        check(
            rule,
            &cases.map(|(port, expected)| ("port", at(port), expected)),
        );
    }
}

#[test]
fn any_of_a_frames_tags_may_have_the_vlan_id() {
    let rule = Rule {
        conditions: condition::VLAN,
        vlan: ranges(&[(100, 199), (7, 7)]),
        ..staff(1)
    };
    for (family, protocol) in KINDS {
        let tagged = |tags: &[(u16, u16)]| Frame {
            tags: tags.to_vec(),
            ..first(family, protocol)
        };
        let cases = [
            ("untagged", tagged(&[]), false),
            ("another", tagged(&[(tag::VLAN, 99)]), false),
            ("the first", tagged(&[(tag::VLAN, 100)]), true),
            ("with a priority", tagged(&[(tag::VLAN, 0xe007)]), true),
            (
                "the outer",
                tagged(&[(tag::QINQ, 150), (tag::VLAN, 1)]),
                true,
            ),
            (
                "the inner",
                tagged(&[(tag::QINQ, 1), (tag::VLAN, 199)]),
                true,
            ),
            (
                "neither",
                tagged(&[(tag::QINQ, 1), (tag::VLAN, 200)]),
                false,
            ),
        ];
        check(rule, &cases);
    }
}

#[test]
fn the_hop_limit_lies_in_a_range() {
    let rule = Rule {
        conditions: condition::TTL,
        ttl: Range { low: 60, high: 64 },
        ..staff(1)
    };
    for (family, protocol) in KINDS {
        let at = |hops| Frame {
            hops,
            ..first(family, protocol)
        };
        let cases = [
            (59, false),
            (60, true),
            (64, true),
            (65, false),
            (255, false),
        ];
        check(
            rule,
            &cases.map(|(hops, expected)| ("hops", at(hops), expected)),
        );
    }
}

#[test]
fn the_dscp_is_one_of_several() {
    let rule = Rule {
        conditions: condition::DSCP,
        dscp: 1 << 46 | 1 << 10 | 1,
        ..staff(1)
    };
    for (family, protocol) in KINDS {
        let mut lab = Lab::new(&image(&[(rule, Vec::new())]));
        for dscp in 0..64_u8 {
            for ecn in [0, 3] {
                let frame = marked(first(family, protocol).bytes(), family, dscp << 2 | ecn);
                let (_, out) = lab.pass_through(&frame);
                let expected = [46, 10, 0].contains(&dscp);
                assert_eq!(chosen(&out) == NEW, expected, "DSCP {dscp}");
            }
        }
    }
}

/// The frame with another type of service, or traffic class; its IP checksum is left alone.
fn marked(mut frame: Vec<u8>, family: Family, class: u8) -> Vec<u8> {
    match family {
        Family::V4 => frame[15] = class,
        Family::V6 => {
            frame[14] = 0x60 | class >> 4;
            frame[15] = class << 4 | frame[15] & 0xf;
        }
    }
    frame
}

#[test]
fn the_segment_size_is_that_of_the_syn() {
    let rule = Rule {
        conditions: condition::MSS,
        mss: Range {
            low: 1300,
            high: 1400,
        },
        ..staff(1)
    };
    let mss = |size: u16| [[2, 4], size.to_be_bytes()].concat();
    let scaled: &[u8] = &[3, 3, 7];
    for family in FAMILIES {
        let syn = |options: &[u8]| Frame {
            transport: Transport::Tcp(crate::frame::flag::SYN, options.to_vec()),
            ..first(family, Protocol::Tcp)
        };
        let cases = [
            ("no options", syn(&[]), false),
            ("in range", syn(&mss(1300)), true),
            ("at the end", syn(&mss(1400)), true),
            ("below", syn(&mss(1299)), false),
            ("above", syn(&mss(1460)), false),
            (
                "another first",
                syn(&[scaled, &[NOP], &mss(1350)].concat()),
                true,
            ),
            (
                "behind the end of options",
                syn(&[&[0, 0, 0, 0][..], &mss(1350)].concat()),
                false,
            ),
            ("of another length", syn(&[2, 3, 0x05, 0x46]), false),
            (
                "without a length",
                syn(&[[9, 0, 1, 1], [2, 4, 5, 0x46]].concat()),
                false,
            ),
            ("cut off by the header's end", syn(&[NOP, NOP, 2, 4]), false),
            (
                "UDP has none",
                Frame::udp(client(family, 7), vip(family)),
                false,
            ),
        ];
        check(rule, &cases);
    }
}

#[test]
fn all_conditions_must_hold() {
    let rule = Rule {
        conditions: condition::PORTS | condition::TTL,
        ports: ranges(&[(500, 600)]),
        ttl: Range { low: 64, high: 64 },
        ..staff(1)
    };
    let sources = nets(&["10.77.0.0/28", "fd77:0:0:1::/64"]);
    let mut lab = Lab::new(&image(&[(rule, sources)]));
    for (family, protocol) in KINDS {
        for (number, port, hops) in [(1, 550, 64), (99, 550, 64), (1, 601, 64), (1, 550, 63)] {
            let frame = Frame {
                hops,
                ..first(family, protocol).from(from(client(family, number), port))
            };
            let expected = (number, port, hops) == (1, 550, 64);
            assert_eq!(is_new(&mut lab, &frame), expected, "{frame:?}");
        }
    }
}

#[test]
fn a_question_shows_what_an_audience_asks_for() {
    let rule = Rule {
        conditions: condition::DSCP | condition::VLAN | condition::TTL | condition::MSS,
        dscp: 1 << 46,
        vlan: ranges(&[(12, 12)]),
        ttl: Range { low: 57, high: 57 },
        mss: Range {
            low: 1200,
            high: 1200,
        },
        ..staff(1)
    };
    let mut lab = Lab::new(&image(&[(rule, Vec::new())]));
    for family in FAMILIES {
        let plain = Question::new(client(family, 7), endpoint(vip(family), 6), true);
        let staff = Question {
            dscp: 46,
            hops: 57,
            vlan: Some(12),
            mss: Some(1200),
            ..plain
        };
        for (question, chosen) in [
            (staff, NEW),
            (Question { dscp: 47, ..staff }, OLD),
            (Question { hops: 58, ..staff }, OLD),
            (
                Question {
                    vlan: Some(13),
                    ..staff
                },
                OLD,
            ),
            (
                Question {
                    vlan: None,
                    ..staff
                },
                OLD,
            ),
            (
                Question {
                    mss: Some(1201),
                    ..staff
                },
                OLD,
            ),
            (Question { mss: None, ..staff }, OLD),
        ] {
            assert_eq!(lab.tell(&question.frame()).chosen, chosen, "{question:?}");
            assert_eq!(is_new_bytes(&mut lab, &question.frame()), chosen == NEW);
        }
    }
}

#[test]
fn the_first_audience_that_matches_answers_and_is_the_one_that_counts() {
    let kept = Rule::new(2, 0);
    let rules = [
        (kept, nets(&["10.77.0.5/32", "fd77:0:0:5::/64"])),
        (staff(3), nets(&["10.77.0.0/24", "fd77::/60"])),
        (Rule::new(4, 0), nets(&["10.77.0.0/16", "fd77::/16"])),
    ];
    for family in FAMILIES {
        let mut lab = Lab::new(&image(&rules));
        let mut sends = |number| is_new(&mut lab, &Frame::syn(client(family, number), vip(family)));
        assert_eq!([5, 6, 7, 0x777].map(&mut sends), [false, true, true, false]);
        let bytes = Frame::syn(client(family, 5), vip(family)).bytes().len() as u64;
        let counted = lab.kernel().audience_counters(&[2, 3, 4]);
        let counted = counted.expect("counters are readable");
        let counts = counted
            .values()
            .map(|c| (c.packets, c.connections, c.bytes / bytes));
        assert_eq!(
            counts.collect::<Vec<_>>(),
            [(1, 1, 1), (2, 2, 2), (1, 1, 1)]
        );
    }
}

#[test]
fn a_share_of_its_own_takes_the_same_nested_buckets() {
    let mut lab = Lab::new(&image(&[(
        Rule::new(1, 300_000),
        nets(&["10.77.0.0/17", "fd77::/49"]),
    )]));
    lab.set_record(Record {
        share_ppm: 100_000,
        origin_share_ppm: 100_000,
        ..with_audiences()
    });
    for family in FAMILIES {
        for number in (0..2000).map(|n| n * 32) {
            let from = client(family, number);
            let share = if number < 0x8000 { 300_000 } else { 100_000 };
            let expected = bucket_of(from, resting().salt) < share;
            let frame = Frame::syn(from, vip(family));
            assert_eq!(is_new(&mut lab, &frame), expected, "client {number}");
        }
    }
}
