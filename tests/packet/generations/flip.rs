//! Where a flip leads: all of it follows from its number.

use lb_common::{hash::BUCKETS, pool::Slot, release::Record};

use crate::world::resting;

/// Tables that packets go by, two of each pool: flips take them in turn.
pub const TABLES: u64 = 8;
/// The table of pools that nobody is sent to, and its backend.
pub const POISONED_TABLE: u32 = 8;
pub const POISON: u16 = 100;
/// What a table may hold: each version has two backends of its own.
pub const VERSIONS: u64 = 32;
/// Before every so many flips the table of the next one is dealt anew.
const REBUILD: u64 = 32;
/// The origin's table is the one that so many flips later is the live one.
pub const AHEAD: u64 = 3;
/// Salts of which one has the clients below half of all buckets, and the other above.
pub const SALTS: (u64, u64) = (0x5a17, 0x0dd5);
pub const HALF: u32 = BUCKETS / 2;

/// A flip.
#[derive(Clone, Copy)]
pub struct Flip(pub u64);

impl Flip {
    /// The table of new connections, and that of connections of unknown past.
    pub const fn tables(self) -> (u64, u64) {
        let before = if self.is_moving() {
            self.0 + AHEAD
        } else {
            self.0
        };
        (self.0 % TABLES, before % TABLES)
    }

    /// Whether the origin has another mapping.
    const fn is_moving(self) -> bool {
        self.0 % 7 >= 4
    }

    /// What the table with this number holds at this flip.
    pub const fn version(self, table: u64) -> Version {
        // The last flip that this table was dealt anew for, or none.
        let period = REBUILD + 1;
        let mut rebuilt = self.0 / period * period;
        while rebuilt > 0 && rebuilt % TABLES != table {
            rebuilt -= period;
        }
        let times = if rebuilt > 0 {
            1 + rebuilt / period / TABLES
        } else {
            0
        };
        Version((table * (VERSIONS / TABLES) + times) % VERSIONS)
    }

    /// Whether the table of new connections is dealt anew for it.
    pub const fn rebuilds(self) -> bool {
        self.0.is_multiple_of(REBUILD + 1) && self.0 > 0
    }

    /// The backends of new connections, and of those of unknown past.
    pub const fn backends(self) -> (u16, u16) {
        let (table, before) = self.tables();
        (
            self.version(table).slot().current(),
            self.version(before).slot().origin(),
        )
    }

    /// The record. At rest the origin's part of it is not read, so that it is poison.
    pub fn record(self, forward: u32) -> Record {
        let (table, before) = self.tables();
        let [table, before] = [table, before].map(|table| u32::try_from(table).expect("few"));
        let (active, candidate) = ((table, POISONED_TABLE), (POISONED_TABLE, table));
        let (below, above) = ((HALF, SALTS.0), (HALF, SALTS.1));
        let ((active, candidate), (share_ppm, salt)) = match self.0 % 7 {
            0 | 4 => (active, (0, SALTS.0)),
            1 => (candidate, (BUCKETS, SALTS.1)),
            2 | 5 => (candidate, below),
            _ => (active, above),
        };
        let nowhere = (POISONED_TABLE, POISONED_TABLE);
        let of_active = (before, POISONED_TABLE);
        let of_candidate = (POISONED_TABLE, before);
        let ((origin_active, origin_candidate), (origin_share_ppm, origin_salt)) = match self.0 % 7
        {
            4 => (of_active, (0, SALTS.1)),
            5 => (of_active, above),
            6 => (of_candidate, below),
            _ => (nowhere, (HALF, SALTS.0)),
        };
        let moving = if self.is_moving() { Record::MOVING } else { 0 };
        Record {
            active,
            candidate,
            origin_active,
            origin_candidate,
            share_ppm,
            origin_share_ppm,
            touched_ppm: if self.is_moving() { BUCKETS } else { 0 },
            flags: forward | moving,
            salt,
            origin_salt,
            epoch: self.0 + 1,
            ..resting()
        }
    }
}

/// What a table holds: every second one is in the middle of a change of weights.
#[derive(Clone, Copy)]
pub struct Version(pub u64);

impl Version {
    #[expect(clippy::cast_possible_truncation, reason = "few versions")]
    pub const fn slot(self) -> Slot {
        let current = 1 + 2 * self.0 as u16;
        if self.0.is_multiple_of(2) {
            Slot::settled(current)
        } else {
            Slot::new(current, current + 1).touch()
        }
    }
}
