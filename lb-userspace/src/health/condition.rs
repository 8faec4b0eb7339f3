//! What a row of checks says of a backend. Time is a value here.
//!
//! A backend is up until `fall` checks in a row have failed, and down until `rise` in a row have
//! passed. One that goes down again within a minute of coming up is flapping: it then needs twice
//! as many good checks as the last time, up to a bound. A minute up ends that.

use std::time::Duration;

/// How long a backend has to be up for its past to be forgotten.
const QUIET: Duration = Duration::from_mins(1);

/// How many checks in a row change a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones that bring a backend up.
    pub rise: u32,
    /// Failed ones that take it down.
    pub fall: u32,
    /// Good ones that bring up a backend that flaps without end; where it is no more than `rise`,
    /// flapping costs nothing.
    pub most: u32,
}

/// A backend's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    up: bool,
    /// Checks in a row that have contradicted it.
    against: u32,
    /// How many times `rise` it takes to come up.
    factor: u32,
    /// When it came up; nothing if it was up from the start.
    came_up: Option<Duration>,
}

impl Condition {
    /// The condition of a backend that has not been checked yet.
    pub const fn new(up: bool) -> Self {
        Self {
            up,
            against: 0,
            factor: 1,
            came_up: None,
        }
    }

    /// Whether the backend is up.
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// The condition after one more check, which ended at `now` on any clock that never goes back.
    #[must_use]
    pub fn after(self, passed: bool, now: Duration, thresholds: Thresholds) -> Self {
        if passed == self.up {
            return Self { against: 0, ..self };
        }
        let against = self.against + 1;
        if against < self.needed(thresholds) {
            return Self { against, ..self };
        }
        if passed {
            self.up_at(now)
        } else {
            self.down_at(now, thresholds)
        }
    }

    /// Checks in a row that change it.
    pub fn needed(&self, thresholds: Thresholds) -> u32 {
        if self.up {
            thresholds.fall
        } else {
            let damped = thresholds.rise.saturating_mul(self.factor);
            damped.min(thresholds.most).max(thresholds.rise)
        }
    }

    /// Checks in a row that have contradicted it so far.
    pub const fn against(&self) -> u32 {
        self.against
    }

    /// Whether it has gone down soon after it had come up, and may do so again.
    pub fn is_flapping(&self, now: Duration) -> bool {
        self.factor > 1 && (!self.up || self.is_fresh(now))
    }

    fn is_fresh(&self, now: Duration) -> bool {
        self.came_up
            .is_some_and(|then| now.saturating_sub(then) < QUIET)
    }

    const fn up_at(self, now: Duration) -> Self {
        Self {
            up: true,
            against: 0,
            factor: self.factor,
            came_up: Some(now),
        }
    }

    fn down_at(self, now: Duration, thresholds: Thresholds) -> Self {
        let bounded = thresholds.rise.saturating_mul(self.factor) >= thresholds.most;
        let factor = match (self.is_fresh(now), bounded) {
            (false, _) => 1,
            (true, false) => self.factor * 2,
            (true, true) => self.factor,
        };
        Self {
            up: false,
            against: 0,
            factor,
            came_up: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        rise: 2,
        fall: 3,
        most: 15,
    };

    /// After these checks, one a second.
    fn after(mut condition: Condition, from: u64, checks: &[bool]) -> Condition {
        for (second, &passed) in (from..).zip(checks) {
            condition = condition.after(passed, Duration::from_secs(second), THRESHOLDS);
        }
        condition
    }

    #[test]
    fn a_backend_is_up_until_enough_checks_in_a_row_have_failed() {
        let start = Condition::new(true);
        assert!(after(start, 0, &[false, false]).is_up());
        assert!(after(start, 0, &[false, false, true, false, false]).is_up());
        assert!(!after(start, 0, &[false, false, false]).is_up());
    }

    #[test]
    fn a_backend_is_down_until_enough_checks_in_a_row_have_passed() {
        let start = Condition::new(false);
        assert!(!after(start, 0, &[true, false, true]).is_up());
        assert!(after(start, 0, &[true, true]).is_up());
    }

    #[test]
    fn each_fall_soon_after_a_rise_doubles_the_next_rise_up_to_the_bound() {
        let mut condition = Condition::new(true);
        let mut now = 0;
        for expected in [2, 4, 8, 15, 15] {
            condition = after(condition, now, &[false; 3]);
            assert_eq!(condition.needed(THRESHOLDS), expected);
            condition = after(condition, now + 3, &vec![true; expected as usize]);
            assert!(condition.is_up());
            now += 3 + u64::from(expected);
        }
    }

    #[test]
    fn without_damping_a_flapping_backend_rises_as_any_other() {
        let thresholds = Thresholds {
            most: 0,
            ..THRESHOLDS
        };
        let mut condition = Condition::new(true);
        for second in 0..100 {
            condition = condition.after(second % 5 > 2, Duration::from_secs(second), thresholds);
            assert!(condition.needed(thresholds) <= 3);
            assert!(!condition.is_flapping(Duration::from_secs(second)));
        }
    }

    #[test]
    fn a_backend_flaps_from_its_second_fall_until_it_has_been_up_for_a_minute() {
        let flapping = after(Condition::new(true), 0, &[false, false, false, true, true]);
        let at = Duration::from_secs;
        assert!(!flapping.is_flapping(at(5)));
        let down = after(flapping, 5, &[false; 3]);
        assert!(down.is_flapping(at(8)) && down.is_flapping(at(1000)));
        let up = after(down, 8, &[true; 4]);
        assert!(up.is_flapping(at(11 + 59)) && !up.is_flapping(at(11 + 60)));
    }

    #[test]
    fn a_quiet_minute_ends_the_damping() {
        let flapping = after(Condition::new(true), 0, &[false; 3]);
        let flapping = after(flapping, 3, &[true, true, false, false, false]);
        assert_eq!(flapping.needed(THRESHOLDS), 4);
        let up = after(flapping, 8, &[true; 4]);
        let down = after(up, 8 + 4 + 60, &[false; 3]);
        assert_eq!(down.needed(THRESHOLDS), 2);
    }

    fn thresholds() -> impl Strategy<Value = Thresholds> {
        let numbers = (1..6_u32, 1..6_u32, 0..50_u32);
        numbers.prop_map(|(rise, fall, most)| Thresholds { rise, fall, most })
    }

    proptest! {
        #[test]
        fn a_condition_changes_only_after_as_many_checks_in_a_row_as_it_needs(
            start: bool,
            thresholds in thresholds(),
            checks in proptest::collection::vec((any::<bool>(), 0..40_u64), 0..300),
        ) {
            let (mut condition, mut now, mut row) = (Condition::new(start), Duration::ZERO, 0);
            for (passed, pause) in checks {
                now += Duration::from_secs(pause);
                let before = condition;
                row = if passed == before.is_up() { 0 } else { row + 1 };
                condition = before.after(passed, now, thresholds);
                let needed = before.needed(thresholds);
                prop_assert_eq!(condition.is_up() != before.is_up(), row == needed);
                if row == needed {
                    row = 0;
                }
                let least = if before.is_up() { thresholds.fall } else { thresholds.rise };
                prop_assert!((least..=least.max(thresholds.most)).contains(&needed));
            }
        }

        #[test]
        fn enough_checks_of_one_kind_always_win(
            start: bool,
            thresholds in thresholds(),
            checks in proptest::collection::vec(any::<bool>(), 0..100),
            last: bool,
        ) {
            let most = thresholds.rise.max(thresholds.most).max(thresholds.fall) as usize;
            let end = std::iter::repeat_n(last, most);
            let mut condition = Condition::new(start);
            for (second, passed) in (0..).zip(checks.into_iter().chain(end)) {
                condition = condition.after(passed, Duration::from_secs(second), thresholds);
            }
            prop_assert_eq!(condition.is_up(), last);
        }
    }
}
