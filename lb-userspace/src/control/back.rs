//! The way back: users first, the state file after.
//!
//! An order that takes a service's users back must not wait for a disk, nor fail for a full one. So
//! its record is stored before anything else, and what is not kept is tried again. A crash between
//! the two leaves a record that sends nobody to the candidate, and a state file that has the
//! release under way: the next start takes the kernel's word, and so ends the release.

use std::time::SystemTime;

use lb_common::release::Record;

use super::{
    Control, ControlError,
    commit::{Commit, Prepared},
};
use crate::{
    config::Datagram,
    dataplane::{Dataplane, Write},
    release::{Position, engine::Action},
    state::{FileError, State, compose},
};

/// Whether actions do nothing but take users back.
pub(super) const fn is_way_back(actions: &[Action]) -> bool {
    matches!(actions, [Action::Withdraw | Action::RollBack { .. }])
}

impl<D: Dataplane> Control<D> {
    /// Stores the record of a position that takes a service's users back; tells when. Nothing where
    /// the record needs more than is in the maps, or sessions have to be pinned before: then the
    /// commit that follows does it.
    pub(super) fn store_back(&mut self, service: &str, next: &Position) -> Option<SystemTime> {
        let (id, record) = self.record_back(service, next)?;
        let write = Write::SetRecord(id, record);
        let stored = self.dataplane.write(&write).ok()??;
        self.image.apply(&write);
        // The commit may write over what packets under way still go by.
        if let Err(error) = self.dataplane.wait_for_packets() {
            tracing::error!("service `{service}`: waiting for packets under way: {error}");
            self.unfinished = true;
        }
        Some(stored)
    }

    /// Carries out a state that takes users back, which `stored` says was begun; it counts although
    /// it can't be kept.
    pub(super) fn commit_back(
        &mut self,
        next: State,
        stored: Option<SystemTime>,
    ) -> Result<Commit, ControlError> {
        let prepared = self.prepare(&self.config, &self.view, next);
        let commit = self.carry_out_unkept(prepared, stored.is_some())?;
        Ok(Commit {
            first_stored: stored.or(commit.first_stored),
            stored: stored.or(commit.stored),
        })
    }

    /// Carries out a state that no full disk may keep from the maps, as where backends have died.
    pub(super) fn commit_unkept(&mut self, next: State) -> Result<Commit, ControlError> {
        let prepared = self.prepare(&self.config, &self.view, next);
        self.carry_out_unkept(prepared, false)
    }

    /// The same of a state that is ready; `in_force` where a record of it is stored already.
    pub(super) fn carry_out_unkept(
        &mut self,
        prepared: Prepared,
        in_force: bool,
    ) -> Result<Commit, ControlError> {
        let (mut next, writes) = prepared.into_parts();
        self.pack(&mut next);
        if next != self.state
            && let Err(error) = self.keep(&next)
        {
            self.owe(&error);
        }
        self.carry_on(next, &writes, in_force)
    }

    /// Saves a state.
    pub(super) fn keep(&mut self, next: &State) -> Result<(), FileError> {
        self.file.save(next)?;
        self.owed = None;
        Ok(())
    }

    /// Saves the state in force, if the file lacks something of it.
    pub(super) fn keep_owed(&mut self) {
        if self.owed.is_some() {
            self.keep_present();
        }
    }

    /// Saves the state in force.
    pub(super) fn keep_present(&mut self) {
        match self.file.save(&self.state) {
            Ok(()) => self.owed = None,
            Err(error) => self.owe(&error),
        }
    }

    /// Remembers that the state is not kept.
    pub(super) fn owe(&mut self, error: &FileError) {
        let error = error.to_string();
        if self.owed.as_ref() != Some(&error) {
            tracing::error!(
                "what is in force is not kept, which is tried again every second: {error}"
            );
        }
        self.owed = Some(error);
    }

    /// What whoever gives an order is to be told of the state that is not kept.
    pub(super) fn note_owed(&self) -> Option<String> {
        let error = self.owed.as_ref()?;
        Some(format!(
            "in force, but not kept, which is tried again every second: {error}; a daemon that \
             starts before goes by where the kernel has the users"
        ))
    }

    /// The record of a position that differs from the live one, if everything that it names is in
    /// the maps.
    fn record_back(&self, service: &str, next: &Position) -> Option<(u32, Record)> {
        let state = self.state.services.get(service)?;
        let config = self.config.service(service)?;
        let pinned = config.datagram != Datagram::Session || state.position.covers(next);
        let live = self.image.records.get(&state.id)?;
        let epoch = live.epoch;
        let record = Record {
            epoch,
            ..compose::record(config, state, next).dealt_after(live)
        };
        let there = record
            .tables()
            .iter()
            .all(|index| live.tables().contains(index));
        let judged = record.audience_sets();
        let judged = judged.iter().all(|set| live.audience_sets().contains(set));
        let changes = record != *live;
        let epoch = epoch + 1;
        (pinned && there && judged && changes && !self.unfinished)
            .then_some((state.id, Record { epoch, ..record }))
    }
}
