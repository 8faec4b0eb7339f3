//! A pool's table through its changes: current owners, owners at the last settled state, and the
//! mark that pins may exist.

use lb_common::{backend::NONE, maps::TABLES_PER_POOL, pool::Slot};
use serde::{Deserialize, Serialize};

use super::PoolId;
use crate::dataplane::Table;

/// Says of a backend whether its live connections are cut.
pub trait Cut {
    /// Whether nothing may reach this backend any more.
    fn is_cut(&self, backend: u16) -> bool;
}

impl<F: Fn(u16) -> bool> Cut for F {
    fn is_cut(&self, backend: u16) -> bool {
        self(backend)
    }
}

/// A pool's table, and which of its two places in the maps it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolTable {
    half: u32,
    /// Tick of the last change that has not settled.
    pub changed: Option<u32>,
    /// The kernel's pinned map is where it is kept over a restart.
    #[serde(skip)]
    slots: Slots,
}

/// A table, and what a look at its slots tells.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slots {
    table: Table,
    moving: bool,
    touched: bool,
}

impl Slots {
    fn new(table: Table) -> Self {
        let moving = table.kinds().any(|slot| slot.current() != slot.origin());
        let touched = table.kinds().any(Slot::is_touched);
        Self {
            table,
            moving,
            touched,
        }
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(Table::new(|_| Slot::default()))
    }
}

impl PoolTable {
    /// A pool that has served nobody yet: its origin is its present.
    pub fn new(owners: &[u16]) -> Self {
        let slots = Slots::new(Table::new(|slot| Slot::settled(owners[slot])));
        Self {
            half: 0,
            changed: None,
            slots,
        }
    }

    /// A pool whose slots nobody owns yet.
    pub fn empty() -> Self {
        Self {
            half: 0,
            changed: None,
            slots: Slots::default(),
        }
    }

    /// The table as the kernel has it; a change of it that is not dated counts from `tick`.
    pub fn adopt(&mut self, index: u32, table: Table, tick: u32) {
        self.half = index % TABLES_PER_POOL;
        self.slots = Slots::new(table);
        let began = self.changed.unwrap_or(tick);
        self.changed = self.slots.moving.then_some(began);
    }

    /// Where the table of `pool` is in the maps.
    pub const fn index(&self, pool: u32) -> u32 {
        pool * TABLES_PER_POOL + self.half
    }

    /// The slots.
    pub const fn slots(&self) -> &Table {
        &self.slots.table
    }

    /// New connections go by `owners`; live ones stay, but for those on backends that are cut.
    #[must_use]
    pub fn reassigned(&self, owners: &[u16], cut: &impl Cut, tick: u32) -> Self {
        let next = Table::new(|slot| {
            let (before, owner) = (self.slots.table.slot(slot), owners[slot]);
            let origin = match before.origin() {
                origin if origin != NONE && !cut.is_cut(origin) => origin,
                _ => owner,
            };
            let next = Slot::new(owner, origin);
            if before.is_touched() || origin != owner {
                next.touch()
            } else {
                next
            }
        });
        self.replaced(next, Some(tick))
    }

    /// The origin becomes the current owner; the mark stays until a sweep finds no pin.
    #[must_use]
    pub fn settled(&self) -> Self {
        if !self.is_moving() {
            let slots = self.slots.clone();
            return Self {
                changed: None,
                slots,
                ..*self
            };
        }
        let next = Table::new(|slot| {
            let before = self.slots.table.slot(slot);
            let settled = Slot::settled(before.current());
            if before.is_touched() {
                settled.touch()
            } else {
                settled
            }
        });
        self.replaced(next, None)
    }

    /// No pin is left.
    #[must_use]
    pub fn swept(&self) -> Self {
        if !self.is_touched() {
            return self.clone();
        }
        let next = Table::new(|slot| self.slots.table.slot(slot).untouch());
        self.replaced(next, self.changed)
    }

    /// Whether some slot's owner differs from its origin.
    pub const fn is_moving(&self) -> bool {
        self.slots.moving
    }

    /// Whether pins may exist for some slot.
    pub const fn is_touched(&self) -> bool {
        self.slots.touched
    }

    /// Whether some slot names this backend, now or as its origin.
    pub fn names(&self, backend: u16) -> bool {
        let mut kinds = self.slots.table.kinds();
        kinds.any(|slot| slot.current() == backend || slot.origin() == backend)
    }

    /// The table in its place, given those of its pool that packets go by (by their index): where
    /// it is live already, else where nobody looks, since a live table is never written.
    #[must_use]
    pub fn placed<'t>(mut self, pool: PoolId, live: impl Fn(u32) -> Option<&'t Table>) -> Self {
        let at = |half| live(pool * TABLES_PER_POOL + half);
        let halves = || (0..TABLES_PER_POOL).map(|turn| (self.half + turn) % TABLES_PER_POOL);
        let same = halves().find(|&half| at(half) == Some(&self.slots.table));
        let free = || halves().find(|&half| at(half).is_none());
        self.half = same.or_else(free).unwrap_or(self.half);
        self
    }

    fn replaced(&self, table: Table, changed: Option<u32>) -> Self {
        if table == self.slots.table {
            // It stands since it began, however often it is ordered.
            return Self {
                changed: changed.and(self.changed),
                ..self.clone()
            };
        }
        let slots = Slots::new(table);
        Self {
            half: self.half,
            changed: changed.filter(|_| slots.moving),
            slots,
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::pool::SLOT_COUNT;

    use super::*;

    const NOBODY: fn(u16) -> bool = |_| false;

    fn owners(backend: impl Fn(usize) -> u16) -> Vec<u16> {
        (0..SLOT_COUNT).map(backend).collect()
    }

    #[test]
    fn only_slots_that_change_are_touched_and_the_origin_outlasts_two_changes() {
        let table = PoolTable::new(&owners(|_| 1));
        let table = table.reassigned(&owners(|slot| if slot == 7 { 2 } else { 1 }), &NOBODY, 5);
        let table = table.reassigned(&owners(|slot| if slot == 7 { 3 } else { 1 }), &NOBODY, 6);
        assert_eq!(table.slots().slot(7), Slot::new(3, 1).touch());
        assert_eq!(
            table
                .slots()
                .slots()
                .filter(|slot| slot.is_touched())
                .count(),
            1
        );
        assert!(table.is_moving());
    }

    #[test]
    fn settling_keeps_the_mark_and_a_sweep_takes_it() {
        let table = PoolTable::new(&owners(|_| 1)).reassigned(&owners(|_| 2), &NOBODY, 1);
        let settled = table.settled();
        assert!(settled.is_touched() && !settled.is_moving() && settled.changed.is_none());
        assert!(!settled.swept().is_touched());
    }

    #[test]
    fn connections_of_a_backend_that_is_cut_have_no_origin_there() {
        let table = PoolTable::new(&owners(|_| 1));
        let cut = table.reassigned(&owners(|_| 2), &|backend| backend == 1, 1);
        assert!(!cut.names(1));
    }

    #[test]
    fn every_new_content_takes_the_place_that_is_not_live() {
        let live = PoolTable::new(&owners(|_| 1));
        let at = |index| (index == 6).then(|| live.slots());
        let same = live.reassigned(&owners(|_| 1), &NOBODY, 1).placed(3, at);
        let other = live.reassigned(&owners(|_| 2), &NOBODY, 1).placed(3, at);
        let unnamed = other.clone().placed(3, |_| None);
        assert_eq!((same.index(3), other.index(3), unnamed.index(3)), (6, 7, 7));
    }

    #[test]
    fn a_change_that_moves_no_connection_has_nothing_to_settle() {
        let fresh = PoolTable::empty().reassigned(&owners(|_| 1), &NOBODY, 5);
        let there_and_back = PoolTable::new(&owners(|_| 1))
            .reassigned(&owners(|_| 2), &NOBODY, 5)
            .reassigned(&owners(|_| 1), &NOBODY, 6);
        assert_eq!((fresh.changed, there_and_back.changed), (None, None));
        assert!(
            there_and_back.is_touched(),
            "connections were started in between"
        );
    }

    #[test]
    fn a_table_adopted_in_the_middle_of_a_change_settles_from_then_on() {
        let changing = PoolTable::new(&owners(|_| 1)).reassigned(&owners(|_| 2), &NOBODY, 5);
        let mut saved = changing.settled();
        saved.adopt(1, changing.slots().clone(), 9);
        assert_eq!((saved.index(0), saved.changed), (1, Some(9)));
    }
}
