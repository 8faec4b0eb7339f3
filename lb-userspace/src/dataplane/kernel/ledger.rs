//! How many pins full tables have thrown out, of which the kernel says nothing: those that came,
//! less those that were removed, less those that are there.
//!
//! The three are never known for one moment. So a sweep reads them in the order that lets the sum be
//! too small rather than too large: an eviction may be told of late, and none that was not.

use aya::maps::MapError;
use lb_common::{
    flow::{FlowKey, Pin},
    maps::name,
    reason::{FlowEvent, SWEPT, SWEPT_TABLES, flow_event_index},
};

use super::{
    KernelError, barrier,
    maps::{self, Maps, Raw},
};

/// Removals that are written down at a time.
const AHEAD: usize = 64;

/// What a sweep has seen.
#[derive(Debug)]
pub struct Books {
    /// Entries that had been made when it began.
    created: u64,
    /// Entries that had been removed by then.
    removed: u64,
    /// Pins that it has come by. Those that it removes meanwhile are among them, so that they count
    /// twice in the least that was evicted, and in the most not at all.
    pub present: u64,
}

/// Opens the books at the beginning of a sweep.
pub fn open(maps: &Maps) -> Result<Books, KernelError> {
    Ok(Books {
        created: created(maps)?,
        removed: removed(maps)?,
        present: 0,
    })
}

/// Brings [`FlowEvent::Evicted`] up to date at the end of a sweep.
pub fn close(maps: &mut Maps, books: &Books) -> Result<(), KernelError> {
    let &Books {
        created,
        removed,
        present,
    } = books;
    if !is_about_these(maps)? {
        return begin(maps);
    }
    let evicted = event(maps, FlowEvent::Evicted)?;
    let least = |maps: &Maps| Ok(balance(created, self::removed(maps)?, present) - signed(evicted));
    let most = |maps: &Maps| Ok(balance(self::created(maps)?, removed, present) - signed(evicted));
    if confirm(maps, least, i64::is_positive)? {
        let risen = evicted.saturating_add_signed(least(maps)?);
        return maps.set_counter(flow_event_index(FlowEvent::Evicted), risen);
    }
    if confirm(maps, most, i64::is_negative)? {
        // Removals that were written down were not made: the daemon was killed between the two.
        let over = most(maps)?;
        return correct(maps, over);
    }
    Ok(())
}

/// Begins the books of tables that they are not about: their pins did not come through the packet
/// path, or others have gone with the tables before.
pub fn begin(maps: &mut Maps) -> Result<(), KernelError> {
    if is_about_these(maps)? {
        return Ok(());
    }
    let removed = removed(maps)?;
    let present = maps.count_pins()?;
    barrier::wait_for_packets()?;
    let evicted = event(maps, FlowEvent::Evicted)?;
    let unexplained = balance(created(maps)?, removed, present) - signed(evicted);
    correct(maps, unexplained)?;
    let tables = maps.pin_tables()?;
    maps.set_counter(SWEPT_TABLES, tables)
}

/// Removes pins that are still what they were found to be. What is to be removed is written down
/// before: were the daemon killed between the two, pins that it removed would else be taken for evicted
/// ones.
pub fn remove(maps: &mut Maps, pins: &[(FlowKey, Pin)]) -> Result<(), KernelError> {
    for pins in pins.chunks(AHEAD) {
        let before = write_down(maps, pins.len() as u64)?;
        let mut removed = 0_u64;
        for &(key, pin) in pins {
            let (name, table) = if pin.is_half_open() {
                (name::HALF_OPEN, &mut maps.half_open)
            } else {
                (name::FLOWS, &mut maps.flows)
            };
            // A read right before is as near as there is to a removal that compares.
            match table.get(&Raw(key), 0) {
                Ok(found) if found.0 == pin => {
                    removed += maps::removed(name, table.remove(&Raw(key)))?;
                }
                Ok(_) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(KernelError::map(name)(error)),
            }
        }
        maps.set_counter(SWEPT, before.wrapping_add(removed))?;
    }
    Ok(())
}

/// Adds removals to the books; tells what was in them before.
pub fn write_down(maps: &mut Maps, removals: u64) -> Result<u64, KernelError> {
    let before = counter(maps, SWEPT)?;
    maps.set_counter(SWEPT, before.wrapping_add(removals))?;
    Ok(before)
}

/// Whether what the books say holds once packets under way are through: those have changed a table,
/// and not counted it yet.
fn confirm(
    maps: &Maps,
    balance: impl Fn(&Maps) -> Result<i64, KernelError>,
    holds: impl Fn(i64) -> bool,
) -> Result<bool, KernelError> {
    if !holds(balance(maps)?) {
        return Ok(false);
    }
    barrier::wait_for_packets()?;
    Ok(holds(balance(maps)?))
}

/// Entries that are gone and were not removed.
const fn balance(created: u64, removed: u64, present: u64) -> i64 {
    signed(created.wrapping_sub(removed).wrapping_sub(present))
}

/// A sum of wrapping counters, which may be below zero.
const fn signed(sum: u64) -> i64 {
    sum.cast_signed()
}

fn correct(maps: &mut Maps, by: i64) -> Result<(), KernelError> {
    let swept = counter(maps, SWEPT)?.wrapping_add_signed(by);
    maps.set_counter(SWEPT, swept)
}

fn is_about_these(maps: &Maps) -> Result<bool, KernelError> {
    Ok(counter(maps, SWEPT_TABLES)? == maps.pin_tables()?)
}

/// Entries that the packet path has made.
fn created(maps: &Maps) -> Result<u64, KernelError> {
    Ok(event(maps, FlowEvent::Pinned)? + event(maps, FlowEvent::HalfOpened)?)
}

/// Entries that were removed, by the packet path or the daemon.
fn removed(maps: &Maps) -> Result<u64, KernelError> {
    let removed = event(maps, FlowEvent::Unpinned)? + event(maps, FlowEvent::Completed)?;
    Ok(removed.wrapping_add(counter(maps, SWEPT)?))
}

fn event(maps: &Maps, event: FlowEvent) -> Result<u64, KernelError> {
    counter(maps, flow_event_index(event))
}

fn counter(maps: &Maps, index: u32) -> Result<u64, KernelError> {
    maps::total(&maps.counters, name::COUNTERS, index)
}
