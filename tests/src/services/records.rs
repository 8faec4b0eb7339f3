//! Watches the live records in the maps: what users get, whatever the daemon says.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::{
    maps::{RECORDS_PER_SERVICE, name},
    release::Record,
};

use super::pins;
use crate::{daemon::Daemon, interrupt};

/// How often it is looked: what is told of lateness is as exact.
const PERIOD: Duration = Duration::from_millis(10);
const RECORD: usize = size_of::<Record>();

/// The live records.
pub struct Records {
    active: Array<MapData, u32>,
    copies: Array<MapData, [u8; RECORD]>,
    services: u16,
}

/// A watch over the shares of all services.
pub struct Watch {
    records: Records,
    time: SystemTime,
    /// Each service's share, and when it was first seen to be another, counted from that time.
    seen: Vec<(u32, Vec<Duration>)>,
}

impl Records {
    /// Those of a daemon, whose services have the numbers from 0 on.
    pub fn open(daemon: &Daemon, services: u16) -> Result<Self> {
        let open = |name| {
            let data = MapData::from_pin(pins(daemon).join(name));
            data.map(Map::Array).with_context(|| format!("map {name}"))
        };
        Ok(Self {
            active: open(name::ACTIVE)?.try_into()?,
            copies: open(name::RECORDS)?.try_into()?,
            services,
        })
    }

    /// Begins to watch; times are counted from this one on.
    pub fn watch(self, time: SystemTime) -> Watch {
        let seen = vec![(0, Vec::new()); self.services.into()];
        Watch {
            records: self,
            time,
            seen,
        }
    }

    fn share_ppm(&self, service: u32) -> Result<u32> {
        let index = self.active.get(&service, 0)?;
        ensure!(index / RECORDS_PER_SERVICE == service, "no live record");
        let record = self.copies.get(&index, 0)?;
        Ok(bytemuck::pod_read_unaligned::<Record>(&record).share_ppm)
    }
}

impl Watch {
    /// Watches until every service has made so many steps.
    pub fn until_all(&mut self, steps: usize, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.seen.iter().any(|(_, seen)| seen.len() < steps) {
            interrupt::check()?;
            let late = self.seen.iter().filter(|(_, seen)| seen.len() < steps);
            ensure!(
                begun.elapsed() < limit,
                "{} services have not made step {steps} within {limit:?}",
                late.count()
            );
            self.look()?;
            thread::sleep(PERIOD);
        }
        Ok(())
    }

    /// When each service's steps were made.
    pub fn steps(&self) -> Vec<&[Duration]> {
        self.seen.iter().map(|(_, seen)| &seen[..]).collect()
    }

    fn look(&mut self) -> Result<()> {
        for (service, (share_ppm, seen)) in (0..).zip(&mut self.seen) {
            let now_ppm = self.records.share_ppm(service)?;
            if now_ppm != *share_ppm {
                *share_ppm = now_ppm;
                seen.push(self.time.elapsed().unwrap_or_default());
            }
        }
        Ok(())
    }
}
