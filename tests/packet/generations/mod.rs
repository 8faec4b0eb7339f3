//! Records and tables change under packets as fast as they can: no packet meets half of a change.
//!
//! One thread sends packets, the other flips from record to record. Each flip leads all clients to
//! backends of its own, in another way than the flip before, and whatever is not on that way is
//! poison. Which flips a packet could meet is known, and so are the backends that it may go to.
//!
//! The flipping thread waits for nothing but what the daemon keeps to as well: what a packet may
//! still read, a copy of a record or a table, is written again only when that packet is through.

mod flip;
mod flipper;
mod sender;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use lb_common::release::Record;

use self::{flipper::Flipper, sender::Sender};
use crate::lab::Lab;

/// How long there are flips at least: some hundred thousand of them on two CPUs that are free.
const WHILE: Duration = Duration::from_secs(3);
/// Fewer that packets have met would prove nothing.
const MET: u64 = 2_000;
/// By then they should have been, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

#[test]
fn no_packet_meets_half_of_a_change() {
    // One after the other: each takes two CPUs.
    for (name, forward) in [("nat", Record::FORWARD_NAT), ("l2", Record::FORWARD_L2)] {
        flip_under_packets(name, forward);
    }
}

fn flip_under_packets(name: &str, forward: u32) {
    let flipper = Flipper::new(forward);
    let mut lab = Lab::new(&flipper.image());
    let program = lab.pin_directory().join("program");
    let shared = Shared::default();
    let (flips, sent) = thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let _over = Over(&shared.over);
            Sender::new(&program, forward).send(&shared)
        });
        let flips = {
            let _over = Over(&shared.over);
            flipper.flip(&mut lab, &shared)
        };
        (flips, sent.join().expect("no packet meets a mixture"))
    });
    let (packets, met) = (sent, shared.met.load(Ordering::Relaxed));
    println!("{name}: {packets} packets under {flips} flips met {met} of them");
    assert!(met >= MET, "of {flips} flips only {met} were met");
}

/// What both threads know.
#[derive(Default)]
struct Shared {
    /// The last flip that has begun, and the last that is done.
    begun: AtomicU64,
    done: AtomicU64,
    /// Packets that are through, and flips that some of them have surely met.
    packets: AtomicU64,
    met: AtomicU64,
    over: AtomicBool,
}

/// Tells both threads, however one ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
