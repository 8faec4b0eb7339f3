//! The program that tells agrees with the one that forwards, and leaves nothing behind.

use std::collections::BTreeMap;

use lb_common::{
    backend::{Backend, NONE, index},
    listener::{Endpoint, Listener},
    pool::Slot,
    reason::Reason,
    release::Record,
    trace::Trace,
};
use lb_userspace::dataplane::{Image, Table, question::Question};

use crate::{
    audience,
    frame::{Frame, flag},
    lab::Lab,
    outcome::Verdict,
    quic,
    random::Random,
    world::{
        FAMILIES, Family, NEW, NEW_TABLE, OLD, OLD_TABLE, SERVICE, add_backend, bucket_of, chosen,
        client, client_in, endpoint, ramping, resting, server, slot_of, two_pools, vip,
        with_record,
    },
};

/// Random flows in each state.
const FLOWS: u32 = 100_000;
/// Clients are few enough to come again, with pins from another packet or another state.
const CLIENTS: usize = 20_000;
const SHARE: u32 = 250_000;
/// A backend beside the two that each pool has one of.
const THIRD: u16 = 3;

#[test]
fn it_agrees_with_the_forwarding_program_on_every_flow_in_every_state() {
    let mut lab = Lab::new(&Image::default());
    lab.complete();
    let mut random = Random::new(0x7e11);
    for (name, image) in states() {
        lab.become_image(&image);
        let mut told = BTreeMap::new();
        let before = lab.counters();
        for _ in 0..FLOWS {
            let frame = packet(&mut random);
            let bytes = frame.bytes();
            let trace = lab.tell(&bytes);
            let (verdict, out) = lab.pass_through(&bytes);
            let reason = reason(&trace);
            *told.entry(trace.reason).or_insert(0) += 1;
            assert_eq!(verdict_of(reason), verdict, "{name}: {frame:?} {trace:?}");
            if let Reason::Transmitted | Reason::Redirected = reason {
                assert_eq!(trace.chosen, chosen(&out), "{name}: {frame:?} {trace:?}");
            }
        }
        let after = lab.counters();
        let pairs = before.reasons.iter().zip(&after.reasons);
        let counted: BTreeMap<u32, u64> = pairs
            .map(|((reason, before), (_, after))| (*reason as u32, after - before))
            .filter(|(_, rise)| *rise > 0)
            .collect();
        assert_eq!(told, counted, "{name}: the reasons told and counted");
    }
}

#[test]
fn it_counts_nothing_and_leaves_the_flow_table_as_it_is() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    let mut random = Random::new(0x1e5);
    for _ in 0..1000 {
        lab.pass_through(&packet(&mut random).bytes());
    }
    let before = (lab.counters(), sorted_pins(&mut lab));
    assert!(before.1.len() > 100, "there is something to disturb");
    for state in [ramping(SHARE), settled()] {
        lab.set_record(state);
        for _ in 0..10_000 {
            lab.tell(&packet(&mut random).bytes());
        }
        assert!(
            before == (lab.counters(), sorted_pins(&mut lab)),
            "{state:?}"
        );
    }
}

#[test]
fn it_tells_what_each_step_of_the_walk_said() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    for family in FAMILIES {
        let from = client_in(family, SHARE, true);
        let trace = lab.tell(&Frame::syn(from, vip(family)).bytes());
        let expected = Trace {
            epoch: resting().epoch,
            record: trace.record,
            share_ppm: SHARE,
            bucket: bucket_of(from, resting().salt),
            table: NEW_TABLE,
            origin_table: OLD_TABLE,
            slot: u32::try_from(slot_of(from, vip(family), 6)).expect("below 65 537"),
            ifindex: 1,
            reason: Reason::Transmitted as u32,
            listener: trace.listener,
            current: NEW,
            origin: OLD,
            chosen: NEW,
            marks: Trace::LISTENER
                | Trace::RECORD
                | Trace::ANSWER
                | Trace::MOVING
                | Trace::TOUCHED
                | Trace::CHOSEN
                | Trace::HOP
                | Trace::EXIT,
            ..Trace::default()
        };
        assert_eq!(trace, expected);
    }
}

#[test]
fn it_tells_of_the_pin_that_holds_and_of_the_one_that_is_void() {
    let mut lab = Lab::new(&with_record(ramping(SHARE)));
    let from = client_in(Family::V4, SHARE, true);
    let ack = Frame::ack(from, vip(Family::V4)).bytes();
    let told = |trace: Trace| {
        (
            trace.has(Trace::PINNED),
            trace.has(Trace::VOID),
            trace.chosen,
        )
    };
    assert_eq!(told(lab.tell(&ack)), (false, false, OLD));
    lab.pass_through(&Frame::syn(from, vip(Family::V4)).bytes());
    assert_eq!(told(lab.tell(&ack)), (true, false, NEW));
    lab.change(|image| {
        let at = server(Family::V4, NEW);
        let successor = Backend::new(at.ip().into(), at.port(), 2);
        image.backends.insert(index(NEW, false), successor);
    });
    let trace = lab.tell(&ack);
    assert_eq!((told(trace), trace.pin), ((false, true, OLD), NEW));
}

#[test]
fn at_rest_a_client_has_a_bucket_all_the_same() {
    let mut lab = Lab::new(&with_record(resting()));
    for family in FAMILIES {
        let from = client(family, 4711);
        let trace = lab.tell(&Frame::syn(from, vip(family)).bytes());
        assert_eq!(trace.bucket, bucket_of(from, resting().salt));
    }
}

#[test]
fn a_question_is_the_packet_that_it_describes() {
    for family in FAMILIES {
        let (from, to) = (client_in(family, SHARE, true), vip(family));
        for (frame, protocol, opens) in [
            (Frame::syn(from, to), 6, true),
            (Frame::ack(from, to), 6, false),
            (Frame::udp(from, to), 17, false),
        ] {
            let mut lab = Lab::new(&with_record(ramping(SHARE)));
            let listener: Endpoint = endpoint(to, protocol);
            let question = Question::new(from, listener, opens);
            assert_eq!(lab.tell(&question.frame()), lab.tell(&frame.bytes()));
            lab.pass_through(&question.frame());
            assert_eq!(lab.pins().len(), usize::from(protocol == 6));
        }
    }
}

#[test]
fn a_question_of_quic_opens_a_connection_or_goes_on_with_one() {
    let mut image = with_record(ramping(SHARE));
    for listener in image.listeners.values_mut() {
        *listener = listener.with(Listener::QUIC);
    }
    let mut lab = Lab::new(&image);
    for family in FAMILIES {
        let mut ask = |opens| {
            let from = client_in(family, SHARE, true);
            let question = Question::new(from, endpoint(vip(family), 17), opens);
            lab.tell(&question.frame()).chosen
        };
        assert_eq!((ask(true), ask(false)), (NEW, OLD), "{family:?}");
    }
}

/// Every state that a release can be in, in an order that leaves each the pins of those before.
fn states() -> Vec<(&'static str, Image)> {
    let with = |record: Record| with_record(record);
    let cutover = Record {
        active: NEW_TABLE,
        touched_ppm: 1_000_000,
        flags: Record::MOVING,
        ..resting()
    };
    let flagged = |flags| Record { flags, ..cutover };
    let tables = |slot: fn(usize) -> Slot| {
        let mut image = two_pools();
        add_backend(&mut image, THIRD);
        image.tables.insert(OLD_TABLE + 1, Table::new(slot));
        let record = Record {
            active: OLD_TABLE + 1,
            origin_active: OLD_TABLE + 1,
            ..ramping(SHARE)
        };
        image.records.insert(SERVICE, record);
        image
    };
    let weights = |slot: usize| match slot % 3 {
        0 => Slot::new(THIRD, OLD).touch(),
        1 => Slot::settled(THIRD).touch(),
        _ => Slot::settled(OLD),
    };
    let emptied = |slot: usize| match slot % 2 {
        0 => Slot::new(NONE, OLD).touch(),
        _ => Slot::settled(NONE),
    };
    let by_client = Record {
        flags: Record::MOVING | Record::AFFINITY_CLIENT,
        ..ramping(SHARE)
    };
    let by_frame = Record {
        flags: Record::MOVING | Record::FORWARD_L2,
        ..ramping(SHARE)
    };
    let drawn_anew = Record {
        origin_share_ppm: 100_000,
        origin_salt: 0xbad,
        touched_ppm: 1_000_000,
        ..ramping(SHARE)
    };
    vec![
        ("nothing", Image::default()),
        ("at rest", with(resting())),
        ("a ramp", with(ramping(SHARE))),
        ("settled, with pins", with(settled())),
        ("drawn anew", with(drawn_anew)),
        ("a cutover", with(cutover)),
        (
            "a rollback",
            with(Record {
                active: OLD_TABLE,
                flags: 0,
                ..cutover
            }),
        ),
        ("weights", tables(weights)),
        ("an empty pool", tables(emptied)),
        ("a backend that is gone", without_backend()),
        ("a backend out of reach", out_of_reach()),
        ("affinity by client", with(by_client)),
        ("direct server return", with(by_frame)),
        ("no record", without_record()),
        ("at rest again", with(resting())),
        (
            "sessions that are pinned",
            with(flagged(Record::SESSIONS | Record::ARMING)),
        ),
        (
            "sessions in a cutover",
            with(flagged(Record::SESSIONS | Record::MOVING)),
        ),
        (
            "a cutover that cuts",
            with(flagged(Record::MOVING | Record::CUT)),
        ),
        (
            "a deadline that is over",
            with(flagged(Record::MOVING | Record::OVERDUE)),
        ),
        ("QUIC in a cutover", quic::image(cutover)),
        (
            "QUIC that is cut",
            quic::image(flagged(Record::MOVING | Record::CUT)),
        ),
        ("an audience", audience::half(false)),
        ("an audience that comes", audience::half(true)),
        ("ipip in a ramp", by_tunnel(Record::FORWARD_IPIP)),
        ("gue in a ramp", by_tunnel(Record::FORWARD_GUE)),
        ("at rest after all", with(resting())),
    ]
}

fn by_tunnel(forward: u32) -> Image {
    let mut image = with_record(Record {
        flags: Record::MOVING | forward,
        ..ramping(SHARE)
    });
    image.replies.clear();
    image
}

fn settled() -> Record {
    Record {
        origin_share_ppm: SHARE,
        flags: 0,
        ..ramping(SHARE)
    }
}

fn without_record() -> Image {
    let mut image = two_pools();
    image.records.clear();
    image
}

fn without_backend() -> Image {
    let mut image = with_record(ramping(SHARE));
    for v6 in [false, true] {
        image.backends.remove(&index(NEW, v6));
    }
    image
}

/// By an interface that the program may not send on.
fn out_of_reach() -> Image {
    let mut image = with_record(ramping(SHARE));
    for family in FAMILIES {
        let at = server(family, NEW);
        let entry = Backend::new(at.ip().into(), at.port(), 1).via(77, [2; 6], [4; 6]);
        let index = index(NEW, family == Family::V6);
        image.backends.insert(index, entry);
    }
    image
}

/// One of every kind of packet that meets a listener, and some that don't.
fn packet(random: &mut Random) -> Frame {
    let family = FAMILIES[random.below(2)];
    let number = u16::try_from(random.below(CLIENTS)).expect("20 000");
    let mut from = client(family, number);
    from.set_port(1024 + u16::try_from(random.below(4)).expect("below 4"));
    let to = vip(family);
    let flags = [
        flag::SYN,
        flag::ACK,
        flag::ACK | flag::PSH,
        flag::ACK | flag::FIN,
        flag::RST,
        flag::SYN | flag::ACK,
    ];
    match random.below(10) {
        0..=2 => Frame::syn(from, to),
        3..=7 => Frame::tcp(from, to, flags[random.below(flags.len())]),
        8 => Frame {
            payload: match random.below(3) {
                0 => Vec::new(),
                1 => quic::long(quic::INITIAL_1, quic::SMALLEST),
                _ => quic::short(),
            },
            ..Frame::udp(from, to)
        },
        _ => Frame {
            hops: 1,
            ..Frame::ack(from, to)
        },
    }
}

fn reason(trace: &Trace) -> Reason {
    assert!(trace.has(Trace::EXIT), "{trace:?}");
    Reason::ALL[trace.reason as usize]
}

/// The verdict for each reason that these packets can meet.
fn verdict_of(reason: Reason) -> Verdict {
    let known = [
        (Reason::Transmitted, Verdict::Transmit),
        (Reason::Redirected, Verdict::Redirect),
        (Reason::NotListening, Verdict::Pass),
        (Reason::TtlExceeded, Verdict::Pass),
        (Reason::Reset, Verdict::Transmit),
    ];
    let found = known.iter().find(|(known, _)| *known == reason);
    found.map_or(Verdict::Drop, |(_, verdict)| *verdict)
}

fn sorted_pins(lab: &mut Lab) -> Vec<String> {
    let pins = lab.pins();
    let mut pins: Vec<String> = pins.iter().map(|pin| format!("{pin:?}")).collect();
    pins.sort_unstable();
    pins
}
