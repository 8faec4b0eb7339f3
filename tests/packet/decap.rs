//! `serin decap`: packets taken out of others, whole outputs compared.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use lb_common::{
    decap::{Exit, Prefix, Settings},
    encap::{GUE_PORT, SOURCES_V4, SOURCES_V6},
    release::Record,
};
use lb_userspace::{
    dataplane::kernel::{
        decap::{Decapsulator, exits},
        detach,
    },
    object,
};
use serin_tests::{
    netns::{Entered, Namespace},
    unique,
};

use crate::{
    encap::outer,
    frame::{Frame, extension, tag},
    outcome::Verdict,
    tunnel::{Outer, marked, network, wrapped},
    world::{FAMILIES, Family, KINDS, Protocol, request},
};

/// A decapsulator in a namespace of its own.
struct Lab {
    decapsulator: Option<Decapsulator>,
    pins: PathBuf,
    counted: Vec<(Exit, u64)>,
    _inside: Entered,
    _namespace: Namespace,
}

impl Lab {
    fn new() -> Self {
        let namespace = Namespace::create("packet").expect("root makes namespaces");
        let inside = namespace.enter().expect("root enters namespaces");
        let pins = Path::new("/sys/fs/bpf").join(unique::name());
        let sources = [
            Prefix::new(IpAddr::from(SOURCES_V4.0).into(), SOURCES_V4.1),
            Prefix::new(IpAddr::from(SOURCES_V6.0).into(), SOURCES_V6.1),
        ];
        let settings = Settings::new(&sources, GUE_PORT);
        let opened = Decapsulator::open(object::SERIN, &pins, &settings);
        Self {
            decapsulator: Some(opened.expect("root loads the program")),
            counted: Exit::ALL.map(|exit| (exit, 0)).into(),
            pins,
            _inside: inside,
            _namespace: namespace,
        }
    }

    /// Sends a frame, and proves that one way out was counted.
    fn send(&mut self, frame: &[u8]) -> (Verdict, Exit, Vec<u8>) {
        let decapsulator = self.decapsulator.as_mut().expect("there until dropped");
        let (action, out) = decapsulator
            .test_run(frame)
            .expect("the kernel runs the program");
        let now = exits(&self.pins).expect("readable").expect("there");
        let rises = self.counted.iter().zip(&now);
        let rises: Vec<Exit> = rises
            .flat_map(|(&(exit, before), &(_, after))| (before..after).map(move |_| exit))
            .collect();
        self.counted = now;
        let [exit] = rises[..] else {
            panic!("not one way out but {rises:?} for {frame:02x?}");
        };
        (Verdict::of(action), exit, out)
    }

    fn passes_untouched(&mut self, description: &str, frame: &[u8], exit: Exit) {
        let outcome = self.send(frame);
        assert_eq!(
            outcome,
            (Verdict::Pass, exit, frame.to_vec()),
            "{description}"
        );
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.decapsulator = None;
        if let Err(error) = detach(&self.pins) {
            eprintln!("{} is left behind: {error}", self.pins.display());
        }
    }
}

/// Each way to put a packet into another.
const TUNNELS: [(u32, Family, Exit); 4] = [
    (Record::FORWARD_IPIP, Family::V4, Exit::Ipip),
    (Record::FORWARD_IPIP, Family::V6, Exit::Ipip),
    (Record::FORWARD_GUE, Family::V4, Exit::Gue),
    (Record::FORWARD_GUE, Family::V6, Exit::Gue),
];

/// The frame inside another one, and as it must be found outside again: one hop further on, on the
/// way that the outer one came.
fn wrap(frame: &[u8], outer: &Outer) -> (Vec<u8>, Vec<u8>) {
    let outside = wrapped(frame, outer);
    let headers = match (outer.source, outer.ports) {
        (IpAddr::V4(_), None) => 20,
        (IpAddr::V4(_), Some(_)) => 28,
        (IpAddr::V6(_), None) => 40,
        (IpAddr::V6(_), Some(_)) => 48,
    };
    let at = network(&outside);
    let inside = [
        &outside[..at - 2],
        &frame[network(frame) - 2..network(frame)],
        &outside[at + headers..],
    ];
    let inside = inside.concat();
    (outside, inside)
}

#[test]
fn what_the_edge_puts_into_a_packet_is_taken_out() {
    let mut lab = Lab::new();
    for (forward, outer_family, exit) in TUNNELS {
        for (family, protocol) in KINDS {
            let plain = request(family, protocol);
            let outer = outer(forward, outer_family, &plain, protocol);
            let options = match family {
                Family::V4 => Frame {
                    options: vec![1; 8],
                    ..plain.clone()
                },
                Family::V6 => Frame {
                    extensions: vec![(extension::HOP_BY_HOP, vec![1; 6])],
                    ..plain.clone()
                },
            };
            let tagged = |tags| Frame {
                tags,
                ..plain.clone()
            };
            let one = tagged(vec![(tag::VLAN, 7)]);
            let two = tagged(vec![(tag::QINQ, 9), (tag::VLAN, 7)]);
            for input in [plain, options, one, two] {
                let (outside, inside) = wrap(&input.bytes(), &outer);
                let outcome = lab.send(&outside);
                assert_eq!(
                    outcome,
                    (Verdict::Pass, exit, inside),
                    "{input:?} {outer:?}"
                );
            }
        }
    }
}

#[test]
fn a_packet_in_a_frame_of_several_buffers_is_taken_out() {
    let mut lab = Lab::new();
    for (forward, outer_family, exit) in TUNNELS {
        for (family, protocol) in KINDS {
            let large = Frame {
                // More than the kernel's test run puts into one buffer, which is less than a page.
                payload: (0..=u8::MAX).cycle().take(8900).collect(),
                ..request(family, protocol)
            };
            let outer = outer(forward, outer_family, &large, protocol);
            let (outside, inside) = wrap(&large.bytes(), &outer);
            let (verdict, left, out) = lab.send(&outside);
            assert_eq!((verdict, left), (Verdict::Pass, exit), "{outer:?}");
            assert!(
                out == inside,
                "{outer:?}: {} bytes of {}",
                out.len(),
                inside.len()
            );
        }
    }
}

#[test]
fn congestion_marks_come_in_by_the_table_of_rfc_6040() {
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    // Section 4.2, figure 4: inner and outer, and what leaves.
    let table = [
        (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
        (NOT_ECT, ECT_0, Some(NOT_ECT)),
        (NOT_ECT, ECT_1, Some(NOT_ECT)),
        (NOT_ECT, CE, None),
        (ECT_0, NOT_ECT, Some(ECT_0)),
        (ECT_0, ECT_0, Some(ECT_0)),
        (ECT_0, ECT_1, Some(ECT_1)),
        (ECT_0, CE, Some(CE)),
        (ECT_1, NOT_ECT, Some(ECT_1)),
        (ECT_1, ECT_0, Some(ECT_1)),
        (ECT_1, ECT_1, Some(ECT_1)),
        (ECT_1, CE, Some(CE)),
        (CE, NOT_ECT, Some(CE)),
        (CE, ECT_0, Some(CE)),
        (CE, ECT_1, Some(CE)),
        (CE, CE, Some(CE)),
    ];
    // Another DSCP outside than inside: the inner one stays.
    let (inner_dscp, outer_dscp) = (0xb8, 0x28);
    let mut lab = Lab::new();
    for (forward, outer_family, exit) in TUNNELS {
        for family in FAMILIES {
            let plain = request(family, Protocol::Tcp);
            let outer = outer(forward, outer_family, &plain, Protocol::Tcp);
            for (inner_mark, outer_mark, leaves) in table {
                let input = marked(&plain.bytes(), inner_dscp | inner_mark, true);
                let (outside, inside) = wrap(&input, &outer);
                let outside = marked(&outside, outer_dscp | outer_mark, true);
                let (verdict, found, out) = lab.send(&outside);
                let description = format!("{family:?} {outer_family:?} {inner_mark} {outer_mark}");
                match leaves {
                    Some(mark) => {
                        let expected = marked(&inside, inner_dscp | mark, true);
                        let told = (verdict, found, out);
                        assert_eq!(told, (Verdict::Pass, exit, expected), "{description}");
                    }
                    None => assert_eq!(
                        (verdict, found),
                        (Verdict::Drop, Exit::CongestionLost),
                        "{description}"
                    ),
                }
            }
        }
    }
}

#[test]
fn linuxs_variant_of_gue_is_taken_out_too() {
    let mut lab = Lab::new();
    for family in FAMILIES {
        let plain = request(family, Protocol::Tcp);
        let outer = outer(Record::FORWARD_GUE, Family::V4, &plain, Protocol::Tcp);
        let (mut outside, inside) = wrap(&plain.bytes(), &outer);
        let protocol = if family == Family::V6 { 41 } else { 4 };
        let at = network(&outside) + 28;
        outside.splice(at..at, [0, protocol, 0, 0]);
        assert_eq!(lab.send(&outside), (Verdict::Pass, Exit::Gue, inside));
        // A control message, another protocol, and options are somebody else's.
        for header in [[0x20, protocol, 0, 0], [0, 47, 0, 0], [1, protocol, 0, 0]] {
            outside[at..at + 4].copy_from_slice(&header);
            lab.passes_untouched("another variant", &outside, Exit::OtherVariant);
        }
    }
}

#[test]
fn what_is_in_no_other_packet_passes() {
    let mut lab = Lab::new();
    for (family, protocol) in KINDS {
        let input = request(family, protocol).bytes();
        lab.passes_untouched("not encapsulated", &input, Exit::Other);
    }
    let plain = request(Family::V4, Protocol::Tcp);
    let mut outer = outer(Record::FORWARD_GUE, Family::V4, &plain, Protocol::Tcp);
    outer.ports = Some((50_000, 6081));
    let (outside, _) = wrap(&plain.bytes(), &outer);
    lab.passes_untouched("another port", &outside, Exit::Other);
}

#[test]
fn what_comes_from_none_of_the_sources_passes() {
    let mut lab = Lab::new();
    for (forward, outer_family, _) in TUNNELS {
        let plain = request(Family::V4, Protocol::Tcp);
        let mut outer = outer(forward, outer_family, &plain, Protocol::Tcp);
        outer.source = outer.destination;
        let (outside, _) = wrap(&plain.bytes(), &outer);
        lab.passes_untouched("another source", &outside, Exit::OtherSource);
    }
}

#[test]
fn pieces_of_outer_packets_pass() {
    let mut lab = Lab::new();
    let plain = request(Family::V4, Protocol::Tcp);
    let outer = outer(Record::FORWARD_IPIP, Family::V4, &plain, Protocol::Tcp);
    let (mut outside, _) = wrap(&plain.bytes(), &outer);
    for word in [[0x20, 0], [0, 1], [0x1f, 0xff]] {
        outside[20..22].copy_from_slice(&word);
        lab.passes_untouched("a piece", &outside, Exit::Fragment);
    }
}

#[test]
fn frames_that_end_early_or_contradict_themselves_pass() {
    let mut lab = Lab::new();
    for (forward, outer_family, _) in TUNNELS {
        for family in FAMILIES {
            let plain = request(family, Protocol::Tcp);
            let outer = outer(forward, outer_family, &plain, Protocol::Tcp);
            let (outside, _) = wrap(&plain.bytes(), &outer);
            // The kernel runs no frame that is shorter than its Ethernet header.
            for length in 14..outside.len() {
                let (verdict, exit, out) = lab.send(&outside[..length]);
                assert_eq!((verdict, &out[..]), (Verdict::Pass, &outside[..length]));
                assert!(
                    matches!(exit, Exit::Malformed | Exit::Other),
                    "{exit:?} at {length}"
                );
            }
            let mut other = outside.clone();
            let headers = outside.len() - (plain.bytes().len() - 14);
            other[headers] ^= 0x20;
            let (verdict, exit, out) = lab.send(&other);
            assert_eq!((verdict, out), (Verdict::Pass, other));
            assert!(matches!(
                exit,
                Exit::Malformed | Exit::OtherVariant | Exit::Gue
            ));
        }
    }
}
