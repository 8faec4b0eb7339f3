//! Connections are compared only with those that began in the same draw of the cohorts.

use super::*;
use crate::world::FAMILIES;

/// Clients of this cohort by both records: many.
fn of_both(
    family: Family,
    [live, next]: [Record; 2],
    cohort: u32,
) -> impl Iterator<Item = SocketAddr> {
    clients(family, live, cohort).filter(move |&at| next.cohort(bucket_of(at, next.salt)) == cohort)
}

/// What comes next of a client, or of the backend that has its connection.
enum Comes {
    From(Piece),
    To(Piece),
}

use Comes::{From, To};

const CALLS: Comes = From((0, 0, SYN));
const ANSWERS: Comes = To((0, 0, SYN_ACK));
const FOLLOWS: Comes = From((1, 0, ACK));
const ASKS: Comes = From((1, 100, ACK));
const REPLIES: Comes = To((1, 100, ACK));
const RESETS: Comes = To((101, 0, RST));
const REFUSES: Comes = To((0, 0, RST));

/// A connection: what comes before the change, what comes after it, and what is counted of it if the
/// change deals nobody out anew: outcomes by signal, and samples by histogram. All that ends lived, and
/// all that lived is known to.
type Case = (
    &'static str,
    &'static [Comes],
    &'static [Comes],
    [(u32, u32); 4],
    [u64; 3],
);

const CASES: [Case; 5] = [
    (
        "an answer",
        &[CALLS],
        &[ANSWERS],
        [(1, 0), (0, 0), (0, 0), (0, 0)],
        [1, 0, 0],
    ),
    (
        "a refusal",
        &[CALLS],
        &[REFUSES],
        [(1, 1), (0, 0), (0, 0), (0, 0)],
        [0, 0, 0],
    ),
    (
        "a call again",
        &[CALLS],
        &[CALLS],
        [(1, 1), (0, 0), (0, 0), (0, 0)],
        [0, 0, 0],
    ),
    (
        "a reply",
        &[CALLS, ANSWERS, FOLLOWS, ASKS],
        &[REPLIES],
        [(0, 0); 4],
        [0, 1, 0],
    ),
    (
        "an end",
        &[CALLS, ANSWERS, FOLLOWS, ASKS, ASKS],
        &[RESETS],
        [(0, 0), (1, 1), (1, 1), (1, 1)],
        [0, 0, 1],
    ),
];

/// Connections that begin under one record and go on under the next: those of each cohort decide
/// something or nothing, and their ends are counted all the same.
fn assert_decides(live: Record, next: Record, decides: bool) {
    let mut lab = lab(live);
    for family in FAMILIES {
        for cohort in COHORTS {
            let clients = of_both(family, [live, next], cohort);
            for (from, (case, earlier, later, pairs, samples)) in clients.zip(CASES) {
                let name = format!("{case}, {family:?}, cohort {cohort}");
                lab.set_record(live);
                come(&mut lab, from, family, cohort, earlier);
                lab.set_record(next);
                let before = signals(&mut lab);
                come(&mut lab, from, family, cohort, later);
                let counted = risen(&before, &signals(&mut lab), cohort);
                let pairs = pairs.map(|pair| if decides { pair } else { (0, 0) });
                let samples = samples.map(|count| if decides { count } else { 0 });
                assert_eq!((counted.pairs, counted.samples), (pairs, samples), "{name}");
                assert_eq!(counted.ended, u64::from(case == "an end"), "{name}");
            }
        }
    }
    let left = entries(&lab, name::WATCHED);
    // The answered, the called again and the served go on; the refused and the ended are freed.
    assert_eq!(left, 2 * 3 * 3);
}

/// The step after this one, which doubles the share.
fn next_step(live: &Record) -> Record {
    let step = Record {
        share_ppm: 2 * SHARE,
        origin_share_ppm: 2 * SHARE,
        epoch: 2,
        ..*live
    };
    step.dealt_after(live)
}

fn come(lab: &mut Lab, from: SocketAddr, family: Family, cohort: u32, steps: &[Comes]) {
    for step in steps {
        let frame = match *step {
            From(piece) => asked(from, family, piece),
            To(piece) => answered(from, family, backend_of(cohort), piece),
        };
        lab.pass_through(&frame);
    }
}

#[test]
fn a_connection_begun_before_a_step_decides_nothing_in_it() {
    let live = measuring(Record::FORWARD_NAT);
    assert_decides(live, next_step(&live), false);
}

#[test]
fn a_connection_begun_before_a_release_decides_nothing_of_it() {
    let live = measuring(Record::FORWARD_NAT);
    let release = Record {
        salt: 0x5a18,
        origin_salt: 0x5a18,
        epoch: 2,
        ..live
    };
    assert_decides(live, release.dealt_after(&live), false);
}

#[test]
fn a_connection_begun_before_a_change_that_deals_nobody_out_anew_decides_as_ever() {
    let live = measuring(Record::FORWARD_NAT);
    let weighed = Record { epoch: 2, ..live };
    assert_decides(live, weighed.dealt_after(&live), true);
}

#[test]
fn a_client_that_has_failed_in_a_step_may_fail_once_more_in_the_next() {
    let live = measuring(Record::FORWARD_NAT);
    let step = next_step(&live);
    let mut lab = lab(live);
    for family in FAMILIES {
        let mut clients = of_both(family, [live, step], cohort::EVEN);
        let mut from = clients.next().expect("a client");
        let before = signals(&mut lab);
        for (record, ports) in [(live, 2000..2010), (step, 2010..2020)] {
            lab.set_record(record);
            for port in ports {
                from.set_port(port);
                come(&mut lab, from, family, cohort::EVEN, &[CALLS, REFUSES]);
            }
        }
        let counted = risen(&before, &signals(&mut lab), cohort::EVEN);
        assert_eq!(counted.pairs[0], (2, 2), "{family:?}");
    }
}
