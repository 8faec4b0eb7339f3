//! IPv6 extension headers (RFC 8200, section 4): walked up to a bound, never changed.

use lb_common::reason::Reason;

use crate::{
    case::Case,
    frame::{ETHERNET, Frame, extension},
    lab::Lab,
    passed::edited,
    world::{Family, OLD, Protocol, at_rest, request, translated},
};

/// As many as are walked.
const MOST: usize = 4;

const BOTH: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn chain(protocol: Protocol, extensions: &[(u8, usize)]) -> Frame {
    let content = |length: usize| {
        let mut content = vec![0; length];
        // A routing header has no segments left.
        content[0] = 4;
        content
    };
    let extensions = extensions.iter().copied();
    Frame {
        extensions: extensions
            .map(|(number, length)| (number, content(length)))
            .collect(),
        ..request(Family::V6, protocol)
    }
}

#[test]
fn every_chain_up_to_the_bound_goes_through_and_none_beyond() {
    let mut lab = Lab::new(&at_rest());
    let kinds = [
        extension::HOP_BY_HOP,
        extension::ROUTING,
        extension::DESTINATION_OPTIONS,
    ];
    for protocol in BOTH {
        for kind in kinds {
            for length in [6, 14, 38] {
                for count in 0..=MOST {
                    let input = chain(protocol, &vec![(kind, length); count]);
                    let output = translated(input.clone(), Family::V6, OLD);
                    Case::transmitted(format!("{count} of {kind}"), &input, &output)
                        .check(&mut lab);
                }
                let input = chain(protocol, &[(kind, length); MOST + 1]);
                Case::passed("one more", input.bytes(), Reason::ExtensionHeaders).check(&mut lab);
            }
        }
    }
}

#[test]
fn a_chain_that_ends_in_another_protocol_passes() {
    let mut lab = Lab::new(&at_rest());
    for protocol in BOTH {
        let input = chain(protocol, &[(extension::DESTINATION_OPTIONS, 6)]);
        // Authentication, encapsulated security, no next header, SCTP.
        for number in [51, 50, 59, 132] {
            let input = edited(&input, ETHERNET + 40, &[number]);
            Case::passed(format!("{number}"), input, Reason::OtherProtocol).check(&mut lab);
        }
    }
}

#[test]
fn a_chain_whose_end_is_not_in_the_frame_passes() {
    let mut lab = Lab::new(&at_rest());
    for protocol in BOTH {
        let whole = chain(protocol, &[(extension::DESTINATION_OPTIONS, 14); MOST]);
        let bytes = whole.bytes();
        for length in ETHERNET + 40..whole.transport_offset() {
            let outcome = lab.send(&bytes[..length]);
            let reason = outcome.reason;
            let named = [
                Reason::TruncatedHeader,
                Reason::TruncatedTransport,
                Reason::BadLength,
            ];
            assert!(named.contains(&reason), "{length} bytes: {reason:?}");
            assert_eq!(outcome.frame, bytes[..length]);
        }
    }
}

#[test]
fn a_routing_header_that_goes_on_passes_wherever_it_stands() {
    let mut lab = Lab::new(&at_rest());
    for protocol in BOTH {
        for before in 0..MOST {
            let mut input = chain(protocol, &vec![(extension::DESTINATION_OPTIONS, 6); before]);
            input
                .extensions
                .push((extension::ROUTING, vec![4, 1, 0, 0, 0, 0]));
            Case::passed(
                format!("{before} before"),
                input.bytes(),
                Reason::ExtensionHeaders,
            )
            .check(&mut lab);
        }
    }
}
