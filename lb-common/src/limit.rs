//! How often something may happen: so many times a second, and so many at once.

use bytemuck::{Pod, Zeroable};

const SECOND_NS: u64 = 1_000_000_000;

/// A limit, by the generic cell rate algorithm (ITU-T I.371): its whole state is one number, the
/// time at which the next event would be due if they came evenly. A bucket of tokens needs two.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Limit {
    /// From one event to the next; 0 for "never".
    interval_ns: u64,
    /// How far events may run ahead.
    burst_ns: u64,
}

const _: () = assert!(size_of::<Limit>() == 16);

impl Limit {
    /// So many a second, and after a rest `burst` at once; 0 a second lets nothing happen.
    #[inline(always)]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let interval_ns = match per_second {
            0 => 0,
            some => SECOND_NS / some as u64,
        };
        Self {
            interval_ns,
            burst_ns: interval_ns * burst as u64,
        }
    }

    /// Whether nothing may happen.
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.interval_ns == 0
    }

    /// The next state if an event may happen `now`; nothing if it may not.
    #[inline(always)]
    pub const fn admit(&self, state: u64, now_ns: u64) -> Option<u64> {
        let due = if state > now_ns { state } else { now_ns };
        let next = due + self.interval_ns;
        if self.is_none() || next - now_ns > self.burst_ns {
            return None;
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: u32 = 50;

    /// How many of the events at `times` are let through.
    fn admitted(limit: Limit, times: impl Iterator<Item = u64>) -> u64 {
        let mut state = 0;
        let mut count = 0;
        for now in times {
            if let Some(next) = limit.admit(state, now) {
                (state, count) = (next, count + 1);
            }
        }
        count
    }

    #[test]
    fn a_burst_goes_through_and_then_the_rate() {
        let limit = Limit::new(1000, BURST);
        let start = 5 * SECOND_NS;
        assert_eq!(admitted(limit, (0..1000).map(|_| start)), u64::from(BURST));
        // A million a second for a second.
        let storm = (0..1_000_000).map(|n| start + n * 1000);
        assert_eq!(admitted(limit, storm), u64::from(BURST) + 999);
    }

    #[test]
    fn what_comes_slower_than_the_rate_all_goes_through() {
        let calm = (0..5000).map(|n| n * 1_000_000);
        assert_eq!(admitted(Limit::new(1000, BURST), calm), 5000);
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_through() {
        assert_eq!(
            admitted(Limit::new(0, BURST), (0..1000).map(|n| n * SECOND_NS)),
            0
        );
    }
}
