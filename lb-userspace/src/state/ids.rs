//! Numbers that stand for names in the maps.

use std::collections::BTreeSet;

use lb_common::maps::TABLES_PER_POOL;

use super::{State, StateError, space::Space};
use crate::dataplane::Image;

/// Numbers in use, by what they number.
pub struct Ids {
    pub services: BTreeSet<u32>,
    pub pools: BTreeSet<u32>,
    pub listeners: BTreeSet<u32>,
    pub backends: BTreeSet<u32>,
    pub audiences: BTreeSet<u32>,
    pub sets: BTreeSet<u32>,
    pub space: Space,
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
            audiences: services()
                .flat_map(|s| s.audiences.numbers.values().copied())
                .chain(image.audience_numbers())
                .collect(),
            sets: services()
                .flat_map(|s| {
                    s.audiences
                        .sets
                        .keys()
                        .copied()
                        .chain(s.position.audience_sets())
                })
                .chain(image.audiences.keys().copied())
                .collect(),
            space: Space::of(state, image),
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

#[cfg(test)]
mod tests {
    use lb_common::{address::Address, backend::Backend, listener::Listener, release::Record};

    use super::super::fixture::{Fixture, SHOP};
    use super::*;

    #[test]
    fn the_lowest_free_number_is_taken_once() {
        let mut used = [1, 2, 4].into();
        let mut next = || take(&mut used, 1, 6, "things");
        assert_eq!((next(), next()), (Ok(3), Ok(5)));
        let full = next().expect_err("none is left").to_string();
        assert_eq!(
            full,
            "more than 6 things on one host; split them over several"
        );
    }

    #[test]
    fn numbers_in_the_maps_are_in_use_whether_the_state_knows_them_or_not() {
        let fixture = Fixture::new(SHOP);
        let mut image = Image::default();
        let entry = Backend::new(Address::v4([10, 0, 0, 1]), 0, 1);
        image.backends.insert(9 << 1 | 1, entry);
        image.records.insert(7, Record::default());
        image.tables.insert(13, fixture.image.tables[&0].clone());
        let vip = fixture.image.listeners.keys().next().expect("a listener");
        image.listeners.insert(*vip, Listener::new(7, 5, 80));

        let ids = Ids::of(&fixture.state, &image);

        assert_eq!(ids.services, [0, 7].into());
        assert_eq!(ids.pools, [0, 1, 6].into());
        assert_eq!(ids.listeners, [0, 5].into());
        assert_eq!(ids.backends, [1, 2, 3, 9].into());
    }
}
