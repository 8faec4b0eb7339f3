//! Random packets, against a plain model with the same state machine, which is tested on the host.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use lb_common::signal::{Call, Clock, Decided, Kind, SIGNALS, Segment, Watched};

use super::*;
use crate::{random::Random, world::FAMILIES};

const BATCHES: u16 = 50;
/// Of a batch.
const PACKETS: usize = 2000;
/// In a batch that takes longer, the program may have seen the second end that the model has not.
const LONGEST: Duration = Duration::from_millis(900);

/// In a batch all happens early.
struct Early;

impl Clock for Early {
    fn precise(&self) -> u64 {
        1
    }

    fn coarse(&self) -> u64 {
        1
    }
}

/// What is to be counted.
#[derive(Default)]
struct Model {
    watched: HashMap<SocketAddr, Watched>,
    salt: u64,
    /// By the place of clients: signals that they have failed, and values that they have given.
    spent: HashSet<(u32, usize)>,
    /// The same: signals that they have had a trial of.
    tried: HashSet<(u32, usize)>,
    known: HashSet<u32>,
    counted: [Counted; 3],
    firsts: [[(u32, u32); SIGNALS]; 3],
}

impl Model {
    fn client(&mut self, record: &Record, from: SocketAddr, segment: Segment) {
        let cohort = record.cohort(bucket_of(from, record.salt));
        if cohort == cohort::NONE {
            return;
        }
        if segment.flags & (SYN | flag::ACK | flag::RST) != SYN {
            self.follow(from, |watched| watched.client(&segment, &Early));
            return;
        }
        let decided = match self.watched.get_mut(&from) {
            Some(watched) => match watched.call(segment.sequence) {
                Call::Again(decided) => return self.count(cohort, from, decided),
                Call::Another(decided) => decided,
            },
            None => Decided::NOTHING,
        };
        self.count(cohort, from, decided);
        let kind = Kind::new(cohort, record.forward() == Record::FORWARD_NAT);
        let watched = Watched::new(
            segment.sequence,
            backend_of(cohort),
            (kind, record.draw()),
            1,
        );
        self.watched.insert(from, watched);
    }

    fn follow(&mut self, from: SocketAddr, step: impl FnOnce(&mut Watched) -> Decided) {
        let Some(watched) = self.watched.get_mut(&from) else {
            return;
        };
        let decided = step(watched);
        let cohort = watched.kind().cohort();
        self.count(cohort, from, decided);
        if decided.has(Decided::OVER) {
            self.watched.remove(&from);
        }
    }

    fn count(&mut self, cohort: u32, from: SocketAddr, decided: Decided) {
        let counted = &mut self.counted[cohort as usize];
        let client = place(from, self.salt);
        for (at, signal) in Signal::ALL.into_iter().enumerate() {
            let (trials, failures) = &mut counted.pairs[at];
            if decided.decides(signal) && !self.spent.contains(&(client, at)) {
                let failed = u32::from(decided.fails(signal));
                *trials += 1;
                *failures += failed;
                if failed > 0 {
                    self.spent.insert((client, at));
                }
                if self.tried.insert((client, at)) {
                    let (trials, failures) = &mut self.firsts[cohort as usize][at];
                    *trials += 1;
                    *failures += failed;
                }
            }
        }
        counted.clients += u64::from(decided.is_evidence() && self.known.insert(client));
        counted.opened += u64::from(decided.has(Decided::OPENED));
        counted.ended += u64::from(decided.has(Decided::ENDED));
        let flags = [Decided::HANDSHAKE, Decided::FIRST_BYTE, Decided::BYTES];
        for (at, flag) in flags.into_iter().enumerate() {
            let new = decided.has(flag) && self.spent.insert((client, SIGNALS + at));
            counted.samples[at] += u64::from(new);
        }
    }
}

#[test]
fn a_hundred_thousand_packets_are_counted_as_by_a_plain_model() {
    for forward in [Record::FORWARD_NAT, Record::FORWARD_L2] {
        let mut random = Random::new(0x516 + u64::from(forward));
        let mut lab = lab(measuring(forward));
        let mut compared = 0;
        for batch in 0..BATCHES {
            // Each is a release of its own, whose clients begin connections of their own.
            let record = Record {
                salt: u64::from(batch) + 1,
                epoch: u64::from(batch) + 2,
                share_ppm: 300_000,
                origin_share_ppm: 300_000,
                ..measuring(forward)
            };
            lab.set_record(record);
            let begun = Instant::now();
            let before = signals(&mut lab);
            let mut model = Model {
                salt: record.salt,
                ..Model::default()
            };
            for _ in 0..PACKETS {
                one(&mut lab, &mut model, &record, (batch, &mut random));
            }
            let after = signals(&mut lab);
            let in_time = begun.elapsed() < LONGEST;
            compared += u32::from(in_time);
            for cohort in COHORTS {
                let counted = risen(&before, &after, cohort);
                for (trials, failures) in counted.pairs {
                    assert!(failures <= trials, "{counted:?}");
                }
                let expected = model.counted[cohort as usize];
                assert!(!in_time || counted == expected, "{counted:?} {expected:?}");
                let counted = firsts(&before, &after, cohort);
                let expected = model.firsts[cohort as usize];
                assert!(!in_time || counted == expected, "{counted:?} {expected:?}");
            }
        }
        assert!(
            compared > u32::from(BATCHES) / 2,
            "{compared} batches compared"
        );
    }
}

/// One packet of one of a few connections, and what it is to the model.
fn one(lab: &mut Lab, model: &mut Model, record: &Record, (batch, random): (u16, &mut Random)) {
    const FLAGS: [u8; 8] = [SYN, SYN, ACK, ACK, ACK, FIN, RST, SYN_ACK];
    let family = FAMILIES[random.below(2)];
    let mut from = client(family, random.word() % 16);
    from.set_port(2000 + batch * 4 + random.word() % 2);
    let piece: Piece = (
        [0, 1, 1, 101, 5000][random.below(5)],
        [0, 0, 1, 100][random.below(4)],
        FLAGS[random.below(FLAGS.len())],
    );
    let (at, payload, flags) = piece;
    let cohort = record.cohort(bucket_of(from, record.salt));
    let segment = |first: u32| Segment {
        sequence: first.wrapping_add(at),
        payload: u32::try_from(payload).expect("small"),
        flags,
    };
    if random.below(2) == 0 {
        lab.pass_through(&asked(from, family, piece));
        model.client(record, from, segment(CLIENT));
    } else {
        lab.pass_through(&answered(from, family, backend_of(cohort), piece));
        let measured = record.forward() == Record::FORWARD_NAT && cohort != cohort::NONE;
        if measured {
            model.follow(from, |watched| watched.server(&segment(SERVER), &Early));
        }
    }
}
