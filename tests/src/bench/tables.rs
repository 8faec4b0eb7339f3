//! How long it takes until a pool's new table serves.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_common::pool::Slot;
use lb_userspace::dataplane::{Table, maglev};

use super::{lab::Lab, world};
use crate::interrupt;

const RUNS: usize = 9;

/// The times for a pool of one size, each a median.
#[derive(Debug)]
pub struct Swap {
    /// Backends of the pool.
    pub backends: u64,
    /// From weights to slots.
    pub build: Duration,
    /// From slots to the kernel.
    pub write: Duration,
}

/// Builds and writes tables of the sizes that the issue names.
pub fn measure(lab: &mut Lab) -> Result<Vec<Swap>> {
    [100, 1000]
        .into_iter()
        .map(|backends| swap(lab, backends))
        .collect()
}

fn swap(lab: &mut Lab, backends: u64) -> Result<Swap> {
    let shares = world::shares(backends);
    let up = vec![true; shares.len()];
    let (mut builds, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        interrupt::check()?;
        let start = Instant::now();
        let owners = maglev::build(&shares, &up);
        let table = Table::new(|slot| {
            let owner = owners[slot].expect("a pool with weights has no free slot");
            Slot::settled(u16::try_from(owner + 1).expect("a pool is small"))
        });
        builds.push(start.elapsed());
        let start = Instant::now();
        lab.write_table(&table)?;
        writes.push(start.elapsed());
    }
    Ok(Swap {
        backends,
        build: median(builds),
        write: median(writes),
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
