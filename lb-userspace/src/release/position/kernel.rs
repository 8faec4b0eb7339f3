//! A position and the kernel's record: each from the other.

use lb_common::{maps::TABLES_PER_POOL, release::Record};

use super::{Mapping, PoolId, Position};
use crate::release::engine::Seen;

impl Position {
    /// The record, with pools named by what `table` says; flags that don't
    /// follow from the position are the caller's.
    pub fn record(&self, table: impl Fn(PoolId) -> u32, flags: u32) -> Record {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let moving = flag(self.is_moving(), Record::MOVING)
            | flag(self.arming, Record::ARMING)
            | flag(self.overdue, Record::OVERDUE);
        let [audiences, origin_audiences] = self.audience_sets();
        let judged = match audiences | origin_audiences {
            0 => 0,
            _ => Record::AUDIENCES,
        };
        Record {
            active: table(self.now.active),
            candidate: table(self.now.candidate),
            origin_active: table(self.origin.active),
            origin_candidate: table(self.origin.candidate),
            share_ppm: self.now.share_ppm,
            origin_share_ppm: self.origin.share_ppm,
            touched_ppm: self.touched_ppm,
            flags: flags | moving | judged,
            salt: self.now.salt,
            origin_salt: self.origin.salt,
            audiences,
            origin_audiences,
            epoch: self.epoch,
        }
    }

    /// Takes over what a record in the maps says: that is what users get.
    pub fn take(&mut self, record: &Record, tick: u32) {
        let pool = |table| table / TABLES_PER_POOL;
        let before = self.now;
        self.now = Mapping {
            active: pool(record.active),
            candidate: pool(record.candidate),
            share_ppm: record.share_ppm,
            salt: record.salt,
            audiences: record.audiences,
        };
        self.origin = Mapping {
            active: pool(record.origin_active),
            candidate: pool(record.origin_candidate),
            share_ppm: record.origin_share_ppm,
            salt: record.origin_salt,
            audiences: record.origin_audiences,
        };
        self.touched_ppm = record.touched_ppm;
        self.arming = record.has(Record::ARMING);
        self.overdue = record.has(Record::OVERDUE);
        self.epoch = record.epoch;
        if !self.now.deals_like(&before) {
            self.dealt = Some(record.epoch);
        }
        self.previous = self.previous.filter(|&pool| pool != self.now.active);
        self.date(self.changed.unwrap_or(tick));
    }

    /// Moves the release to where users are; true if it took itself to be elsewhere.
    pub fn heed(&mut self) -> bool {
        let seen = Seen {
            active: self.now.active,
            candidate: self.now.candidate,
            share_ppm: self.now.share_ppm,
        };
        let found = self.run.as_ref().and_then(|run| run.heed(seen));
        let differs = found.is_some();
        self.run = found.or_else(|| self.run.take());
        differs
    }

    /// Drops every mention of pools that are gone; no client gets or got them. The release of one
    /// that is gone is over.
    pub fn keep_pools(&mut self, is_there: impl Fn(PoolId) -> bool) {
        self.over |= !self.tried().is_none_or(&is_there);
        self.tried = self.tried.filter(|&pool| is_there(pool));
        for mapping in [&mut self.now, &mut self.origin] {
            if !is_there(mapping.candidate) {
                mapping.candidate = mapping.active;
            }
        }
        self.previous = self.previous.filter(|&pool| is_there(pool));
        self.run = self.run.take().filter(|run| is_there(run.candidate));
    }
}
