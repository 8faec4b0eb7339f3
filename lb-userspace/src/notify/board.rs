//! How the targets are doing, for whoever asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::api::model::NotifyStatus;

/// By name.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, NotifyStatus>>>);

impl Board {
    /// All of it.
    pub fn read(&self) -> BTreeMap<String, NotifyStatus> {
        self.all().clone()
    }

    /// Changes what is said of one.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut NotifyStatus)) {
        change(self.all().entry(name.to_owned()).or_default());
    }

    /// Says nothing any more of any but these.
    pub(super) fn keep(&self, names: &[&str]) {
        self.all().retain(|name, _| names.contains(&&**name));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, NotifyStatus>> {
        // Counters are whole whenever the lock is free.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
