//! What the daemon has used, and what its flow table holds.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    flow::{FlowKey, Pin},
    maps::{ABI_VERSION, name},
};

/// Ticks a second in /proc, on every architecture.
const USER_HZ: u32 = 100;

/// A process's use of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time, its own and the kernel's on its behalf.
    pub cpu: Duration,
    /// The most memory that it has had.
    pub peak_kib: u64,
    /// The memory that it has.
    pub resident_kib: u64,
}

impl Usage {
    /// So far.
    pub fn of(process: u32) -> Result<Self> {
        let directory = Path::new("/proc").join(process.to_string());
        let stat = fs::read_to_string(directory.join("stat"))?;
        let status = fs::read_to_string(directory.join("status"))?;
        let (_name, fields) = stat.rsplit_once(") ").context("no name in stat")?;
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        let memory = |key: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            Ok(number.with_context(|| format!("no {key}"))?.parse()?)
        };
        Ok(Self {
            cpu: Duration::from_secs(ticks) / USER_HZ,
            peak_kib: memory("VmHWM:")?,
            resident_kib: memory("VmRSS:")?,
        })
    }

    /// Since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            ..self
        }
    }
}

/// Pins in the flow table of the daemon whose pins are in `directory`.
pub fn entries(directory: &str) -> Result<usize> {
    let path = Path::new(directory)
        .join(format!("v{ABI_VERSION}"))
        .join(name::FLOWS);
    let data = MapData::from_pin(&path).with_context(|| path.display().to_string())?;
    let map = Map::LruHashMap(data);
    let map: HashMap<_, [u8; size_of::<FlowKey>()], [u8; size_of::<Pin>()]> = map.try_into()?;
    Ok(map.keys().flatten().count())
}
