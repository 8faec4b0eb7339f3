//! Frames that nobody meant to send.

use lb_common::{hash::BUCKETS, reason::Reason, release::Record};
use lb_userspace::dataplane::Image;

use crate::{
    fragments,
    frame::Frame,
    icmp,
    lab::Lab,
    outcome::Verdict,
    quic,
    random::Random,
    world::{FAMILIES, Family, KINDS, NEW_TABLE, OLD, client, request, resting, server, vip},
};

const FRAMES: u64 = 100_000;

#[test]
fn whatever_comes_leaves_once_by_a_counted_way_and_unchanged_unless_forwarded() {
    let mut lab = Lab::new(&in_a_cutover());
    lab.complete();
    let mut good = good_frames();
    good.extend(odd_frames());
    let mut random = Random::new(3);
    for _ in 0..FRAMES {
        let frame = spoiled(&good[random.below(good.len())], &mut random);
        let outcome = lab.send(&frame);
        let rewritten = matches!(outcome.verdict, Verdict::Transmit | Verdict::Redirect)
            || matches!(
                outcome.reason,
                Reason::ReplyUnresolved | Reason::ErrorUnresolved
            );
        assert!(
            rewritten || outcome.frame == frame,
            "{:?}: {frame:02x?}",
            outcome.reason
        );
        assert_eq!(outcome.frame.len(), frame.len(), "{frame:02x?}");
    }
    let exits: u64 = lab.counters().reasons.iter().map(|(_, count)| count).sum();
    assert_eq!(exits, FRAMES);
}

/// With the keys for what tells no ports, amid a change, QUIC being listened for.
fn in_a_cutover() -> Image {
    let mut image = quic::image(Record {
        active: NEW_TABLE,
        touched_ppm: BUCKETS,
        flags: Record::MOVING,
        ..resting()
    });
    lb_userspace::state::portless::add(&mut image);
    image
}

/// Pieces, errors about connections, and QUIC.
fn odd_frames() -> Vec<Vec<u8>> {
    let mut frames = fragments::some();
    for family in FAMILIES {
        frames.extend(icmp::some(family));
        let payloads = [quic::long(quic::INITIAL_1, quic::SMALLEST), quic::short()];
        let datagrams = payloads.map(|payload| quic::datagram(client(family, 7), payload));
        frames.extend(datagrams.map(|frame| frame.bytes()));
    }
    frames
}

/// Frames from which few flipped bits lead into every corner of the program.
pub fn good_frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (family, protocol) in KINDS {
        let plain = request(family, protocol);
        let reply = plain
            .clone()
            .from(server(family, OLD))
            .to(client(family, 7));
        let rich = match family {
            Family::V4 => Frame {
                options: vec![1; 12],
                ..plain.clone()
            },
            Family::V6 => Frame {
                extensions: vec![(0, vec![1; 6]), (43, vec![4, 0, 0, 0, 0, 0])],
                ..plain.clone()
            },
        };
        frames.extend([plain, reply, rich].map(|frame| frame.bytes()));
    }
    for family in FAMILIES {
        frames.push(Frame::syn(client(family, 9), vip(family)).bytes());
    }
    frames
}

/// The frame with up to eight bits flipped, and one time in four cut.
fn spoiled(frame: &[u8], random: &mut Random) -> Vec<u8> {
    const SHORTEST: usize = 14;
    let mut spoiled = frame.to_vec();
    for _ in 0..random.below(9) {
        let bit = random.below(spoiled.len() * 8);
        spoiled[bit / 8] ^= 1 << (bit % 8);
    }
    if random.below(4) == 0 {
        spoiled.truncate(SHORTEST + random.below(frame.len() - SHORTEST));
    }
    spoiled
}
