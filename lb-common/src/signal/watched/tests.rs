extern crate std;

use std::vec::Vec;

use super::*;

/// Milliseconds from one event to the next.
struct At(u64);

impl Clock for At {
    fn precise(&self) -> u64 {
        self.0 * 1_000_000
    }

    fn coarse(&self) -> u64 {
        self.precise()
    }
}

const CLIENT: u32 = 0xffff_fff0;
const SERVER: u32 = 700;
const ACK: u8 = Segment::ACK;
const FIN: u8 = Segment::FIN | ACK;
const RST: u8 = Segment::RST | ACK;
const SYN_ACK: u8 = Segment::SYN | ACK;

fn begun(nat: bool) -> Watched {
    Watched::new(CLIENT, 1, (Kind::new(2, nat), 3), 0)
}

fn segment(first: u32, at: u32, payload: u32, flags: u8) -> Segment {
    Segment {
        sequence: first.wrapping_add(at),
        payload,
        flags,
    }
}

fn client(watched: &mut Watched, ms: u64, at: u32, payload: u32, flags: u8) -> Decided {
    watched.client(&segment(CLIENT, at, payload, flags), &At(ms))
}

fn server(watched: &mut Watched, ms: u64, at: u32, payload: u32, flags: u8) -> Decided {
    watched.server(&segment(SERVER, at, payload, flags), &At(ms))
}

/// A connection that lives from 20 ms on.
fn living(nat: bool) -> Watched {
    let mut watched = begun(nat);
    if nat {
        server(&mut watched, 10, 0, 0, SYN_ACK);
    }
    client(&mut watched, 20, 1, 0, ACK);
    watched
}

const fn trial(signal: Signal, failed: bool) -> Decided {
    Decided::NOTHING.trial(signal, failed)
}

/// What an end decides.
const fn ended(reset: bool, early: bool, repeated: bool) -> Decided {
    trial(Signal::Reset, reset)
        .trial(Signal::ResetEarly, early)
        .trial(Signal::Retransmission, repeated)
        .with(Decided::OVER | Decided::ENDED | Decided::BYTES)
}

#[test]
fn behind_nat_the_servers_answer_connects_and_ends_the_handshake() {
    let mut watched = begun(true);
    let answered = server(&mut watched, 10, 0, 0, SYN_ACK);
    let mut expected = trial(Signal::Connect, false).with(Decided::HANDSHAKE);
    expected.sample_ns = 10_000_000;
    assert_eq!(answered, expected);
    assert!(server(&mut watched, 11, 0, 0, SYN_ACK).is_nothing());
    let follows = client(&mut watched, 30, 1, 0, ACK);
    assert_eq!(follows, Decided::NOTHING.with(Decided::OPENED));
    assert_eq!(watched.kind().cohort(), 2);
}

#[test]
fn with_direct_server_return_the_clients_next_segment_does() {
    let mut watched = begun(false);
    let mut expected = trial(Signal::Connect, false).with(Decided::HANDSHAKE | Decided::OPENED);
    expected.sample_ns = 30_000_000;
    assert_eq!(client(&mut watched, 30, 1, 0, ACK), expected);
    assert!(client(&mut watched, 31, 1, 0, ACK).is_nothing());
}

#[test]
fn a_syn_that_comes_again_before_an_answer_has_failed_once() {
    for nat in [false, true] {
        let mut watched = begun(nat);
        assert_eq!(
            watched.call(CLIENT),
            Call::Again(trial(Signal::Connect, true))
        );
        assert_eq!(watched.call(CLIENT), Call::Again(Decided::NOTHING));
        let late = server(&mut watched, 2000, 0, 0, SYN_ACK);
        assert!(!late.decides(Signal::Connect), "{late:?}");
        let follows = client(&mut watched, 2010, 1, 0, ACK);
        assert!(!follows.decides(Signal::Connect) && follows.has(Decided::OPENED));
        assert_eq!(watched.call(CLIENT), Call::Again(Decided::NOTHING));
    }
}

#[test]
fn a_syn_with_another_number_is_another_connection() {
    assert_eq!(
        begun(true).call(CLIENT + 1),
        Call::Another(Decided::NOTHING)
    );
    let ends = Decided::NOTHING.with(Decided::ENDED);
    assert_eq!(living(true).call(CLIENT + 1), Call::Another(ends));
}

#[test]
fn a_backend_refuses_by_a_reset_or_an_error_but_not_once_it_has_answered() {
    let failed = trial(Signal::Connect, true).with(Decided::OVER);
    assert_eq!(server(&mut begun(true), 1, 0, 0, RST), failed);
    assert_eq!(begun(true).refuse(), failed);
    assert!(living(true).refuse().is_nothing());
    let mut again = begun(true);
    again.call(CLIENT);
    let over = Decided::NOTHING.with(Decided::OVER);
    assert_eq!(server(&mut again, 1, 0, 0, RST), over);
}

#[test]
fn an_error_counts_only_if_it_quotes_the_syn() {
    let failed = trial(Signal::Connect, true).with(Decided::OVER);
    assert_eq!(begun(true).undelivered(CLIENT), failed);
    for other in [CLIENT + 1, CLIENT.wrapping_sub(1), 0] {
        assert!(begun(true).undelivered(other).is_nothing(), "{other}");
    }
    assert!(living(true).undelivered(CLIENT).is_nothing());
}

#[test]
fn a_call_that_nobody_answers_has_failed_after_three_seconds_once() {
    let failed = trial(Signal::Connect, true);
    let mut watched = begun(true);
    assert!(watched.lapse(ANSWER_NS - 1).is_nothing());
    assert_eq!(watched.lapse(ANSWER_NS), failed);
    assert!(watched.lapse(2 * ANSWER_NS).is_nothing());
    assert_eq!(watched.call(CLIENT), Call::Again(Decided::NOTHING));
    let late = server(&mut watched, 9000, 0, 0, SYN_ACK);
    assert!(!late.decides(Signal::Connect), "{late:?}");
}

#[test]
fn nor_has_one_that_was_answered_called_again_or_can_not_be_seen_to_be() {
    let mut again = begun(true);
    again.call(CLIENT);
    let mut answered = begun(true);
    server(&mut answered, 1, 0, 0, SYN_ACK);
    for mut watched in [again, answered, living(true), begun(false)] {
        assert!(!watched.is_unanswered(u64::MAX), "{watched:?}");
        assert!(watched.lapse(u64::MAX).is_nothing(), "{watched:?}");
    }
}

#[test]
fn who_never_followed_the_syn_up_decides_nothing_by_a_reset() {
    let over = Decided::NOTHING.with(Decided::OVER);
    assert_eq!(client(&mut begun(true), 1, 1, 0, RST), over);
    let mut answered = begun(true);
    server(&mut answered, 1, 0, 0, SYN_ACK);
    assert_eq!(client(&mut answered, 2, 1, 0, RST), over);
}

#[test]
fn the_first_byte_takes_from_the_first_question_to_the_first_answer() {
    let mut watched = living(true);
    assert!(server(&mut watched, 25, 1, 9, ACK).is_nothing(), "unasked");
    assert!(client(&mut watched, 30, 1, 9, ACK).is_nothing());
    assert!(client(&mut watched, 35, 10, 9, ACK).is_nothing());
    assert!(server(&mut watched, 40, 10, 0, ACK).is_nothing(), "empty");
    let mut expected = Decided::NOTHING.with(Decided::FIRST_BYTE);
    expected.sample_ns = 12_000_000;
    assert_eq!(server(&mut watched, 42, 10, 5, ACK), expected);
    assert!(server(&mut watched, 43, 15, 5, ACK).is_nothing());
    assert_eq!(watched.bytes(), 19);
}

#[test]
fn an_end_is_orderly_after_both_fins_and_seen_from_one_side_after_one() {
    let mut watched = living(true);
    assert!(client(&mut watched, 50, 1, 0, FIN).is_nothing());
    assert_eq!(
        server(&mut watched, 60, 1, 0, FIN),
        ended(false, false, false)
    );
    let mut watched = living(true);
    assert!(server(&mut watched, 50, 1, 0, FIN).is_nothing());
    assert_eq!(
        client(&mut watched, 60, 1, 0, FIN),
        ended(false, false, false)
    );
    let mut watched = living(false);
    assert_eq!(
        client(&mut watched, 60, 1, 7, FIN),
        ended(false, false, false)
    );
    assert_eq!(watched.bytes(), 7);
}

#[test]
fn a_reset_is_a_failure_of_the_servers_and_of_an_early_clients() {
    assert_eq!(
        server(&mut living(true), 60, 1, 0, RST),
        ended(true, true, false)
    );
    assert_eq!(
        client(&mut living(true), 60, 1, 0, RST),
        ended(true, true, false)
    );
    assert_eq!(
        client(&mut living(false), 60, 1, 0, RST),
        ended(true, true, false)
    );
    // Twenty milliseconds after the SYN the connection lives.
    assert_eq!(
        client(&mut living(true), 1019, 1, 0, RST),
        ended(true, true, false)
    );
    assert_eq!(
        client(&mut living(true), 1020, 1, 0, RST),
        ended(false, false, false)
    );
    assert_eq!(
        server(&mut living(true), 1020, 1, 0, RST),
        ended(true, false, false)
    );
}

#[test]
fn a_reset_behind_the_servers_own_end_is_orderly() {
    for resets in [client, server] {
        let mut watched = living(true);
        server(&mut watched, 50, 1, 0, FIN);
        assert_eq!(
            resets(&mut watched, 60, 1, 0, RST),
            ended(false, false, false)
        );
    }
    let mut watched = living(true);
    client(&mut watched, 50, 1, 0, FIN);
    assert_eq!(
        server(&mut watched, 60, 1, 0, RST),
        ended(true, true, false)
    );
}

#[test]
fn one_that_is_seen_past_the_first_second_is_past_an_early_reset() {
    let mut watched = living(true);
    assert!(client(&mut watched, 1019, 1, 1, ACK).is_nothing());
    assert_eq!(
        client(&mut watched, 1020, 2, 1, ACK),
        trial(Signal::ResetEarly, false)
    );
    assert!(client(&mut watched, 1021, 3, 1, ACK).is_nothing());
    let end = server(&mut watched, 1030, 1, 0, RST);
    assert!(end.fails(Signal::Reset) && !end.decides(Signal::ResetEarly));
}

#[test]
fn a_segment_of_either_side_that_comes_again_is_a_retransmission() {
    for (at, payload, again) in [(1, 9, true), (1, 10, false), (10, 4, false), (9, 1, false)] {
        for side in [client, server] {
            let mut watched = living(true);
            side(&mut watched, 30, 1, 9, ACK);
            side(&mut watched, 40, at, payload, ACK);
            let end = server(&mut watched, 50, 30, 0, RST);
            assert_eq!(end.fails(Signal::Retransmission), again, "{at} {payload}");
            assert!(end.decides(Signal::Retransmission));
        }
    }
    let mut watched = living(true);
    client(&mut watched, 30, 1, 0, FIN);
    client(&mut watched, 40, 1, 0, FIN);
    assert!(server(&mut watched, 50, 1, 0, FIN).fails(Signal::Retransmission));
}

#[test]
fn of_a_long_connection_retransmission_is_decided_once_before_its_end() {
    let mut watched = living(true);
    server(&mut watched, 30, 1, 9, ACK);
    server(&mut watched, 30, 1, 9, ACK);
    let mut decided = Vec::new();
    for number in 0..3 * u32::from(MANY) {
        let here = client(&mut watched, 40, 1 + number * 9, 9, ACK);
        decided.extend((!here.is_nothing()).then_some(here));
    }
    assert_eq!(decided, [trial(Signal::Retransmission, true)]);
    assert!(!server(&mut watched, 50, 10, 0, RST).decides(Signal::Retransmission));
}

#[test]
fn what_is_no_segment_of_a_connection_decides_nothing() {
    for flags in [0, Segment::FIN, SYN_ACK] {
        let mut watched = begun(false);
        assert!(client(&mut watched, 10, 1, 5, flags).is_nothing());
    }
    assert!(server(&mut begun(true), 10, 1, 5, ACK).is_nothing());
    assert!(server(&mut begun(true), 10, 0, 0, Segment::SYN).is_nothing());
}
