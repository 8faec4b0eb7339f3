//! The release: which pool a client gets, now and at the last settled state.

use lb_common::{
    backend, hash, maps::RECORDS_PER_SERVICE, quic_lb::Server, reason::Reason, release::Record,
    trace::Trace,
};

use crate::{
    audience::Shares,
    maps::{ACTIVE, RECORDS},
    mode::Mode,
    pool,
};

/// What the record and the tables say of one flow.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a register of its own on its way"
)]
pub struct Answer {
    /// The table by which new connections go.
    pub table: u32,
    /// The backend that new connections go to.
    pub current: u16,
    /// The backend that connections of unknown past belong to.
    pub origin: u16,
    /// The change under way concerns this flow. So it may where both are the same: a pool that has
    /// no backend left has an origin that is not its own.
    pub moving: bool,
    /// A pin may exist although the flow is not moving.
    pub touched: bool,
    /// The flow's first packet alone has told whose it is, so its pin is the answer.
    pub opened: bool,
    /// The breaker has sent the connection elsewhere than the record says.
    pub diverted: bool,
    /// The client's audience; 0 for none, where its bucket decides.
    pub audience: u32,
    /// The client's place among a million.
    pub bucket: u32,
    /// The flow's place in the tables.
    pub slot: u32,
}

impl Answer {
    /// The same for a connection whose id tells its server: no release moves it, so that it needs no
    /// pin, but for one that shows that a server which is to leave is still needed.
    #[inline(always)]
    #[must_use]
    pub const fn given(self, server: &Server) -> Self {
        Self {
            current: server.backend(),
            origin: server.backend(),
            moving: server.is_leaving(),
            touched: false,
            ..self
        }
    }

    /// What a trace says of it.
    #[inline(always)]
    const fn marks(&self) -> u32 {
        let moving = if self.moving { Trace::MOVING } else { 0 };
        let touched = if self.touched { Trace::TOUCHED } else { 0 };
        Trace::ANSWER | moving | touched
    }
}

/// The service's live record.
#[inline(always)]
pub fn live<M: Mode>(service: u32) -> Result<&'static Record, Reason> {
    let index = *ACTIVE.get(service).ok_or(Reason::NoRecord)?;
    let record = RECORDS.get(index).ok_or(Reason::NoRecord)?;
    // An index that was never stored is 0, which is service 0's; a record that was removed is zero.
    if index / RECORDS_PER_SERVICE != service || record.epoch == 0 {
        return Err(Reason::NoRecord);
    }
    M::note(|trace| {
        (trace.record, trace.epoch, trace.share_ppm) = (index, record.epoch, record.share_ppm);
        trace.mark(Trace::RECORD);
    });
    Ok(record)
}

/// The answer for a client (by its hash), the shares that hold for it, and a slot.
#[inline(always)]
pub fn answer<M: Mode>(
    record: &Record,
    shares: &Shares,
    client: u64,
    slot: u32,
) -> Result<Answer, Reason> {
    let bucket = hash::bucket(client, record.salt);
    let table = record.table(bucket, shares.now.share_ppm);
    let here = pool::slot(table, slot)?;
    let mut origin = here.origin();
    let mut moving = here.current() != origin;
    let mut before = table;
    if record.has(Record::MOVING) {
        let bucket = hash::bucket(client, record.origin_salt);
        before = record.origin_table(bucket, shares.origin_ppm);
        if before != table {
            origin = pool::slot(before, slot)?.origin();
            moving = true;
        }
    }
    let current = here.current();
    let answer = Answer {
        table,
        current,
        // A flow can't have come from a pool that had no backend.
        origin: if origin == backend::NONE {
            current
        } else {
            origin
        },
        moving: moving || shares.now.pins,
        touched: here.is_touched() || record.touches(bucket) || shares.now.pinned,
        opened: shares.now.pinned,
        diverted: false,
        audience: shares.now.number,
        bucket,
        slot,
    };
    M::note(|trace| {
        (trace.audience, trace.share_ppm) = (shares.now.number, shares.now.share_ppm);
        (trace.bucket, trace.slot) = (bucket, slot);
        (trace.table, trace.origin_table) = (table, before);
        (trace.current, trace.origin) = (answer.current, answer.origin);
        trace.mark(answer.marks());
    });
    Ok(answer)
}
