//! Frames that end too early, at every length that the kernel would hand over.

use lb_common::reason::Reason;

use crate::{
    frame::{ETHERNET, Frame, Transport, extension, flag, tag},
    lab::Lab,
    outcome::Verdict,
    world::{Family, KINDS, Protocol, at_rest, request},
};

#[test]
fn a_frame_cut_anywhere_is_never_forwarded_nor_changed() {
    let mut lab = Lab::new(&at_rest());
    for frame in KINDS
        .into_iter()
        .flat_map(|(family, protocol)| shapes(family, protocol))
    {
        let whole = frame.bytes();
        // The kernel hands over no frame that is shorter than its Ethernet header.
        for length in ETHERNET..whole.len() {
            let cut = &whole[..length];
            let outcome = lab.send(cut);
            assert_eq!(
                outcome.verdict,
                Verdict::Pass,
                "{length} bytes of {frame:?}"
            );
            assert_eq!(outcome.frame, cut, "{length} bytes of {frame:?}");
            let reason = outcome.reason;
            let expected = [
                Reason::TruncatedHeader,
                Reason::TruncatedTransport,
                Reason::BadLength,
            ];
            assert!(
                expected.contains(&reason),
                "{length} bytes of {frame:?}: {reason:?}"
            );
        }
        assert_eq!(lab.send(&whole).reason, Reason::Transmitted, "{frame:?}");
    }
}

#[test]
fn a_frame_cut_within_its_padding_is_whole() {
    let mut lab = Lab::new(&at_rest());
    for (family, protocol) in KINDS {
        let plain = request(family, protocol);
        let packet = plain.bytes().len();
        let padded = Frame {
            padding: vec![0; 20],
            ..plain
        }
        .bytes();
        for length in packet..padded.len() {
            assert_eq!(lab.send(&padded[..length]).verdict, Verdict::Transmit);
        }
    }
}

/// One kind of packet: plain, and with all that may stand between its headers.
fn shapes(family: Family, protocol: Protocol) -> [Frame; 2] {
    let plain = request(family, protocol);
    let mut rich = plain.clone();
    rich.tags = vec![(tag::QINQ, 7), (tag::VLAN, 8)];
    match family {
        Family::V4 => rich.options = vec![1; 24],
        Family::V6 => {
            rich.extensions = vec![
                (extension::HOP_BY_HOP, vec![1; 6]),
                (extension::ROUTING, vec![4, 0, 0, 0, 0, 0]),
                (extension::DESTINATION_OPTIONS, vec![1; 14]),
            ];
        }
    }
    if protocol == Protocol::Tcp {
        rich.transport = Transport::Tcp(flag::SYN, vec![1; 20]);
    }
    [plain, rich]
}
