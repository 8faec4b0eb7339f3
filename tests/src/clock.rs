//! Wall-clock time in nanoseconds, the clock that the daemon and the kernel's packet timestamps share.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch by `CLOCK_REALTIME`.
///
/// # Panics
/// If the clock is set before 1970 or after 2554.
pub fn now_ns() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is set after 1970");
    u64::try_from(since_epoch.as_nanos()).expect("the clock is set before 2554")
}
