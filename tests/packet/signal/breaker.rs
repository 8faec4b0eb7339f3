//! The breaker: a candidate that answers nobody gets no more connections, and nothing else changes.

use std::time::{Duration, Instant};

use lb_common::{
    reason::FlowEvent,
    signal::breaker::{SILENCE_NS, Tripped},
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

/// The candidate's clients call, each once, until one is sent to the active pool; how many did.
fn until_tripped(
    lab: &mut Lab,
    callers: &mut impl Iterator<Item = SocketAddr>,
    family: Family,
) -> u32 {
    let begun = Instant::now();
    let mut calls = 0;
    while call(lab, callers.next().expect("a caller"), family) == NEW {
        calls += 1;
        assert!(begun.elapsed() < DEADLINE, "it has not tripped");
        std::thread::sleep(Duration::from_millis(2));
    }
    let silence = Duration::from_nanos(SILENCE_NS);
    assert!(begun.elapsed() >= silence, "{:?}", begun.elapsed());
    calls
}

fn tripped(lab: &mut Lab, epoch: u64) -> Option<Tripped> {
    let breaker = lab.kernel().breaker(SERVICE);
    breaker.expect("breakers are readable").tripped(epoch)
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

        let calls = until_tripped(&mut lab, &mut callers, family);
        assert!(calls >= LIMIT, "{calls}");
        let told = tripped(&mut lab, breaking().epoch).expect("it has tripped");
        assert_eq!(told.attempts, calls);

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
        assert_eq!(tripped(&mut lab, 2), None);
        let again = callers.next().expect("a caller");
        assert_eq!(
            call(&mut lab, again, family),
            NEW,
            "the next record's is whole"
        );
        assert_eq!(goes_on(&mut lab, diverted, family), OLD, "by its pin");
    }
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

/// Many calls for twice the time that a silence needs, each followed by what `between` does; whether
/// one was diverted.
fn trips(record: Record, mut between: impl FnMut(&mut Lab, SocketAddr)) -> bool {
    let mut lab = lab(record);
    let mut callers = callers(Family::V4, cohort::CANDIDATE);
    let begun = Instant::now();
    while begun.elapsed() < 2 * Duration::from_nanos(SILENCE_NS) {
        let from = callers.next().expect("a caller");
        if call(&mut lab, from, Family::V4) == OLD {
            return true;
        }
        between(&mut lab, from);
    }
    false
}

#[test]
fn it_trips_for_nothing_but_silence() {
    let family = Family::V4;
    assert!(trips(breaking(), |_, _| {}), "the tools work");
    assert!(
        trips(breaking(), |lab, from| {
            lab.pass_through(&answered(from, family, NEW, (0, 0, RST)));
        }),
        "a refusal is no answer"
    );
    assert!(
        !trips(measuring(Record::FORWARD_NAT), |_, _| {}),
        "no breaker"
    );
    assert!(
        !trips(breaking().measured(0), |_, _| {}),
        "nothing measured"
    );
    let mut calls = 0;
    let answers_some = |lab: &mut Lab, from| {
        calls += 1;
        if calls % 5 == 0 {
            lab.pass_through(&answered(from, family, NEW, (0, 0, SYN_ACK)));
        }
    };
    assert!(!trips(breaking(), answers_some), "it answers some");
    let mut others = callers(family, cohort::EVEN);
    let silent = |lab: &mut Lab, _| {
        call(lab, others.next().expect("a caller"), family);
    };
    assert!(!trips(breaking(), silent), "the active pool is silent too");
    let mut others = callers(family, cohort::ODD);
    let answers = |lab: &mut Lab, _| {
        let from = others.next().expect("a caller");
        call(lab, from, family);
        lab.pass_through(&answered(from, family, OLD, (0, 0, SYN_ACK)));
    };
    assert!(trips(breaking(), answers), "the active pool answers");
}

#[test]
fn with_direct_server_return_there_is_none() {
    let record = measuring(Record::FORWARD_L2).with_breaker(LIMIT);
    assert!(!trips(record, |_, _| {}));
}
