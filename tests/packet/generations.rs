//! Records and tables change under packets as fast as they can: no packet meets half of a change.
//!
//! Whatever could be met by halves is poisoned. Even records have all clients on the live table as
//! the active pool's, odd ones as the candidate's; the other pool of each is a table of poison. A
//! table is filled with poison as soon as it is not live.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use lb_common::{hash::BUCKETS, pool::Slot, release::Record};
use lb_userspace::dataplane::{Dataplane as _, Table, Write};

use crate::{
    frame::{Frame, flag},
    lab::Lab,
    world::{
        Family, NEW, NEW_TABLE, OLD, OLD_TABLE, SERVICE, add_backend, at_rest, chosen, client,
        resting, vip,
    },
};

/// The backend that no packet may ever reach.
const POISON: u16 = 3;
/// The table of the pool that has nothing else.
const POISONED_TABLE: u32 = 4;
/// Fewer of either would prove nothing.
const CHANGES: u64 = 500;
const PACKETS: u64 = 20_000;
/// By then they should have been seen, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

#[test]
fn no_packet_meets_half_of_a_change() {
    let mut image = at_rest();
    add_backend(&mut image, POISON);
    image
        .tables
        .insert(POISONED_TABLE, Table::new(|_| Slot::settled(POISON)));
    let mut lab = Lab::new(&image);
    let program = lab.pin_directory().join("program");
    let over = AtomicBool::new(false);
    let (changes, packets) = thread::scope(|scope| {
        let packets = scope.spawn(|| send_until(&over, &program));
        let changes = change(&mut lab);
        over.store(true, Ordering::Relaxed);
        (changes, packets.join().expect("no packet is poisoned"))
    });
    println!("{packets} packets met {changes} changes");
    assert!(changes >= CHANGES, "only {changes} changes");
    assert!(packets >= PACKETS, "only {packets} packets");
}

/// Flips record and table, each time waiting for packets under way, then poisons what was live.
fn change(lab: &mut Lab) -> u64 {
    let end = Instant::now() + DEADLINE;
    let mut epoch = resting().epoch;
    let mut live = OLD_TABLE;
    while epoch - resting().epoch < CHANGES && Instant::now() < end {
        epoch += 1;
        let (next, backend) = if live == OLD_TABLE {
            (NEW_TABLE, NEW)
        } else {
            (OLD_TABLE, OLD)
        };
        let kernel = lab.kernel();
        let mut write = |write| kernel.write(&write).expect("a write succeeds");
        write(Write::SetTable(
            next,
            Table::new(|_| Slot::settled(backend)),
        ));
        write(Write::SetRecord(SERVICE, record(epoch, next)));
        kernel.wait_for_packets().expect("packets come through");
        let poison = Write::SetTable(live, Table::new(|_| Slot::settled(POISON)));
        kernel
            .write(&poison)
            .expect("a table that is not live is writable");
        live = next;
    }
    epoch - resting().epoch
}

/// All clients are on `live`, by one reading of the record or the other.
fn record(epoch: u64, live: u32) -> Record {
    let (active, candidate, share_ppm) = if epoch.is_multiple_of(2) {
        (live, POISONED_TABLE, 0)
    } else {
        (POISONED_TABLE, live, BUCKETS)
    };
    Record {
        active,
        candidate,
        origin_active: active,
        origin_candidate: candidate,
        share_ppm,
        origin_share_ppm: share_ppm,
        epoch,
        ..resting()
    }
}

fn send_until(over: &AtomicBool, program: &Path) -> u64 {
    let program = Xdp::from_pin(program, XdpAttachType::Interface).expect("the program is pinned");
    let mut packets = 0;
    for number in (0..=u16::MAX).cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let frame = Frame::tcp(client(Family::V4, number), vip(Family::V4), flag::ACK).bytes();
        let mut out = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        program
            .test_run(options)
            .expect("the kernel runs the program");
        let backend = chosen(&out);
        assert!(
            backend == OLD || backend == NEW,
            "packet {packets} went to backend {backend}"
        );
        packets += 1;
    }
    packets
}
