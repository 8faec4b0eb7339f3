//! Numbers that stand for names in the maps.

use std::collections::BTreeSet;

use lb_common::maps::TABLES_PER_POOL;

use super::{State, StateError};
use crate::dataplane::Image;

/// Numbers in use, by what they number.
pub struct Ids {
    pub services: BTreeSet<u32>,
    pub pools: BTreeSet<u32>,
    pub listeners: BTreeSet<u32>,
    pub backends: BTreeSet<u32>,
}

impl Ids {
    /// Numbers of what is there: those are not given out again by the same change.
    pub fn of(state: &State, image: &Image) -> Self {
        let services = || state.services.values();
        let pools = services().flat_map(|s| s.pools.values().map(|pool| pool.id));
        let backends = services().flat_map(|s| s.backends.keys().map(|&id| u32::from(id)));
        let listeners = &state.listener_numbers() | &state.retired;
        let listeners = listeners.into_iter().map(u32::from);
        let in_maps = image.listeners.values().map(|l| u32::from(l.id()));
        Self {
            services: services()
                .map(|s| s.id)
                .chain(image.records.keys().copied())
                .collect(),
            pools: pools
                .chain(image.tables.keys().map(|index| index / TABLES_PER_POOL))
                .collect(),
            listeners: listeners.chain(in_maps).collect(),
            backends: backends
                .chain(image.backends.keys().map(|index| index >> 1))
                .collect(),
        }
    }
}

/// The lowest free number from `first` on.
pub fn take(
    used: &mut BTreeSet<u32>,
    first: u32,
    limit: u32,
    what: &'static str,
) -> Result<u32, StateError> {
    let free = (first..limit).find(|id| !used.contains(id));
    let id = free.ok_or(StateError::Full { what, limit })?;
    used.insert(id);
    Ok(id)
}

/// [`take`] for numbers that the maps hold in 16 bits.
pub fn take_short(
    used: &mut BTreeSet<u32>,
    first: u32,
    limit: u32,
    what: &'static str,
) -> Result<u16, StateError> {
    let id = take(used, first, limit, what)?;
    u16::try_from(id).map_err(|_| StateError::Full { what, limit })
}
