//! Protection of the host's services: a deny list, and a limit of new connections from one source.

use bytemuck::{Pod, Zeroable};

use crate::{limit::Limit, prefix::Prefixes};

/// Copies of the settings; one is live, another may be written. Number 0 stands for "off".
///
/// Their numbers differ in the lowest two bits only, so that the store of one can't be torn even
/// if the kernel copied it byte by byte.
pub const PROTECTS: u32 = 4;

/// What is kept from the services.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Protect {
    denied: Prefixes,
    /// Of the new connections of a source; one of none a second stands for no limit.
    limit: Limit,
}

const _: () = assert!(size_of::<Protect>() == 40);

impl Protect {
    /// Denies these sources, and allows each other one `per_second` new connections, `burst` of
    /// them at once; 0 a second for no limit.
    pub const fn new(denied: Prefixes, per_second: u32, burst: u32) -> Self {
        Self {
            denied,
            limit: Limit::new(per_second, burst),
        }
    }

    /// The deny list; its sources have a member.
    #[inline(always)]
    pub const fn denied(&self) -> &Prefixes {
        &self.denied
    }

    /// The same settings, the deny list in a block at another place.
    #[must_use]
    pub const fn moved(mut self, base: u32) -> Self {
        self.denied = self.denied.moved(base);
        self
    }

    /// Whether new connections are limited.
    #[inline(always)]
    pub const fn limits(&self) -> bool {
        !self.limit.is_none()
    }

    /// A source's account after one more new connection at `now`, or nothing if it may have none.
    #[inline(always)]
    pub const fn admit(&self, account: u64, now: u64) -> Option<u64> {
        self.limit.admit(account, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many of `tries` at `now` are admitted.
    fn admitted(limit: &Protect, account: &mut u64, now: u64, tries: u32) -> u32 {
        let mut count = 0;
        for _ in 0..tries {
            if let Some(next) = limit.admit(*account, now) {
                *account = next;
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let limit = Protect::new(Prefixes::default(), 10, 5);
        let mut account = 0;
        assert_eq!(admitted(&limit, &mut account, SECOND, 100), 5);
        assert_eq!(admitted(&limit, &mut account, SECOND + SECOND / 10, 100), 1);
        assert_eq!(admitted(&limit, &mut account, 10 * SECOND, 100), 5);
    }

    #[test]
    fn a_refused_connection_costs_nothing() {
        let limit = Protect::new(Prefixes::default(), 1, 1);
        let mut account = 0;
        for tenth in 0..100_u32 {
            let now = SECOND + u64::from(tenth) * SECOND / 10;
            let allowed = admitted(&limit, &mut account, now, 10);
            assert_eq!(allowed, u32::from(tenth % 10 == 0), "at {tenth}");
        }
    }
}
