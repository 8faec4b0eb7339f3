//! The thread that flips.

use std::{sync::atomic::Ordering, thread, time::Instant};

use lb_common::{maps::RECORDS_PER_SERVICE, pool::Slot};
use lb_userspace::dataplane::{Dataplane as _, Image, Table, Write};

use super::{
    DEADLINE, MET, Shared, WHILE,
    flip::{AHEAD, Flip, POISON, POISONED_TABLE, TABLES, VERSIONS, Version},
};
use crate::{
    lab::Lab,
    world::{SERVICE, add_backend, at_rest},
};

/// What it writes.
pub struct Flipper {
    forward: u32,
    versions: Vec<Table>,
}

impl Flipper {
    pub fn new(forward: u32) -> Self {
        let versions = (0..VERSIONS).map(Version);
        Self {
            forward,
            versions: versions
                .map(|version| Table::new(|_| version.slot()))
                .collect(),
        }
    }

    /// Everything before the first flip.
    pub fn image(&self) -> Image {
        let mut image = at_rest();
        for version in 0..VERSIONS {
            let slot = Version(version).slot();
            add_backend(&mut image, slot.current());
            add_backend(&mut image, slot.current() + 1);
        }
        add_backend(&mut image, POISON);
        let first = Flip(0);
        for (number, table) in (0..).zip(0..TABLES) {
            image.tables.insert(number, self.table(first, table));
        }
        let poison = Table::new(|_| Slot::settled(POISON));
        image.tables.insert(POISONED_TABLE, poison);
        image.records.insert(SERVICE, first.record(self.forward));
        image
    }

    fn table(&self, flip: Flip, table: u64) -> Table {
        let version = usize::try_from(flip.version(table).0).expect("few");
        self.versions[version].clone()
    }

    /// Flips until there were enough of both; tells how often.
    pub fn flip(&self, lab: &mut Lab, shared: &Shared) -> u64 {
        let began = Instant::now();
        let kernel = lab.kernel();
        let mut write = |write: Write| kernel.write(&write).expect("a write succeeds");
        // How many packets were through when each flip was done.
        let mut through = vec![0; usize::from(RING)];
        let mut number = 0;
        let enough = || {
            let (met, took) = (shared.met.load(Ordering::Relaxed), began.elapsed());
            (met >= MET && took > WHILE) || took > DEADLINE || shared.over.load(Ordering::Relaxed)
        };
        while !enough() {
            number += 1;
            let flip = Flip(number);
            // Its copy of the record was live until the flip behind that, and its table until the one
            // behind the last that named it.
            let held = number.saturating_sub(u64::from(RECORDS_PER_SERVICE) - 1);
            let held = if flip.rebuilds() {
                number.saturating_sub(AHEAD - 1)
            } else {
                held
            };
            await_packet(shared, through[place(held)]);
            if flip.rebuilds() {
                let (table, _) = flip.tables();
                let index = u32::try_from(table).expect("few");
                write(Write::SetTable(index, self.table(flip, table)));
            }
            shared.begun.store(number, Ordering::SeqCst);
            write(Write::SetRecord(SERVICE, flip.record(self.forward)));
            shared.done.store(number, Ordering::SeqCst);
            through[place(number)] = shared.packets.load(Ordering::SeqCst);
        }
        number
    }
}

/// As many flips are looked back at, and more.
const RING: u16 = 16;

fn place(flip: u64) -> usize {
    usize::try_from(flip % u64::from(RING)).expect("few")
}

/// Returns when the packet is through that was under way when so many had been.
fn await_packet(shared: &Shared, through: u64) {
    while shared.packets.load(Ordering::SeqCst) <= through && !shared.over.load(Ordering::Relaxed) {
        thread::yield_now();
    }
}
