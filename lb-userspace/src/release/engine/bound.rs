//! Releases that are bound to one another until a time: none of them goes without the others.

use std::collections::BTreeSet;

use super::{Action, Refusal, Run, Stage, run::Cause};

impl Run {
    /// Whether it waits for others to go at the same moment.
    pub fn is_bound(&self) -> bool {
        !self.bound.is_empty()
    }

    /// Whether it still waits for these, itself among them.
    pub fn is_bound_to(&self, services: &BTreeSet<String>) -> bool {
        self.is_ahead() && self.bound == *services
    }

    pub(super) fn bind(
        &mut self,
        services: &BTreeSet<String>,
        begun: bool,
    ) -> Result<Vec<Action>, Refusal> {
        self.require_under_way()?;
        self.bound.clone_from(services);
        self.begun_bound = begun;
        Ok(Vec::new())
    }

    /// Stays where it is, paused: its hold may long be over, and nobody has said that it is to go alone.
    /// One that was begun for that alone is over.
    pub(super) fn let_go(&mut self, why: &str) -> Vec<Action> {
        if !self.is_bound() {
            return Vec::new();
        }
        if self.stage == Stage::Waiting && self.begun_bound {
            return self.withdraw(Cause::plain(why));
        }
        self.unbind();
        (self.straight, self.approved, self.paused) = (false, false, true);
        Vec::new()
    }

    pub(super) fn unbind(&mut self) {
        self.bound.clear();
        self.scheduled_ms = None;
    }
}
