//! Slow start: a backend that has come up gets its part of the pool little by little, so that a
//! server with cold caches is not met by all of it at once.
//!
//! A step gives the backend a tenth more of the slots that it owns when all is well; the others
//! keep theirs, and lend it nothing back. Each is a change of weights like any other: connections
//! stay where they are.

use serde::{Deserialize, Serialize};

use super::{BackendState, ServiceState, State};
use crate::seed::Seed;

/// Steps to the whole, and so the most often that one recovery deals a pool's slots.
pub const STEPS: u32 = 10;

/// How far a backend is on its way to its whole part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowStart {
    /// Tick when it came up.
    pub since: u32,
    /// Parts of [`STEPS`] that it has, from 1.
    pub step: u32,
}

/// Ticks from one step to the next, where all are to take `period`.
///
/// Steps are taken at multiples of it, so that backends of a pool that rise together share them:
/// the pool is dealt no more often for a hundred than for one.
const fn stride(period: u32) -> u32 {
    match period.div_ceil(STEPS) {
        0 => 1,
        stride => stride,
    }
}

/// Ticks from `tick` to the next step.
pub const fn next_step(period: u32, tick: u32) -> u32 {
    let stride = stride(period);
    stride - tick % stride
}

impl SlowStart {
    /// Begins at `tick`.
    pub const fn new(tick: u32) -> Self {
        let (since, step) = (tick, 1);
        Self { since, step }
    }

    /// Where it is at `tick`; nothing once it is over, or if its beginning is of another boot.
    #[must_use]
    pub fn at(self, period: u32, tick: u32) -> Option<Self> {
        let stride = stride(period);
        let strides = (tick / stride).checked_sub(self.since / stride)?;
        let passed = u64::from(strides) * u64::from(stride);
        let step = 1 + passed * u64::from(STEPS) / u64::from(period.max(1));
        let step = u32::try_from(step).ok().filter(|&step| step < STEPS)?;
        // A clock may stand still; a step is never taken back.
        let step = step.max(self.step);
        Some(Self { step, ..self })
    }

    /// Whether it has this slot, of those that it has when all is well. What it has stays.
    pub fn has(self, slot: usize) -> bool {
        slot % (STEPS as usize) < self.step as usize
    }
}

impl State {
    /// Takes the steps that are due at `tick`, where `period` gives the ticks that a pool's take.
    pub fn advance(&mut self, period: impl Fn(&str, &str) -> Option<u32>, seed: &Seed, tick: u32) {
        for (name, service) in &mut self.services {
            let pools: Vec<String> = service.pools.keys().cloned().collect();
            for pool in pools {
                let period = period(name, &pool);
                if service.advance(&pool, period, tick) {
                    service.reassign(&pool, seed, tick);
                }
            }
        }
    }
}

impl ServiceState {
    /// Whether some backend of the pool has come further.
    fn advance(&mut self, pool: &str, period: Option<u32>, tick: u32) -> bool {
        let backends = self.backends.values_mut();
        let mut advanced = false;
        for backend in backends.filter(|backend| backend.pool == pool) {
            let next = backend
                .slow_start
                .and_then(|slow_start| slow_start.at(period?, tick));
            advanced |= next != backend.slow_start;
            backend.slow_start = next;
        }
        advanced
    }

    /// Whether a backend of this pool is on its way.
    pub fn is_starting(&self, pool: &str) -> bool {
        self.members(pool)
            .any(|(_, backend)| backend.slow_start.is_some())
    }

    /// Whether a pool has a backend that has its whole part, and so can carry that of others.
    pub(super) fn has_steady(&self, pool: &str) -> bool {
        let steady =
            |backend: &BackendState| backend.takes_connections() && backend.slow_start.is_none();
        self.members(pool).any(|(_, backend)| steady(backend))
    }

    /// The weight by which a backend really has slots: none while it takes no connections, and a
    /// part of its own while it starts slowly.
    pub fn effective_weight(&self, backend: &BackendState) -> f64 {
        if backend.leaving || !backend.takes_connections() {
            return 0.0;
        }
        let weight = f64::from(backend.weight());
        match backend.slow_start {
            Some(SlowStart { step, .. }) if self.has_steady(&backend.pool) => {
                weight * f64::from(step) / f64::from(STEPS)
            }
            Some(_) | None => weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::fixture::{Fixture, SHOP};
    use super::*;

    fn seed() -> Seed {
        Seed::new("seed")
    }

    /// b1 of b1, b2 and b3 is at this step, or has its whole part.
    fn owners(step: Option<u32>) -> Vec<u16> {
        let b3 = "\"10.0.1.2\" }, { name = \"b3\", address = \"10.0.1.3\" }";
        let mut fixture = Fixture::new(&SHOP.replace("\"10.0.1.2\" }", b3));
        let shop = fixture.service_mut("shop");
        let b1 = shop.backend_mut("b1").expect("b1");
        b1.slow_start = step.map(|step| SlowStart { since: 0, step });
        shop.owners("blue", &seed())
    }

    fn steps(period: u32, since: u32) -> Vec<u32> {
        let mut slow_start = Some(SlowStart::new(since));
        let mut steps = Vec::new();
        for tick in since.. {
            slow_start = slow_start.and_then(|slow_start| slow_start.at(period, tick));
            match slow_start {
                Some(SlowStart { step, .. }) if steps.last() != Some(&step) => steps.push(step),
                Some(_) => {}
                None => return steps,
            }
        }
        steps
    }

    #[test]
    fn each_step_adds_a_tenth_of_the_backends_own_slots_and_moves_no_other() {
        let whole = owners(None);
        let own = whole.iter().filter(|&&owner| owner == 1).count();
        let mut before = 0;
        for step in 1..STEPS {
            let now = owners(Some(step));
            let has = now.iter().filter(|&&owner| owner == 1).count();
            let expected = own * step as usize / STEPS as usize;
            assert!(
                has.abs_diff(expected) < own / 20,
                "{has} of {own} at step {step}"
            );
            assert!(has > before);
            before = has;
            for (now, whole) in now.iter().zip(&whole) {
                assert!(now == whole || *whole == 1, "a slot of another has moved");
            }
        }
    }

    #[test]
    fn a_step_keeps_what_the_last_one_gave() {
        let all: Vec<Vec<u16>> = (1..STEPS).map(|step| owners(Some(step))).collect();
        for pair in all.windows(2) {
            let mut slots = pair[0].iter().zip(&pair[1]);
            assert!(slots.all(|(before, after)| before == after || *after == 1));
        }
    }

    #[test]
    fn the_only_backend_that_serves_has_everything_at_once() {
        let mut fixture = Fixture::new(SHOP);
        let shop = fixture.service_mut("shop");
        shop.backend_mut("b2").expect("b2").set_up(false);
        let b1 = shop.backend_mut("b1").expect("b1");
        b1.slow_start = Some(SlowStart::new(0));
        assert!(shop.owners("blue", &seed()).iter().all(|&owner| owner == 1));
        let b1 = shop.backend("b1").expect("b1");
        assert!((shop.effective_weight(b1) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn the_effective_weight_is_that_of_the_slots() {
        let mut fixture = Fixture::new(SHOP);
        let shop = fixture.service_mut("shop");
        let weight = |shop: &ServiceState| shop.effective_weight(shop.backend("b1").expect("b1"));
        shop.backend_mut("b1").expect("b1").slow_start = Some(SlowStart { since: 0, step: 3 });
        assert!((weight(shop) - 30.0).abs() < 1e-9);
        shop.backend_mut("b1").expect("b1").set_up(false);
        assert!(weight(shop) < 1e-9);
    }

    #[test]
    fn steps_spread_over_the_period_and_short_periods_skip_some() {
        assert_eq!(steps(28, 0), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(steps(5, 100), [1, 3, 5, 7, 9]);
        assert_eq!(steps(1, 7), [1]);
    }

    #[test]
    fn a_start_from_before_a_reboot_is_over() {
        assert_eq!(SlowStart::new(1000).at(28, 3), None);
    }

    #[test]
    fn going_down_ends_a_slow_start() {
        let mut fixture = Fixture::new(SHOP);
        let b1 = fixture.service_mut("shop").backend_mut("b1").expect("b1");
        b1.slow_start = Some(SlowStart::new(0));
        b1.set_up(true);
        assert!(b1.slow_start.is_some());
        b1.set_up(false);
        assert!(b1.slow_start.is_none());
    }

    proptest! {
        #[test]
        fn steps_grow_are_fewer_than_ten_and_end_in_time(period in 1..3400_u32, since: u16) {
            let since = u32::from(since);
            let steps = steps(period, since);
            prop_assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(steps.len() < STEPS as usize && steps[0] == 1);
            let end = since + period + stride(period);
            prop_assert_eq!(SlowStart::new(since).at(period, end), None);
        }

        #[test]
        fn backends_that_rise_at_different_times_share_their_steps(
            period in 1..3400_u32,
            since in proptest::collection::vec(0..400_u32, 1..50),
        ) {
            let mut all: Vec<_> = since.iter().map(|&since| Some(SlowStart::new(since))).collect();
            let mut dealt = BTreeSet::new();
            for tick in 400..400 + 2 * period {
                for slow_start in &mut all {
                    let next = slow_start.and_then(|slow_start| slow_start.at(period, tick));
                    if tick > 400 && next != *slow_start {
                        dealt.insert(tick);
                    }
                    *slow_start = next;
                }
            }
            prop_assert!(dealt.len() <= STEPS as usize + 1);
            prop_assert!(dealt.iter().all(|tick| next_step(period, tick - 1) == 1));
        }
    }
}
