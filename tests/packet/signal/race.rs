//! A client that two CPUs hear of in one moment is counted by one of them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;

use super::*;

const TOGETHER: usize = 2;

#[test]
fn a_client_of_which_two_cpus_hear_at_once_counts_once() {
    let record = measuring(Record::FORWARD_NAT);
    let mut lab = lab(record);
    let family = Family::V4;
    let all: Vec<_> = clients(family, record, cohort::CANDIDATE).collect();
    let before = signals(&mut lab);
    let refusals = [2000, 2001].map(|port| {
        let of_client = |&from: &SocketAddr| {
            let mut from = from;
            from.set_port(port);
            lab.pass_through(&asked(from, family, (0, 0, SYN)));
            answered(from, family, NEW, (0, 0, RST))
        };
        all.iter().map(of_client).collect::<Vec<_>>()
    });
    let program = lab.pin_directory().join("program");
    let arrived = AtomicUsize::new(0);
    let ran = thread::scope(|scope| {
        let senders = refusals.each_ref().map(|frames| {
            let program = Xdp::from_pin(&program, XdpAttachType::Interface);
            let (program, arrived) = (program.expect("it is pinned"), &arrived);
            scope.spawn(move || send_together(&program, frames, arrived))
        });
        senders.map(|sender| sender.join().expect("it does not panic"))
    });
    assert_eq!(ran, [all.len(); TOGETHER], "the kernel runs the program");
    let counted = risen(&before, &signals(&mut lab), cohort::CANDIDATE);
    let places: std::collections::BTreeSet<_> =
        all.iter().map(|&from| place(from, record.salt)).collect();
    let once = u32::try_from(places.len()).expect("few clients");
    assert!(once > 1000, "{once}");
    assert_eq!(counted.pairs[0], (once, once));
    assert_eq!(counted.clients, u64::from(once));
}

/// Sends each frame when the other thread, which waits for it, sends its own; tells how many the kernel
/// took.
fn send_together(program: &Xdp, frames: &[Vec<u8>], arrived: &AtomicUsize) -> usize {
    let mut ran = 0;
    for (round, frame) in (1..).zip(frames) {
        arrived.fetch_add(1, Ordering::AcqRel);
        while arrived.load(Ordering::Acquire) < round * TOGETHER {
            std::hint::spin_loop();
        }
        let options = TestRunOptions {
            data_in: Some(frame),
            ..TestRunOptions::new()
        };
        ran += usize::from(program.test_run(options).is_ok());
    }
    ran
}
