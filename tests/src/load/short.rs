//! Paces the short connections: users take turns, and none has two at once.

use std::time::{Duration, Instant};

/// Whose turn it is, and how many turns are due.
#[derive(Debug)]
pub(super) struct Turns {
    per_s: u32,
    begun: Instant,
    given: u64,
    next: u32,
    busy: Vec<bool>,
}

/// The time between two looks at how many turns are due.
pub(super) const TICK: Duration = Duration::from_millis(2);

impl Turns {
    pub(super) fn new(users: u32, per_s: u32, now: Instant) -> Self {
        Self {
            per_s,
            begun: now,
            given: 0,
            next: 0,
            busy: vec![false; users as usize],
        }
    }

    /// The users whose turn has come. One who is still waiting for an answer loses the turn.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u32> {
        let elapsed = now.duration_since(self.begun);
        let due = elapsed.as_micros() * u128::from(self.per_s) / 1_000_000;
        let mut users = Vec::new();
        while u128::from(self.given) < due {
            self.given += 1;
            let user = self.next;
            self.next = (user + 1) % u32::try_from(self.busy.len()).expect("made from a u32");
            if !std::mem::replace(&mut self.busy[user as usize], true) {
                users.push(user);
            }
        }
        users
    }

    /// A user is free again.
    pub(super) fn done(&mut self, user: u32) {
        self.busy[user as usize] = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_at_the_asked_rate_and_pass_the_busy_by() {
        let begun = Instant::now();
        let mut turns = Turns::new(3, 1000, begun);

        let first = turns.due(begun + Duration::from_millis(2));
        turns.done(0);
        let second = turns.due(begun + Duration::from_millis(5));

        assert_eq!(first, [0, 1]);
        assert_eq!(second, [2, 0], "1 is still waiting");
    }
}
