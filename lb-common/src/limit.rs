//! How often something may happen: so many times a second, and so many at once.

/// At once, after a rest.
const BURST: u64 = 50;
const SECOND_NS: u64 = 1_000_000_000;

/// A limit, by the generic cell rate algorithm (ITU-T I.371): its whole state is one number, the
/// time at which the next event would be due if they came evenly.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// From one event to the next; 0 for "never".
    interval_ns: u64,
}

impl Limit {
    /// So many a second; 0 lets nothing happen.
    #[inline(always)]
    pub const fn new(per_second: u32) -> Self {
        Self {
            interval_ns: match per_second {
                0 => 0,
                some => SECOND_NS / some as u64,
            },
        }
    }

    /// The next state if an event may happen `now`; nothing if it may not.
    #[inline(always)]
    pub const fn admit(self, state: u64, now_ns: u64) -> Option<u64> {
        let due = if state > now_ns { state } else { now_ns };
        if self.interval_ns == 0 || due - now_ns > (BURST - 1) * self.interval_ns {
            return None;
        }
        Some(due + self.interval_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let limit = Limit::new(1000);
        let start = 5 * SECOND_NS;
        assert_eq!(admitted(limit, (0..1000).map(|_| start)), BURST);
        // A million a second for a second.
        let storm = (0..1_000_000).map(|n| start + n * 1000);
        assert_eq!(admitted(limit, storm), BURST + 999);
    }

    #[test]
    fn what_comes_slower_than_the_rate_all_goes_through() {
        let calm = (0..5000).map(|n| n * 1_000_000);
        assert_eq!(admitted(Limit::new(1000), calm), 5000);
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_through() {
        assert_eq!(admitted(Limit::new(0), (0..1000).map(|n| n * SECOND_NS)), 0);
    }
}
