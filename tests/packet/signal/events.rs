//! Each event, in each cohort, forward mode and family.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lb_userspace::dataplane::Listening;

use super::*;
use crate::world::FAMILIES;

/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;
/// A SYN that has had no answer for this time has failed.
const ANSWER: Duration = Duration::from_secs(3);
const DEADLINE: Duration = Duration::from_secs(10);

/// What a side does.
#[derive(Clone, Copy, Debug)]
enum Does {
    Client(Piece),
    Server(Piece),
    /// Somebody says that the SYN has not arrived: type and code, in IPv4 and IPv6.
    Error([u8; 2], [u8; 2]),
    /// Somebody says so who does not know its number.
    Forged,
}

use Does::{Client, Error, Forged, Server};

const CALLS: Does = Client((0, 0, SYN));
const ANSWERS: Does = Server((0, 0, SYN_ACK));
const FOLLOWS: Does = Client((1, 0, ACK));
const ASKS: Does = Client((1, 100, ACK));
const REPLIES: Does = Server((1, 100, ACK));
const NOTHING: Counted = Counted {
    pairs: [(0, 0); 4],
    opened: 0,
    ended: 0,
    samples: [0; 3],
    clients: 0,
};
const CONNECTED: Counted = Counted {
    pairs: [(1, 0), (0, 0), (0, 0), (0, 0)],
    samples: [1, 0, 0],
    clients: 1,
    ..NOTHING
};
const FAILED: Counted = Counted {
    pairs: [(1, 1), (0, 0), (0, 0), (0, 0)],
    clients: 1,
    ..NOTHING
};
const LIVES: Counted = Counted {
    opened: 1,
    ..CONNECTED
};
const SERVED: Counted = Counted {
    samples: [1, 1, 0],
    ..LIVES
};

/// A connection with these samples that ends so: reset, early, repeated.
const fn ended(samples: [u64; 3], ends: [u32; 3]) -> Counted {
    Counted {
        pairs: [(1, 0), (1, ends[0]), (1, ends[1]), (1, ends[2])],
        opened: 1,
        ended: 1,
        samples,
        clients: 1,
    }
}

/// What can be seen of both sides.
const NAT: &[(&str, &[Does], Counted)] = &[
    ("a SYN alone", &[CALLS], NOTHING),
    ("an answer", &[CALLS, ANSWERS], CONNECTED),
    ("an answer twice", &[CALLS, ANSWERS, ANSWERS], CONNECTED),
    ("a call again", &[CALLS, CALLS], FAILED),
    ("calls again and again", &[CALLS, CALLS, CALLS], FAILED),
    (
        "an answer to the second call",
        &[CALLS, CALLS, ANSWERS],
        Counted {
            samples: [1, 0, 0],
            ..FAILED
        },
    ),
    ("a refusal", &[CALLS, Server((0, 0, RST))], FAILED),
    (
        "a host that is not there",
        &[CALLS, Error([3, 1], [1, 3])],
        FAILED,
    ),
    (
        "a port that is not there, called again",
        &[CALLS, Error([3, 3], [1, 4]), CALLS],
        FAILED,
    ),
    ("one forbidden", &[CALLS, Error([3, 13], [1, 1])], FAILED),
    (
        "one that is told twice",
        &[CALLS, Error([3, 10], [1, 6]), Error([3, 10], [1, 6])],
        FAILED,
    ),
    ("one that is made up", &[CALLS, Forged], NOTHING),
    ("one about nothing", &[Error([3, 3], [1, 4])], NOTHING),
    (
        "one that comes too late to be seen",
        &[CALLS, CALLS, Error([3, 3], [1, 4])],
        FAILED,
    ),
    ("too many hops", &[CALLS, Error([11, 0], [3, 0])], NOTHING),
    ("a packet too big", &[CALLS, Error([3, 4], [2, 0])], NOTHING),
    (
        "an error too late",
        &[CALLS, ANSWERS, Error([3, 1], [1, 3])],
        CONNECTED,
    ),
    ("a scan", &[CALLS, ANSWERS, Client((1, 0, RST))], CONNECTED),
    ("a connection", &[CALLS, ANSWERS, FOLLOWS], LIVES),
    ("a question", &[CALLS, ANSWERS, FOLLOWS, ASKS], LIVES),
    ("a reply", &[CALLS, ANSWERS, FOLLOWS, ASKS, REPLIES], SERVED),
    ("a greeting", &[CALLS, ANSWERS, FOLLOWS, REPLIES], LIVES),
    (
        "an end that the client begins",
        &[
            CALLS,
            ANSWERS,
            FOLLOWS,
            ASKS,
            REPLIES,
            Client((101, 0, FIN)),
            Server((101, 0, FIN)),
        ],
        ended([1, 1, 1], [0, 0, 0]),
    ),
    (
        "an end that the server begins",
        &[
            CALLS,
            ANSWERS,
            FOLLOWS,
            Server((1, 0, FIN)),
            Client((1, 0, FIN)),
        ],
        ended([1, 0, 1], [0, 0, 0]),
    ),
    (
        "half an end",
        &[CALLS, ANSWERS, FOLLOWS, Client((1, 0, FIN))],
        LIVES,
    ),
    (
        "a reset by the server",
        &[CALLS, ANSWERS, FOLLOWS, Server((1, 0, RST))],
        ended([1, 0, 1], [1, 1, 0]),
    ),
    (
        "a reset by the client",
        &[CALLS, ANSWERS, FOLLOWS, Client((1, 0, RST))],
        ended([1, 0, 1], [1, 1, 0]),
    ),
    (
        "a reset behind the server's end",
        &[
            CALLS,
            ANSWERS,
            FOLLOWS,
            Server((1, 0, FIN)),
            Client((1, 0, RST)),
        ],
        ended([1, 0, 1], [0, 0, 0]),
    ),
    (
        "a question twice",
        &[CALLS, ANSWERS, FOLLOWS, ASKS, ASKS, Server((1, 0, RST))],
        ended([1, 0, 1], [1, 1, 1]),
    ),
    (
        "a reply twice",
        &[
            CALLS,
            ANSWERS,
            FOLLOWS,
            ASKS,
            REPLIES,
            REPLIES,
            Server((101, 0, RST)),
        ],
        ended([1, 1, 1], [1, 1, 1]),
    ),
    (
        "another connection of the port",
        &[CALLS, ANSWERS, FOLLOWS, Client((5000, 0, SYN)), ANSWERS],
        Counted {
            pairs: [(2, 0), (0, 0), (0, 0), (0, 0)],
            opened: 1,
            ended: 1,
            samples: [1, 0, 0],
            clients: 1,
        },
    ),
    (
        "a connection that began before",
        &[FOLLOWS, ASKS, REPLIES, Server((101, 0, RST))],
        NOTHING,
    ),
];

/// What can be seen of the client's side.
const L2: &[(&str, &[Does], Counted)] = &[
    ("a SYN alone", &[CALLS], NOTHING),
    ("a call again", &[CALLS, CALLS], FAILED),
    ("a scan", &[CALLS, Client((1, 0, RST))], NOTHING),
    ("a connection", &[CALLS, FOLLOWS], LIVES),
    ("a question in the first segment", &[CALLS, ASKS], LIVES),
    (
        "an end",
        &[CALLS, FOLLOWS, ASKS, Client((101, 0, FIN))],
        ended([1, 0, 1], [0, 0, 0]),
    ),
    (
        "a reset",
        &[CALLS, FOLLOWS, ASKS, Client((101, 0, RST))],
        ended([1, 0, 1], [1, 1, 0]),
    ),
    (
        "a question twice",
        &[CALLS, ASKS, ASKS, Client((101, 0, FIN))],
        ended([1, 0, 1], [0, 0, 1]),
    ),
];

#[test]
fn of_both_sides() {
    each_is_counted_for_its_cohort_and_backend_alone(Record::FORWARD_NAT, NAT);
}

#[test]
fn of_the_clients_side() {
    for forward in [
        Record::FORWARD_L2,
        Record::FORWARD_IPIP,
        Record::FORWARD_GUE,
    ] {
        each_is_counted_for_its_cohort_and_backend_alone(forward, L2);
    }
}

fn each_is_counted_for_its_cohort_and_backend_alone(
    forward: u32,
    cases: &[(&str, &[Does], Counted)],
) {
    let record = measuring(forward);
    let mut lab = lab(record);
    for family in FAMILIES {
        for cohort in COHORTS {
            let mut clients = clients(family, record, cohort);
            for &(case, steps, expected) in cases {
                let name = format!("{case}, {family:?}, cohort {cohort}, {forward}");
                let from = clients.next().expect("a tenth of 65 536 clients");
                let before = (signals(&mut lab), backends(&mut lab));
                for &step in steps {
                    lab.pass_through(&frame(step, from, family, backend_of(cohort)));
                }
                let after = (signals(&mut lab), backends(&mut lab));
                for other in COHORTS {
                    let counted = risen(&before.0, &after.0, other);
                    let expected = if other == cohort { expected } else { NOTHING };
                    assert_eq!(counted, expected, "{name}: of {other}");
                }
                for id in [OLD, NEW] {
                    let pair = |of| after.1[&id].pair_since(of, &before.1[&id]);
                    let pairs = Signal::ALL
                        .map(pair)
                        .map(|pair| (pair.trials, pair.failures));
                    let is_its = id == backend_of(cohort);
                    let expected = if is_its {
                        expected.pairs
                    } else {
                        NOTHING.pairs
                    };
                    assert_eq!(pairs, expected, "{name}: backend {id}");
                }
            }
        }
    }
}

fn backends(lab: &mut Lab) -> BTreeMap<u16, lb_common::signal::Tally> {
    let read = lab.kernel().backend_signals(&[OLD, NEW]);
    read.expect("signals are readable")
}

fn frame(does: Does, from: SocketAddr, family: Family, backend: u16) -> Vec<u8> {
    match does {
        Client(piece) => asked(from, family, piece),
        Server(piece) => answered(from, family, backend, piece),
        Error(v4, v6) => {
            let head = if family == Family::V4 { v4 } else { v6 };
            let quote = quote(from, family, backend, CLIENT);
            undelivered(from, family, backend, (head, quote))
        }
        Forged => {
            let head = if family == Family::V4 { [3, 3] } else { [1, 4] };
            let quote = quote(from, family, backend, CLIENT.wrapping_sub(1));
            undelivered(from, family, backend, (head, quote))
        }
    }
}

/// A client's SYN with this number as its backend got it.
fn quote(from: SocketAddr, family: Family, backend: u16, sequence: u32) -> Vec<u8> {
    let syn = Frame::syn(from, server(family, backend));
    let bytes = numbered(&syn, sequence);
    bytes[bytes.len() - syn.packet().len()..].to_vec()
}

/// The backend's host tells its client by this type and code that a packet has not arrived.
fn undelivered(
    from: SocketAddr,
    family: Family,
    backend: u16,
    (head, quote): ([u8; 2], Vec<u8>),
) -> Vec<u8> {
    let error = Frame {
        payload: quote,
        ..Frame::icmp(server(family, backend), from, head, [0; 4])
    };
    error.bytes()
}

#[test]
fn an_error_need_not_quote_more_than_ports_and_number() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    for (family, head) in [(Family::V4, [3, 3]), (Family::V6, [1, 4])] {
        let from = clients(family, record, cohort::EVEN)
            .next()
            .expect("a client");
        let mut quote = quote(from, family, OLD, CLIENT);
        // RFC 792: the header and eight bytes.
        quote.truncate(quote.len() - TCP_HEADER + 8);
        let before = signals(&mut lab);
        lab.pass_through(&frame(CALLS, from, family, OLD));
        lab.pass_through(&undelivered(from, family, OLD, (head, quote)));
        let counted = risen(&before, &signals(&mut lab), cohort::EVEN);
        assert_eq!(counted, FAILED, "{family:?}");
    }
}

#[test]
fn a_call_that_nobody_answers_has_failed_after_three_seconds_once_a_client() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    lab.complete();
    let listeners = listeners(&mut lab);
    let before = signals(&mut lab);
    let begun = Instant::now();
    for family in FAMILIES {
        for cohort in COHORTS {
            let mut clients = clients(family, record, cohort);
            let (mut silent, served) = (clients.next(), clients.next());
            for port in 2000..2003 {
                let from = silent.as_mut().expect("a client");
                from.set_port(port);
                lab.pass_through(&frame(CALLS, *from, family, backend_of(cohort)));
            }
            for step in [CALLS, ANSWERS] {
                let from = served.expect("a client");
                lab.pass_through(&frame(step, from, family, backend_of(cohort)));
            }
        }
    }
    let called = Instant::now();
    let mut lapsed = 0;
    while lapsed < 2 * 3 * 3 {
        assert!(called.elapsed() < DEADLINE, "{lapsed} have lapsed");
        lapsed += lab.kernel().lapse(&listeners).expect("looked for");
        assert!(lapsed == 0 || begun.elapsed() >= ANSWER, "too early");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(lab.kernel().lapse(&listeners).expect("looked for"), 0);
    let after = signals(&mut lab);
    for cohort in COHORTS {
        let counted = risen(&before, &after, cohort);
        // Of each family one failed and one was answered.
        assert_eq!(counted.pairs[0], (4, 2), "cohort {cohort}");
        assert_eq!(counted.clients, 4, "cohort {cohort}");
    }
}

/// All listeners of a lab.
fn listeners(lab: &mut Lab) -> BTreeMap<u16, Listening> {
    let image = lab.kernel().image().expect("readable");
    let listeners = image.listeners.iter().map(|(endpoint, listener)| {
        let listening = Listening {
            service: listener.service(),
            v6: !endpoint.address().is_v4(),
        };
        (listener.id(), listening)
    });
    listeners.collect()
}

#[test]
fn a_connection_that_lives_for_a_second_is_past_an_early_reset() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    let family = Family::V4;
    let mut clients = clients(family, record, cohort::CANDIDATE);
    let [resets, goes_on] = [(); 2].map(|()| clients.next().expect("a client"));
    let before = signals(&mut lab);
    for from in [resets, goes_on] {
        for step in [CALLS, ANSWERS, FOLLOWS] {
            lab.pass_through(&frame(step, from, family, NEW));
        }
    }
    // The program's clock is the kernel's: there is nothing to be polled before the second is over.
    std::thread::sleep(Duration::from_millis(1050));
    lab.pass_through(&frame(Client((1, 0, RST)), resets, family, NEW));
    lab.pass_through(&frame(ASKS, goes_on, family, NEW));
    lab.pass_through(&frame(Server((1, 0, RST)), goes_on, family, NEW));
    let counted = risen(&before, &signals(&mut lab), cohort::CANDIDATE);
    assert_eq!(counted.pairs, [(2, 0), (2, 1), (2, 0), (2, 0)]);
}

#[test]
fn an_entry_is_gone_when_its_connection_is() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    let from = clients(Family::V4, record, cohort::EVEN)
        .next()
        .expect("a client");
    for (last, left) in [(FOLLOWS, 1), (Server((1, 0, RST)), 0)] {
        for step in [CALLS, ANSWERS, FOLLOWS, last] {
            lab.pass_through(&frame(step, from, Family::V4, OLD));
        }
        assert_eq!(entries(&lab, name::WATCHED), left, "{last:?}");
    }
}

#[test]
fn how_long_a_handshake_took_and_how_much_came_is_in_the_right_bin() {
    use lb_common::signal::histogram::{BYTES_UNIT, bin};
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    let from = clients(Family::V6, record, cohort::ODD)
        .next()
        .expect("a client");
    let begun = Instant::now();
    lab.pass_through(&frame(CALLS, from, Family::V6, OLD));
    let called = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    let least = called.elapsed();
    lab.pass_through(&frame(ANSWERS, from, Family::V6, OLD));
    let most = begun.elapsed();
    for step in [
        FOLLOWS,
        ASKS,
        Server((1, 1000, ACK)),
        Server((1001, 0, RST)),
    ] {
        lab.pass_through(&frame(step, from, Family::V6, OLD));
    }
    let signals = signals(&mut lab);
    let place = |histogram| {
        let rows = signals.cohorts[cohort::ODD as usize].histogram(histogram);
        let place = rows.as_flattened().iter().position(|&count| count > 0);
        place.expect("one sample")
    };
    let index = |value: u64| (bin(value).row * 8 + bin(value).place) as usize;
    let micros = |duration: Duration| index(u64::try_from(duration.as_micros()).expect("not long"));
    let took = place(Histogram::Handshake);
    assert!((micros(least)..=micros(most)).contains(&took), "{took}");
    assert_eq!(place(Histogram::Bytes), index(1000 / BYTES_UNIT));
}
