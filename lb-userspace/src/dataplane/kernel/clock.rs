//! The clock that the packet path stamps pins by.

use std::time::Duration;

use lb_common::flow;
use nix::time::{ClockId, clock_gettime};

/// The tick now; `bpf_ktime_get_coarse_ns` reads the same clock.
pub fn now() -> u32 {
    flow::tick(u64::try_from(time().as_nanos()).unwrap_or(u64::MAX))
}

/// Milliseconds of the same clock.
pub fn clock_ms() -> u64 {
    u64::try_from(time().as_millis()).unwrap_or(u64::MAX)
}

fn time() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Into::into)
}
