//! The release: which pool a client gets, now and at the last settled state.

use lb_common::{backend, hash, reason::Reason, release::Record};

use crate::{
    maps::{ACTIVE, RECORDS},
    pool,
};

/// What the record and the tables say of one flow.
pub struct Answer {
    /// The table by which new connections go.
    pub table: u32,
    /// The backend that new connections go to.
    pub current: u16,
    /// The backend that connections of unknown past belong to.
    pub origin: u16,
    /// A pin may exist although both are the same.
    pub touched: bool,
}

/// The service's live record.
#[inline(always)]
pub fn live(service: u32) -> Result<&'static Record, Reason> {
    let index = ACTIVE.get(service).ok_or(Reason::NoRecord)?;
    RECORDS.get(*index).ok_or(Reason::NoRecord)
}

/// The answer for a client (by its hash) and a slot.
#[inline(always)]
pub fn answer(record: &Record, client: u64, slot: u32) -> Result<Answer, Reason> {
    let bucket = hash::bucket(client, record.salt);
    let table = record.table(bucket);
    let here = pool::slot(table, slot)?;
    let mut origin = here.origin();
    if record.has(Record::MOVING) {
        let before = record.origin_table(hash::bucket(client, record.origin_salt));
        if before != table {
            origin = pool::slot(before, slot)?.origin();
        }
    }
    let current = here.current();
    Ok(Answer {
        table,
        current,
        // A flow can't have come from a pool that had no backend.
        origin: if origin == backend::NONE {
            current
        } else {
            origin
        },
        touched: here.is_touched() || record.touches(bucket),
    })
}
