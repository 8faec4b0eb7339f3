//! What full tables evict is counted, and nothing else is taken for it.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use lb_common::reason::FlowEvent;
use lb_userspace::dataplane::Dataplane as _;

use crate::{
    frame::{Frame, flag},
    lab::Lab,
    world::{Family, client, cut_over, vip, with_record},
};

/// Several of the kernel's free lists of 128 for each CPU.
const ROOM: u32 = 1024;
const CONNECTIONS: u16 = 20_000;
/// More than twice what it is given.
const AMPLE: u32 = 65_536;
const CLIENTS: u16 = 8_000;
const SWEEPS: u32 = 200;

#[test]
fn what_a_full_table_evicts_is_counted() {
    let mut lab = Lab::sized(&with_record(cut_over()), ROOM);
    pass(&mut lab, 0..CONNECTIONS, &[flag::SYN, flag::ACK]);
    let evicted = u64::from(CONNECTIONS) - lab.pins().len() as u64;
    assert!(evicted >= u64::from(CONNECTIONS) - u64::from(ROOM));
    assert_eq!(
        lab.evicted(),
        evicted,
        "each came, and is there or was evicted"
    );
    assert_eq!(lab.evicted(), evicted, "by a look");
    lab.restart();
    assert_eq!(lab.evicted(), evicted, "after a restart");

    // Their pins are removed, which is no eviction, and first packets fill the other table.
    let pins = lab.pins();
    lab.kernel().unpin(&pins).expect("pins may be removed");
    assert_eq!(lab.evicted(), evicted, "removed");
    pass(&mut lab, 0..CONNECTIONS, &[flag::SYN]);
    let evicted = evicted + u64::from(CONNECTIONS) - lab.pins().len() as u64;
    assert_eq!(lab.evicted(), evicted, "first packets");
}

#[test]
fn a_table_with_room_evicts_nothing_whatever_goes_on() {
    let mut lab = Lab::sized(&with_record(cut_over()), AMPLE);
    let over = AtomicBool::new(false);
    let program = lab.pin_directory().join("program");
    let (packets, told) = thread::scope(|scope| {
        let packets = scope.spawn(|| send_until(&over, &program));
        let mut sweeps = 0..SWEEPS;
        let told = sweeps.find_map(|sweep| {
            let some = lab.pins().into_iter().step_by(3).collect::<Vec<_>>();
            lab.kernel().unpin(&some).expect("pins may be removed");
            let evicted = lab.evicted();
            (evicted != 0).then_some((sweep, evicted))
        });
        over.store(true, Ordering::Relaxed);
        (packets.join().expect("the kernel runs the program"), told)
    });
    assert_eq!(told, None, "the sweep and what it tells");
    println!("{packets} packets met {SWEEPS} sweeps");
    assert!(packets > 10 * u64::from(SWEEPS), "only {packets} packets");
    assert!(lab.flow_events(FlowEvent::Completed) > 0);
    for restart in 0..3 {
        lab.restart();
        assert_eq!(lab.evicted(), 0, "after restart {restart}");
        pass(
            &mut lab,
            0..CLIENTS,
            &[flag::SYN, flag::SYN, flag::ACK, flag::RST],
        );
        assert_eq!(lab.evicted(), 0, "after restart {restart} and packets");
    }
}

#[test]
fn a_daemon_that_dies_as_it_removes_pins_makes_no_eviction_of_them() {
    let mut lab = Lab::sized(&with_record(cut_over()), AMPLE);
    pass(&mut lab, 0..1000, &[flag::SYN, flag::ACK]);
    assert_eq!(lab.evicted(), 0);
    // What it has written down, and not removed.
    lab.kernel()
        .write_ahead(500)
        .expect("counters are writable");
    lab.restart();
    assert_eq!(lab.evicted(), 0, "the books are wrong by 500");
    pass(&mut lab, 0..CONNECTIONS, &[flag::SYN, flag::ACK]);
    assert_eq!(lab.evicted(), 0);
    let mut small = Lab::sized(&with_record(cut_over()), ROOM);
    small
        .kernel()
        .write_ahead(500)
        .expect("counters are writable");
    assert_eq!(small.evicted(), 0);
    pass(&mut small, 0..CONNECTIONS, &[flag::SYN, flag::ACK]);
    let evicted = u64::from(CONNECTIONS) - small.pins().len() as u64;
    assert_eq!(small.evicted(), evicted, "the books were set right");
}

fn pass(lab: &mut Lab, clients: std::ops::Range<u16>, flags: &[u8]) {
    for number in clients {
        for &flags in flags {
            let frame = Frame::tcp(client(Family::V4, number), vip(Family::V4), flags);
            lab.pass_through(&frame.bytes());
        }
    }
}

/// Connections that begin, begin again, live and end.
fn send_until(over: &AtomicBool, program: &Path) -> u64 {
    let program = Xdp::from_pin(program, XdpAttachType::Interface).expect("the program is pinned");
    let mut packets = 0;
    for number in (0..CLIENTS).cycle() {
        for flags in [flag::SYN, flag::SYN, flag::ACK, flag::ACK | flag::FIN] {
            let frame = Frame::tcp(client(Family::V4, number), vip(Family::V4), flags).bytes();
            let options = TestRunOptions {
                data_in: Some(&frame),
                ..TestRunOptions::new()
            };
            let ran = program.test_run(options);
            ran.expect("the kernel runs the program");
            packets += 1;
        }
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    packets
}
