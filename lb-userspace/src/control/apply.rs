//! Another configuration.

use std::collections::BTreeMap;

use lb_common::hash::BUCKETS;

use super::{
    Control, ControlError,
    backends::is_emptied,
    commit::is_in_force,
    pending::{end_apply, occupied},
    settle::TICK,
};
use crate::{
    config::{Config, Datagram},
    dataplane::Dataplane,
    neighbour::View,
    seed::Seed,
    state::{Order, Pending, ServiceState, State, reconcile},
};

impl<D: Dataplane> Control<D> {
    /// Takes another configuration and the next hops that it needs, all of it or nothing; tells
    /// the writes. `dry_run` only tells them.
    pub fn apply(
        &mut self,
        config: Config,
        view: View,
        dry_run: bool,
        tick: u32,
    ) -> Result<Vec<String>, ControlError> {
        self.check_fixed(&config)?;
        self.refuse_drift(&config)?;
        let seed = Seed::new(&config.node.hash_seed);
        let mut next = reconcile(&self.state, &self.image, &config, &seed, tick)?;
        refuse_emptied(&self.state, &next)?;
        end_apply(&mut next, None);
        let prepared = self.prepare(&config, &view, next);
        let writes = prepared.writes.iter().map(ToString::to_string).collect();
        if !dry_run {
            self.will_note_changes();
            let done = self.carry_out(prepared);
            if is_in_force(&done) {
                self.config = config;
                self.view = view;
            }
            done?;
        }
        Ok(writes)
    }

    /// Begins to pin the sessions that another configuration would move; tells the seconds until it
    /// may be applied, or nothing if it may be now.
    pub fn arm_for(&mut self, config: &Config, tick: u32) -> Result<Option<u64>, ControlError> {
        self.check_fixed(config)?;
        self.refuse_drift(config)?;
        let seed = Seed::new(&config.node.hash_seed);
        let applied = reconcile(&self.state, &self.image, config, &seed, tick)?;
        refuse_emptied(&self.state, &applied)?;
        let mut next = self.state.clone();
        for (name, touched) in self.moved_sessions(&applied) {
            let state = self.state.service(&name)?;
            match &state.pending {
                Some(pending) if pending.order == Order::Apply => {}
                Some(pending) => return Err(occupied(&name, state, pending, tick)),
                None => {
                    let pending = self.pending(&name, (Order::Apply, ""), tick);
                    next.service_mut(&name)?.wait_for(pending, touched);
                }
            }
        }
        if next != self.state {
            self.commit(next)?;
        }
        Ok(self.apply_due_s(tick).filter(|&left| left > 0))
    }

    /// Seconds until the configuration that waits for sessions is due; nothing if none waits.
    pub fn apply_due_s(&self, tick: u32) -> Option<u64> {
        let waiting = self.waiting_for_apply().map(|(_, pending)| pending.due);
        let left = waiting.max()?.saturating_sub(tick);
        Some((TICK * left).as_secs())
    }

    /// Number of the order in each service that waits for another configuration.
    pub fn apply_waits(&self) -> BTreeMap<String, u64> {
        let waiting = self.waiting_for_apply();
        waiting
            .map(|(name, pending)| (name.clone(), pending.number))
            .collect()
    }

    /// Another configuration that was waited for does not come.
    pub fn drop_apply(&mut self, why: &str) -> Result<(), ControlError> {
        let mut next = self.state.clone();
        end_apply(&mut next, Some(why));
        self.commit(next).map(drop)
    }

    fn waiting_for_apply(&self) -> impl Iterator<Item = (&String, &Pending)> {
        let services = self.state.services.iter();
        let waiting = services.filter_map(|(name, state)| Some((name, state.pending.as_ref()?)));
        waiting.filter(|(_, pending)| pending.order == Order::Apply)
    }

    /// Services whose sessions move from this state to another, and below which bucket.
    pub(super) fn moved_sessions(&self, next: &State) -> Vec<(String, u32)> {
        let services = self.state.services.iter();
        let moved = services.filter_map(|(name, before)| {
            let config = self.config.service(name)?;
            let after = next.services.get(name)?;
            let touched = before.moved_by(after)?;
            (config.datagram == Datagram::Session).then(|| (name.clone(), touched))
        });
        moved.collect()
    }

    /// Reads the daemon's own configuration file again, or another.
    pub fn read_config(&self, file: Option<&std::path::Path>) -> Result<Config, ControlError> {
        Ok(Config::load(file.unwrap_or(&self.source))?)
    }

    fn check_fixed(&self, config: &Config) -> Result<(), ControlError> {
        let (now, next) = (&self.config.node, &config.node);
        let fixed = [
            (now.hash_seed != next.hash_seed, "node.hash_seed"),
            (
                now.client_prefix != next.client_prefix,
                "node.client_prefix",
            ),
            (now.answer_echo != next.answer_echo, "node.answer_echo"),
            (now.encap != next.encap, "node.encap"),
            (
                now.too_big_per_second != next.too_big_per_second,
                "node.too_big_per_second",
            ),
            (now.connections != next.connections, "node.connections"),
            (now.pins != next.pins, "node.pins"),
            (now.state != next.state, "node.state"),
            (now.attach != next.attach, "node.attach"),
            (self.config.api.socket != config.api.socket, "api.socket"),
            (self.config.api.http != config.api.http, "api.http"),
        ];
        match fixed.iter().find(|(differs, _)| *differs) {
            Some((_, key)) => Err(ControlError::Fixed(key)),
            None => Ok(()),
        }
    }
}

impl ServiceState {
    /// The bucket below which clients move to this state after it; nothing if none does.
    fn moved_by(&self, after: &Self) -> Option<u32> {
        let mut pools = self.pools.iter();
        let dealt_anew = pools.any(|(name, pool)| {
            let after = after.pools.get(name);
            self.position.names(pool.id) && after.is_some_and(|after| after.table != pool.table)
        });
        if dealt_anew {
            return Some(BUCKETS);
        }
        (!self.position.covers(&after.position)).then_some(after.position.touched_ppm)
    }
}

/// A configuration may not take away the last backends that users are on.
fn refuse_emptied(before: &State, next: &State) -> Result<(), ControlError> {
    let kept = next.services.iter().filter_map(|(name, next)| {
        let before = before.services.get(name)?;
        Some((name, before, next))
    });
    for (service, before, next) in kept {
        let mut pools = next.pools.keys();
        if let Some(pool) = pools.find(|pool| is_emptied(before, next, pool)) {
            let why = format!(
                "pool `{pool}` would have no backend that takes connections, and users are on it; \
                 make one of those that stay ready, or give one a weight, with `serin ready` or \
                 `serin weight`"
            );
            return Err(ControlError::Unfit {
                service: service.clone(),
                why,
            });
        }
    }
    Ok(())
}
