//! From a state to the maps: all of it, or nothing.

use std::{collections::BTreeSet, net::IpAddr, time::SystemTime};

use lb_common::release::Record;

use super::{Control, ControlError};
use crate::{
    config::Config,
    dataplane::{Dataplane, Image, Write, plan::plan},
    neighbour::View,
    state::{ServiceState, State, compose},
};

/// What a commit did.
#[derive(Default)]
pub struct Commit {
    /// When the first record was stored, if one was.
    pub first_stored: Option<SystemTime>,
    /// When the last record was stored, if one was.
    pub stored: Option<SystemTime>,
}

/// Whether what was carried out counts from now on.
pub const fn is_in_force(done: &Result<Commit, ControlError>) -> bool {
    matches!(done, Ok(_) | Err(ControlError::Unfinished(_)))
}

/// A state that is ready to be carried out.
pub struct Prepared {
    next: State,
    /// What it takes, in order.
    pub writes: Vec<Write>,
}

impl Prepared {
    /// The state, and what it takes.
    pub fn into_parts(self) -> (State, Vec<Write>) {
        (self.next, self.writes)
    }
}

impl<D: Dataplane> Control<D> {
    /// Takes new next hops and interfaces into the maps.
    pub fn follow(&mut self, view: View) -> Result<(), ControlError> {
        let view = self.complete(view);
        let prepared = self.prepare(&self.config, &view, self.state.clone());
        let done = self.carry_out(prepared);
        if is_in_force(&done) {
            self.view = view;
        }
        done.map(drop)
    }

    /// A view that was drawn before the last `apply` does not know that one's addresses: of those,
    /// what `apply` saw stands.
    fn complete(&self, mut view: View) -> View {
        let missing = |address: &IpAddr| !view.reach.contains_key(address);
        let targets = compose::targets(&self.state).into_iter().filter(missing);
        let known: Vec<_> = targets
            .filter_map(|address| Some((address, self.view.reach.get(&address)?.clone())))
            .collect();
        view.reach.extend(known);
        view
    }

    /// Carries a state out under the configuration and the next hops in force.
    pub(super) fn commit(&mut self, next: State) -> Result<Commit, ControlError> {
        let prepared = self.prepare(&self.config, &self.view, next);
        self.carry_out(prepared)
    }

    /// The same for services that move all or none, whatever comes between their stores.
    pub(super) fn commit_together(
        &mut self,
        next: State,
        services: BTreeSet<String>,
    ) -> Result<Commit, ControlError> {
        let prepared = self.prepare_together(next, services);
        self.carry_out(prepared)
    }

    /// Works out what it takes to carry out a state for services that move all or none.
    pub(super) fn prepare_together(&self, next: State, services: BTreeSet<String>) -> Prepared {
        let mut prepared = self.prepare(&self.config, &self.view, next);
        prepared.next.together = services;
        prepared
    }

    /// Works out what a state takes; changes nothing.
    pub(super) fn prepare(&self, config: &Config, view: &View, mut next: State) -> Prepared {
        if !self.unfinished {
            next.together.clear();
        }
        rest_tables(&mut next);
        date_changes(&mut next);
        next.services
            .values_mut()
            .for_each(ServiceState::keep_named_sets);
        place_tables(&self.image, &mut next);
        let mut image = compose::compose(config, &next, view);
        self.number_records(&mut next, &mut image);
        let writes = plan(&self.image, &image);
        Prepared { next, writes }
    }

    /// A record that differs from the live one is the service's next.
    fn number_records(&self, next: &mut State, image: &mut Image) {
        for (name, service) in &mut next.services {
            let Some(record) = image.records.get_mut(&service.id) else {
                continue;
            };
            let live = self.image.records.get(&service.id);
            if let Some(live) = live {
                *record = record.dealt_after(live);
                if record.draw() != live.draw() {
                    // What was said of clients that were dealt out otherwise says nothing of these.
                    service.position.forget_opinion();
                }
            }
            // A take-over goes on counting where the maps before it were.
            let epoch = live.map_or(service.position.epoch, |live| live.epoch);
            let same = live.is_some_and(|live| Record { epoch, ..*record } == *live);
            record.epoch = if same { epoch } else { epoch + 1 };
            service.position.epoch = record.epoch;
            let old = self.state.services.get(name).map(|old| &old.position);
            let dealt = old.is_some_and(|old| old.now.deals_like(&service.position.now));
            if live.is_none() || !dealt {
                service.position.dealt = Some(record.epoch);
            }
            let ended_before = self.state.services.get(name).map(|old| &old.ended);
            if let Some(ended) = &mut service.ended
                && ended_before.is_none_or(|before| before.as_ref() != Some(&*ended))
            {
                ended.epoch = record.epoch;
            }
            if let Some(old) = old.filter(|old| old.epoch != record.epoch) {
                service.before = Some(old.clone());
            }
        }
    }

    /// The state file first, so that a crash leaves the intent; then the maps.
    ///
    /// Until the first record of a running service is stored, a fault is undone and nothing has
    /// changed. From then on connections are made by the new state, which to undo would break:
    /// what is left is tried again until it succeeds.
    pub(super) fn carry_out(&mut self, prepared: Prepared) -> Result<Commit, ControlError> {
        let Prepared { mut next, writes } = prepared;
        self.pack(&mut next);
        if next != self.state {
            self.keep(&next).map_err(ControlError::Unkept)?;
        }
        self.carry_on(next, &writes, false)
    }

    /// The maps, once the state is kept; `in_force` where a record of it is stored already.
    pub(super) fn carry_on(
        &mut self,
        next: State,
        writes: &[Write],
        in_force: bool,
    ) -> Result<Commit, ControlError> {
        let before = self.image.clone();
        match self.write_on(writes) {
            Ok(commit) => {
                self.state = next;
                self.unfinished = false;
                self.post();
                Ok(commit)
            }
            Err(error) if in_force || self.has_stored(&before) => {
                self.state = next;
                self.unfinished = true;
                self.post();
                Err(ControlError::Unfinished(Box::new(error)))
            }
            Err(error) => {
                self.undo(&before);
                Err(error)
            }
        }
    }

    fn write_on(&mut self, writes: &[Write]) -> Result<Commit, ControlError> {
        if self.unfinished {
            // Packets may still go by what was there before the last change.
            self.dataplane.wait_for_packets()?;
        }
        self.write(writes)
    }

    fn write(&mut self, writes: &[Write]) -> Result<Commit, ControlError> {
        let mut commit = Commit::default();
        self.dataplane.prepare(writes)?;
        for write in writes {
            let stored = self.dataplane.write(write)?;
            commit.first_stored = commit.first_stored.or(stored);
            commit.stored = stored.or(commit.stored);
            self.image.apply(write);
        }
        if !writes.is_empty() {
            self.dataplane.wait_for_packets()?;
        }
        Ok(commit)
    }

    /// Whether a service that was running has another record now.
    fn has_stored(&self, before: &Image) -> bool {
        let mut records = before.records.iter();
        records.any(|(service, record)| self.image.records.get(service) != Some(record))
    }

    /// Goes back to where the maps were; what can't be undone is said, and tried by the next order.
    fn undo(&mut self, before: &Image) {
        if let Err(error) = self.write(&plan(&self.image, before)) {
            tracing::error!("undoing a change that failed half-way: {error}");
            self.unfinished = true;
        }
        self.keep_present();
    }
}

/// Nobody goes by the table of a pool that the position does not name, so it has nothing to settle.
fn rest_tables(next: &mut State) {
    for service in next.services.values_mut() {
        let position = &service.position;
        for pool in service.pools.values_mut() {
            let table = &pool.table;
            if !position.names(pool.id) && (table.is_moving() || table.is_touched()) {
                pool.table = table.settled().swept();
            }
        }
    }
}

/// Keeps in mind when the last change was, as long as connections of before it may be pinned. Each
/// gives them all its own time.
fn date_changes(next: &mut State) {
    for service in next.services.values_mut() {
        service.position.overdue &= !service.is_moving();
        if service.is_touched() || service.is_moving() {
            let tables = service.pools.values().map(|pool| pool.table.changed);
            let position = [service.position.changed, service.position.went];
            let changed = tables.chain(position).max().flatten();
            service.last_change = service.last_change.max(changed);
        } else {
            (service.last_change, service.position.went) = (None, None);
        }
    }
}

/// Gives every table that has changed the place that is not live.
fn place_tables(image: &Image, next: &mut State) {
    for service in next.services.values_mut() {
        let record = image.records.get(&service.id);
        let live = |index: u32| {
            let named = record.is_some_and(|record| record.tables().contains(&index));
            image.tables.get(&index).filter(|_| named)
        };
        for pool in service.pools.values_mut() {
            pool.table = pool.table.clone().placed(pool.id, live);
        }
    }
}
