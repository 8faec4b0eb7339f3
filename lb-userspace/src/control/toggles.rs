//! Toggles: which there are, and what becomes of what they guard when one is turned.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{
    Control, ControlError,
    audit::Subject,
    nanoseconds,
    pending::{end_order, occupied},
    settle::TICK,
    since_epoch,
};
use crate::{
    api::toggles::{Guard, ToggleStatus, Toggled},
    config::{Guarded, Part},
    dataplane::Dataplane,
    journal::{self, Happened},
    state::{Order, Pending, State, StateError, ToggleState, Turned},
};

impl<D: Dataplane> Control<D> {
    /// All toggles, in the order of the file.
    pub fn toggles(&self) -> Vec<ToggleStatus> {
        let toggles = self.config.toggles.iter();
        let names = toggles.map(|toggle| toggle.name.as_str());
        names.filter_map(|name| self.toggle_status(name)).collect()
    }

    /// Those that guard something of a service, with that alone.
    pub(super) fn toggles_of(&self, service: &str) -> Vec<ToggleStatus> {
        let toggles = self.toggles().into_iter();
        let of_service = toggles.filter_map(|mut toggle| {
            toggle.guards.retain(|guard| guard.service == service);
            (!toggle.guards.is_empty()).then_some(toggle)
        });
        of_service.collect()
    }

    /// Turns a toggle, with all that it guards: for all of its services, or for none.
    pub fn turn(
        &mut self,
        name: &str,
        on: bool,
        reason: &str,
        tick: u32,
    ) -> Result<Toggled, ControlError> {
        let began = Instant::now();
        if self.toggle(name)?.on == on {
            self.call_turn_off(name, !on)?;
            return Ok(self.turned(name, on, began));
        }
        let order = Order::Toggle {
            toggle: name.to_owned(),
            on,
        };
        let turned = Some(Turned {
            time: journal::now(),
            by: self.actor.clone(),
            reason: reason.to_owned(),
        });
        let mut next = self.state.clone();
        let to = ToggleState { on, turned };
        next.turn(name, to, &self.config, &self.image, tick)?;
        if let Some(waits) = self.arm_turn(&order, &next, reason, tick)? {
            return Ok(Toggled {
                arming_s: Some(waits.left_s),
                orders: waits.orders,
                ..self.turned(name, !on, began)
            });
        }
        end_order(&mut next, &order, None);
        self.note_turn(name, on, reason, &order);
        let moved = self.moved(&next);
        let commit = if moved.len() > 1 {
            self.commit_together(next, moved)?
        } else {
            self.commit(next)?
        };
        let stored = commit.stored.map(|time| nanoseconds(since_epoch(time)));
        Ok(Toggled {
            changed: true,
            stored_at_ns: stored,
            ..self.turned(name, on, began)
        })
    }

    /// The services whose clients move from this state to another.
    fn moved(&self, next: &State) -> BTreeSet<String> {
        let services = next.services.iter();
        let moved = services.filter(|(name, after)| {
            let before = self.state.services.get(*name);
            before.is_some_and(|before| before.position.now != after.position.now)
        });
        moved.map(|(name, _)| name.clone()).collect()
    }

    /// Has the log told of a turn, of each service that it touches; of none by itself.
    fn note_turn(&mut self, name: &str, on: bool, reason: &str, order: &Order) {
        let cause = match reason {
            "" => format!("`{order}` by hand"),
            reason => reason.to_owned(),
        };
        let subject = || Subject {
            event: Happened::Toggled,
            cause: cause.clone(),
            object: Some(name.to_owned()),
            before: Some(word(!on).to_owned()),
            after: Some(word(on).to_owned()),
        };
        let services = self.touched_services(name);
        if services.is_empty() {
            self.will_note_of_host(subject());
        }
        for service in services {
            self.will_note_about(&service, subject());
        }
    }

    fn touched_services(&self, toggle: &str) -> Vec<String> {
        let guarded = self.config.guarded(toggle).into_iter();
        let services: BTreeSet<String> = guarded.map(|guarded| guarded.service).collect();
        services.into_iter().collect()
    }

    /// A toggle as it is, of which nothing had to be done.
    fn turned(&self, name: &str, on: bool, began: Instant) -> Toggled {
        Toggled {
            toggle: name.to_owned(),
            on,
            changed: false,
            services: self.touched_services(name),
            stored_at_ns: None,
            arming_s: None,
            orders: BTreeMap::new(),
            took_us: nanoseconds(began.elapsed()) / 1000,
        }
    }

    fn toggle(&self, name: &str) -> Result<&ToggleState, StateError> {
        let unknown = || StateError::NoToggle {
            toggle: name.to_owned(),
            known: match super::orders::list(self.state.toggles.keys()) {
                none if none.is_empty() => "no [[toggle]] is configured".to_owned(),
                known => format!("there are {known}"),
            },
        };
        self.state.toggles.get(name).ok_or_else(unknown)
    }

    fn toggle_status(&self, name: &str) -> Option<ToggleStatus> {
        let state = self.state.toggles.get(name)?;
        let turned = state.turned.as_ref();
        let guards = self.config.guarded(name).into_iter();
        Some(ToggleStatus {
            toggle: name.to_owned(),
            on: state.on,
            since: turned.map(|turned| turned.time.clone()),
            by: turned.map(|turned| turned.by.clone()),
            reason: turned.map(|turned| turned.reason.clone()),
            guards: guards.map(guard).collect(),
        })
    }
}

/// A turn that waits for sessions to be pinned.
struct Waits {
    left_s: u64,
    /// Number of the order in each service that has such sessions.
    orders: BTreeMap<String, u64>,
}

impl<D: Dataplane> Control<D> {
    /// Begins to pin the sessions that a turn would move; nothing if there are none, or if they have
    /// been pinned for it.
    fn arm_turn(
        &mut self,
        order: &Order,
        turned: &State,
        reason: &str,
        tick: u32,
    ) -> Result<Option<Waits>, ControlError> {
        let mut next = self.state.clone();
        let mut waiting = Vec::new();
        for (name, touched) in self.moved_sessions(turned) {
            let state = self.state.service(&name)?;
            let pending = match &state.pending {
                Some(pending) if pending.order == *order => pending.clone(),
                Some(pending) => return Err(occupied(&name, state, pending, tick)),
                None => self.pending(&name, (order.clone(), reason), tick),
            };
            waiting.push((name, touched, pending));
        }
        // All at once: the longest of them is waited for.
        let due = waiting.iter().map(|(_, _, pending)| pending.due).max();
        let Some(due) = due.filter(|&due| due > tick) else {
            return Ok(None);
        };
        let number = |(name, _, pending): &(String, u32, Pending)| (name.clone(), pending.number);
        let orders = waiting.iter().map(number).collect();
        for (name, touched, pending) in waiting {
            let pending = Pending { due, ..pending };
            next.service_mut(&name)?.wait_for(pending, touched);
        }
        if next != self.state {
            self.commit(next)?;
        }
        let left_s = (TICK * (due - tick)).as_secs();
        Ok(Some(Waits { left_s, orders }))
    }

    /// A turn that waits is not wanted any more.
    fn call_turn_off(&mut self, name: &str, on: bool) -> Result<(), ControlError> {
        let order = Order::Toggle {
            toggle: name.to_owned(),
            on,
        };
        let mut next = self.state.clone();
        let why = format!("`{order}` was called off by {}", self.actor.name);
        end_order(&mut next, &order, Some(&why));
        if next != self.state {
            self.commit(next)?;
        }
        Ok(())
    }
}

fn guard(guarded: Guarded) -> Guard {
    let (kind, name) = match guarded.part {
        Part::Audience(name) => ("audience", name),
        Part::Listener(listener) => ("listener", listener),
        Part::Step(number) => ("step", number.to_string()),
    };
    Guard {
        service: guarded.service,
        kind: kind.to_owned(),
        name,
    }
}

const fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
