//! The breaker: a candidate that answers nobody gets no more connections, and nothing else changes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use lb_common::{
    reason::FlowEvent,
    signal::breaker::{PATIENCE, SILENCE_NS},
    trace::Trace,
};

use super::*;
use crate::{
    outcome::Verdict,
    world::{FAMILIES, chosen},
};

const LIMIT: u32 = 5;
const DEADLINE: Duration = Duration::from_secs(10);

fn breaking() -> Record {
    measuring(Record::FORWARD_NAT).with_breaker(LIMIT)
}

/// One that is bound to begin a connection, and where it goes.
fn call(lab: &mut Lab, from: SocketAddr, family: Family) -> u16 {
    let (verdict, out) = lab.pass_through(&asked(from, family, (0, 0, SYN)));
    assert_eq!(verdict, Verdict::Transmit);
    chosen(&out)
}

/// Where a segment amid its connection goes.
fn goes_on(lab: &mut Lab, from: SocketAddr, family: Family) -> u16 {
    chosen(&lab.pass_through(&asked(from, family, (1, 9, ACK))).1)
}

/// A client of the active pool's calls, and is answered.
fn served(lab: &mut Lab, from: SocketAddr, family: Family) {
    call(lab, from, family);
    lab.pass_through(&answered(from, family, OLD, (0, 0, SYN_ACK)));
}

/// The candidate's clients call, each once, until one is sent to the active pool, which answers its
/// own; how many did.
fn until_tripped(
    lab: &mut Lab,
    callers: &mut impl Iterator<Item = SocketAddr>,
    family: Family,
) -> u32 {
    let mut others = self::callers(family, cohort::EVEN);
    let begun = Instant::now();
    let mut calls = 0;
    while call(lab, callers.next().expect("a caller"), family) == NEW {
        calls += 1;
        assert!(begun.elapsed() < DEADLINE, "it has not tripped");
        served(lab, others.next().expect("a caller"), family);
        std::thread::sleep(Duration::from_millis(2));
    }
    calls
}

/// Whether it has tripped for the record with this number.
fn tripped(lab: &mut Lab, epoch: u64) -> bool {
    let breaker = lab.kernel().breaker(SERVICE);
    breaker.expect("breakers are readable").has_tripped(epoch)
}

/// Clients of a cohort, each with many ports.
fn callers(family: Family, cohort: u32) -> impl Iterator<Item = SocketAddr> {
    let clients: Vec<_> = clients(family, breaking(), cohort).collect();
    (2000..u16::MAX).flat_map(move |port| {
        let mut clients = clients.clone();
        for client in &mut clients {
            client.set_port(port);
        }
        clients
    })
}

#[test]
fn new_connections_leave_a_silent_candidate_and_stay_where_they_then_are() {
    for family in FAMILIES {
        let mut lab = lab(breaking());
        let mut callers = callers(family, cohort::CANDIDATE);
        let lives = callers.next().expect("a caller");
        call(&mut lab, lives, family);
        lab.pass_through(&answered(lives, family, NEW, (0, 0, SYN_ACK)));
        assert_eq!(goes_on(&mut lab, lives, family), NEW);

        let begun = Instant::now();
        let calls = until_tripped(&mut lab, &mut callers, family);
        let silence = Duration::from_nanos(SILENCE_NS);
        assert!(begun.elapsed() >= silence, "{:?}", begun.elapsed());
        assert!(calls >= LIMIT, "{calls}");
        assert!(tripped(&mut lab, breaking().epoch));

        let diverted = callers.next().expect("a caller");
        let before = lab.flow_events(FlowEvent::Diverted);
        assert_eq!(call(&mut lab, diverted, family), OLD);
        assert_eq!(lab.flow_events(FlowEvent::Diverted), before + 1);
        assert_eq!(goes_on(&mut lab, diverted, family), OLD);
        assert_eq!(goes_on(&mut lab, lives, family), NEW, "it was there before");
        // Nor are they cut where a service cuts what has changed.
        let cuts = Record {
            flags: breaking().flags | Record::CUT,
            ..breaking()
        };
        lab.set_record(cuts);
        assert_eq!(goes_on(&mut lab, diverted, family), OLD);
        assert_eq!(goes_on(&mut lab, lives, family), NEW);

        let next = Record {
            epoch: 2,
            touched_ppm: SHARE,
            ..breaking()
        };
        lab.set_record(next);
        assert!(!tripped(&mut lab, 2));
        let again = callers.next().expect("a caller");
        assert_eq!(
            call(&mut lab, again, family),
            NEW,
            "the next record's is whole"
        );
        assert_eq!(goes_on(&mut lab, diverted, family), OLD, "by its pin");
    }
}

/// How far away both pools are, where they are.
const FAR: Duration = Duration::from_millis(70);

/// One pool that is far away: its clients, its backend, and who waits for an answer since when.
struct Far<C> {
    callers: C,
    backend: u16,
    waiting: VecDeque<(SocketAddr, Instant)>,
}

impl<C: Iterator<Item = SocketAddr>> Far<C> {
    /// Another client calls; whether it goes to this pool.
    fn is_called(&mut self, lab: &mut Lab) -> bool {
        let from = self.callers.next().expect("a caller");
        self.waiting.push_back((from, Instant::now()));
        call(lab, from, Family::V4) == self.backend
    }

    /// Answers whoever has waited for long enough.
    fn answers(&mut self, lab: &mut Lab) {
        let waiting = &mut self.waiting;
        while let Some((from, _)) = waiting.pop_front_if(|(_, since)| since.elapsed() >= FAR) {
            let answer = answered(from, Family::V4, self.backend, (0, 0, SYN_ACK));
            lab.pass_through(&answer);
        }
    }
}

/// Clients of both pools call every other millisecond and are answered late, the active pool's a little
/// before the candidate's, if it answers; when the breaker trips, if it does soon.
fn trips_far_away(answers: bool) -> Option<Duration> {
    let mut lab = lab(breaking());
    let far = |cohort, backend| Far {
        callers: callers(Family::V4, cohort),
        backend,
        waiting: VecDeque::new(),
    };
    let (mut active, mut candidate) = (far(cohort::EVEN, OLD), far(cohort::CANDIDATE, NEW));
    let begun = Instant::now();
    while begun.elapsed() < 10 * FAR {
        active.answers(&mut lab);
        assert!(active.is_called(&mut lab));
        if !candidate.is_called(&mut lab) {
            return Some(begun.elapsed());
        }
        if answers {
            candidate.answers(&mut lab);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// An answer that takes longer than the silence of a near pool is not taken for none.
#[test]
fn pools_that_are_far_away_do_not_trip_it_and_a_silent_one_among_them_does() {
    assert_eq!(trips_far_away(true), None);
    let tripped = trips_far_away(false).expect("it is silent");
    // By a percentile that has fallen a little since the last answer that it is made by.
    let patience = FAR.mul_f64(0.95) * u32::try_from(PATIENCE).expect("a few times");
    assert!((patience..2 * patience).contains(&tripped), "{tripped:?}");
}

#[test]
fn what_is_diverted_is_no_evidence_of_the_candidate() {
    let family = Family::V4;
    let mut lab = lab(breaking());
    let mut callers = callers(family, cohort::CANDIDATE);
    let waits = callers.next().expect("a caller");
    call(&mut lab, waits, family);
    until_tripped(&mut lab, &mut callers, family);
    let before = signals(&mut lab);
    let diverted = callers.next().expect("a caller");
    for from in [waits, diverted] {
        assert_eq!(call(&mut lab, from, family), OLD);
        for frame in [
            answered(from, family, OLD, (0, 0, SYN_ACK)),
            asked(from, family, (1, 9, ACK)),
            answered(from, family, OLD, (1, 0, RST)),
        ] {
            lab.pass_through(&frame);
        }
    }
    let counted = risen(&before, &signals(&mut lab), cohort::CANDIDATE);
    let expected = Counted {
        pairs: [(1, 1), (0, 0), (0, 0), (0, 0)],
        clients: 1,
        ..Counted::default()
    };
    assert_eq!(counted, expected, "but that a call to it was in vain is");
}

#[test]
fn whois_tells_where_a_connection_would_go() {
    for family in FAMILIES {
        let mut lab = lab(breaking());
        let mut callers = callers(family, cohort::CANDIDATE);
        let begins = |from| asked(from, family, (0, 0, SYN));
        let from = callers.next().expect("a caller");
        let trace = lab.tell(&begins(from));
        assert_eq!((trace.chosen, trace.has(Trace::DIVERTED)), (NEW, false));
        until_tripped(&mut lab, &mut callers, family);
        let events = lab.counters().flow_events;
        for cohort in COHORTS {
            for from in clients(family, breaking(), cohort).take(100) {
                let trace = lab.tell(&begins(from));
                let is_candidates = cohort == cohort::CANDIDATE;
                assert_eq!(trace.has(Trace::DIVERTED), is_candidates);
                assert_eq!(trace.chosen, OLD);
            }
        }
        assert_eq!(
            lab.counters().flow_events,
            events,
            "it tells, and that is all"
        );
        for from in callers.take(100) {
            let told = lab.tell(&begins(from)).chosen;
            assert_eq!(told, call(&mut lab, from, family));
            let goes = asked(from, family, (1, 9, ACK));
            let told = lab.tell(&goes).chosen;
            assert_eq!(told, goes_on(&mut lab, from, family));
        }
    }
}

/// What the active pool does while the candidate is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Active {
    Answers,
    IsSilent,
    IsNotCalled,
}

/// Many calls for twice the time that a silence needs, each followed by what `between` does; whether
/// one was diverted. The active pool has answered just before.
fn trips(
    record: Record,
    active: Active,
    mut callers: impl Iterator<Item = SocketAddr>,
    mut between: impl FnMut(&mut Lab, SocketAddr),
) -> bool {
    let family = Family::V4;
    let mut lab = lab(record);
    let mut others = self::callers(family, cohort::ODD);
    let mut other = || others.next().expect("a caller");
    served(&mut lab, other(), family);
    let begun = Instant::now();
    while begun.elapsed() < 2 * Duration::from_nanos(SILENCE_NS) {
        let from = callers.next().expect("a caller");
        if call(&mut lab, from, family) == OLD {
            return true;
        }
        match active {
            Active::Answers => served(&mut lab, other(), family),
            Active::IsSilent => drop(call(&mut lab, other(), family)),
            Active::IsNotCalled => {}
        }
        between(&mut lab, from);
    }
    false
}

fn candidates() -> impl Iterator<Item = SocketAddr> {
    callers(Family::V4, cohort::CANDIDATE)
}

#[test]
fn it_trips_for_nothing_but_silence() {
    let family = Family::V4;
    let trips = |record, between: &mut dyn FnMut(&mut Lab, SocketAddr)| {
        trips(record, Active::Answers, candidates(), between)
    };
    assert!(trips(breaking(), &mut |_, _| {}), "the tools work");
    assert!(
        trips(breaking(), &mut |lab, from| {
            lab.pass_through(&answered(from, family, NEW, (0, 0, RST)));
        }),
        "a refusal is no answer"
    );
    assert!(
        !trips(measuring(Record::FORWARD_NAT), &mut |_, _| {}),
        "no breaker"
    );
    assert!(
        !trips(breaking().measured(0), &mut |_, _| {}),
        "nothing measured"
    );
    let mut calls = 0;
    let mut answers_some = |lab: &mut Lab, from| {
        calls += 1;
        if calls % 5 == 0 {
            lab.pass_through(&answered(from, family, NEW, (0, 0, SYN_ACK)));
        }
    };
    assert!(!trips(breaking(), &mut answers_some), "it answers some");
}

/// At large shares the candidate is called long before the active pool is: that this one was not called
/// is no answer.
#[test]
fn it_does_not_trip_unless_the_active_pool_answers() {
    for (active, expected) in [
        (Active::Answers, true),
        (Active::IsSilent, false),
        (Active::IsNotCalled, false),
    ] {
        let tripped = trips(breaking(), active, candidates(), |_, _| {});
        assert_eq!(tripped, expected, "{active:?}");
    }
}

/// Whoever sends SYNs that no host answers, with a wrong checksum, say, is one client.
#[test]
fn it_takes_several_clients_to_trip_it() {
    let with_ports = |clients: u32| {
        let few = clients as usize;
        let clients: Vec<_> = distinct().take(few).collect();
        (2000..u16::MAX).flat_map(move |port| {
            let clients = clients.clone().into_iter();
            clients.map(move |mut client| {
                client.set_port(port);
                client
            })
        })
    };
    for (clients, expected) in [(1, false), (LIMIT - 1, false), (LIMIT, true)] {
        let tripped = trips(breaking(), Active::Answers, with_ports(clients), |_, _| {});
        assert_eq!(tripped, expected, "{clients}");
    }
}

/// Clients of the candidate's that the breaker tells apart.
fn distinct() -> impl Iterator<Item = SocketAddr> {
    let mut seen = 0_u64;
    clients(Family::V4, breaking(), cohort::CANDIDATE).filter(move |&client| {
        let bit = 1 << (bucket_of(client, breaking().salt) % u64::BITS);
        let new = seen & bit == 0;
        seen |= bit;
        new
    })
}

#[test]
fn with_direct_server_return_there_is_none() {
    let record = measuring(Record::FORWARD_L2).with_breaker(LIMIT);
    assert!(!trips(record, Active::Answers, candidates(), |_, _| {}));
}
