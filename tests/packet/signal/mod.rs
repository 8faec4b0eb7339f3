//! What is measured of connections: each event in each cohort, and nothing of anybody else.

mod breaker;
mod clients;
mod cohorts;
mod draws;
mod events;
mod race;
mod random;

use std::net::SocketAddr;

use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::{
    address::Address,
    maps::name,
    pool::Slot,
    release::Record,
    signal::{Histogram, Signal, client as told, cohort},
};
use lb_userspace::dataplane::{Dataplane as _, Table, signals::Signals};

use crate::{
    frame::{Frame, flag},
    lab::{Lab, node},
    reply::routed,
    world::{Family, NEW, NEW_TABLE, OLD, SERVICE, bucket_of, client, resting, server, vip},
};

/// Part of the clients that the candidate has; as many of the active pool's are measured.
const SHARE: u32 = 100_000;
/// Sequence numbers before the first byte.
const CLIENT: u32 = 0xffff_ff00;
const SERVER: u32 = 0x1000;
const SYN: u8 = flag::SYN;
const ACK: u8 = flag::ACK;
const FIN: u8 = flag::FIN | flag::ACK;
const RST: u8 = flag::RST | flag::ACK;
const SYN_ACK: u8 = flag::SYN | flag::ACK;

/// The three cohorts.
const COHORTS: [u32; 3] = [cohort::CANDIDATE, cohort::EVEN, cohort::ODD];

/// A settled step of a release that is measured.
fn measuring(forward: u32) -> Record {
    let record = Record {
        candidate: NEW_TABLE,
        origin_candidate: NEW_TABLE,
        share_ppm: SHARE,
        origin_share_ppm: SHARE,
        flags: forward,
        ..resting()
    };
    record.measured(1)
}

/// A data plane with this record, on a host that has a way to the clients.
fn lab(record: Record) -> Lab {
    let (mut lab, _) = routed();
    lab.change(|image| {
        let table = Table::new(|_| Slot::settled(NEW));
        image.tables.insert(NEW_TABLE, table);
    });
    lab.set_record(record);
    lab
}

/// Clients that a record measures as these.
fn clients(family: Family, record: Record, cohort: u32) -> impl Iterator<Item = SocketAddr> {
    let all = (0..=u16::MAX).map(move |number| client(family, number));
    all.filter(move |&client| record.cohort(bucket_of(client, record.salt)) == cohort)
}

/// The backend that a cohort's connections go to.
const fn backend_of(cohort: u32) -> u16 {
    if cohort == cohort::CANDIDATE {
        NEW
    } else {
        OLD
    }
}

/// A segment: from where it is counted in the stream, its payload's length and its flags.
type Piece = (u32, usize, u8);

/// What a client sends.
fn asked(from: SocketAddr, family: Family, (at, payload, flags): Piece) -> Vec<u8> {
    let frame = Frame {
        payload: vec![7; payload],
        ..Frame::tcp(from, vip(family), flags)
    };
    numbered(&frame, CLIENT.wrapping_add(at))
}

/// What a backend sends.
fn answered(to: SocketAddr, family: Family, backend: u16, (at, payload, flags): Piece) -> Vec<u8> {
    let frame = Frame {
        payload: vec![7; payload],
        ..Frame::tcp(server(family, backend), to, flags)
    };
    numbered(&frame, SERVER.wrapping_add(at))
}

/// The frame with this sequence number; nobody looks at its checksum.
fn numbered(frame: &Frame, sequence: u32) -> Vec<u8> {
    let mut bytes = frame.bytes();
    let at = frame.transport_offset() + 4;
    bytes[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
    bytes
}

/// What was counted, in numbers that a table can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// Trials and failures, by signal.
    pairs: [(u32, u32); 4],
    opened: u64,
    ended: u64,
    /// Samples, by histogram.
    samples: [u64; 3],
    clients: u64,
}

fn signals(lab: &mut Lab) -> Signals {
    lab.kernel().signals(SERVICE).expect("signals are readable")
}

/// What was counted of a cohort between two readings.
fn risen(before: &Signals, after: &Signals, cohort: u32) -> Counted {
    let [before, after] = [before, after].map(|signals| &signals.cohorts[cohort as usize]);
    let pair = |signal| {
        let pair = after.tally.pair_since(signal, &before.tally);
        (pair.trials, pair.failures)
    };
    Counted {
        pairs: Signal::ALL.map(pair),
        opened: after.tally.opened - before.tally.opened,
        ended: after.tally.ended - before.tally.ended,
        samples: Histogram::ALL.map(|of| after.samples(of) - before.samples(of)),
        clients: after.tally.clients - before.tally.clients,
    }
}

/// The same of the first trial of each client alone, by signal.
fn firsts(before: &Signals, after: &Signals, cohort: u32) -> [(u32, u32); 4] {
    let [before, after] = [before, after].map(|signals| &signals.cohorts[cohort as usize].tally);
    Signal::ALL.map(|signal| {
        let [before, after] = [before, after].map(|tally| tally.first(signal));
        (
            after.trials - before.trials,
            after.failures - before.failures,
        )
    })
}

/// Where it is kept what a client has told.
fn place(from: SocketAddr, salt: u64) -> u32 {
    let address = Address::from(from.ip());
    told::place(node().client_hash(&address, from.is_ipv6()), salt)
}

/// How many entries a map of measured connections or their clients has that are used.
fn entries(lab: &Lab, map: &'static str) -> usize {
    let data = MapData::from_pin(lab.pin_directory().join(map)).expect("it is pinned");
    if map == name::CLIENTS {
        let places: Array<_, u64> = Map::Array(data).try_into().expect("its layout");
        return places.iter().filter(|told| !matches!(told, Ok(0))).count();
    }
    let map: HashMap<_, [u8; 24], [u8; 40]> = Map::LruHashMap(data).try_into().expect("its layout");
    map.keys().count()
}
