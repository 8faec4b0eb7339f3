//! A start: the state file says what was intended, the maps say what users get.

use std::collections::BTreeSet;

use lb_common::{maps::TABLES_PER_POOL, release::Record};

use crate::{
    dataplane::Image,
    release::engine::Run,
    state::{Kept, Pending, ServiceState, State},
};

/// Takes the kernel's word for where services are; what else the file intends is kept, and carried
/// out by the start.
pub fn adopt(saved: &mut State, image: &Image, tick: u32) {
    saved.protect = Kept::of(image);
    let left = left_of_together(saved, image);
    for (name, service) in &mut saved.services {
        match image.records.get(&service.id) {
            Some(_) if left.contains(name) => {
                tracing::warn!(
                    "service `{name}`: it was to move with others, which have; it follows"
                );
                service.adopt_sets(image);
                disarm(name, service);
            }
            Some(record) => follow(name, service, record, image, tick),
            None => begin_anew(service),
        }
    }
}

/// Services whose records are not stored of those that move all or none, where some are: a crash
/// came between. The file's word is taken for them, as half of such an order is no state to be in.
pub fn left_of_together(saved: &State, image: &Image) -> BTreeSet<String> {
    let at = |name: &String, intended: bool| {
        let service = saved.services.get(name)?;
        let record = image.records.get(&service.id)?;
        let position = Some(&service.position).filter(|_| intended);
        let position = position.or(service.before.as_ref().filter(|_| !intended))?;
        (position.epoch == record.epoch).then_some(())
    };
    let mut all = saved.together.iter();
    if !all.any(|name| at(name, true).is_some()) {
        return BTreeSet::new();
    }
    let left = saved
        .together
        .iter()
        .filter(|name| at(name, false).is_some());
    left.cloned().collect()
}

/// The maps are new: nothing is pinned or counted, and the mapping is all there is.
fn begin_anew(service: &mut ServiceState) {
    service.position = service
        .position
        .judged_by(0, 0)
        .settled()
        .swept()
        .disarmed();
    service.position.epoch = 0;
    service.position.went = None;
    service.position.run = service.position.run.as_ref().map(Run::rested);
    service.before = None;
    service.end_pending(Some("the host was started anew".to_owned()));
    service.last_change = None;
    service.baseline.clear();
    service.backends.retain(|_, backend| !backend.leaving);
    for backend in service.backends.values_mut() {
        // Ticks begin anew with the host, and caches were cold for all of them.
        backend.slow_start = None;
    }
    for pool in service.pools.values_mut() {
        pool.table = pool.table.settled().swept();
    }
}

fn follow(name: &str, service: &mut ServiceState, record: &Record, image: &Image, tick: u32) {
    for pool in service.pools.values_mut() {
        let tables = record.tables().into_iter();
        let mine = tables.filter(|&table| pool_of(table) == pool.id);
        let mut mine = mine.filter_map(|index| Some((index, image.tables.get(&index)?)));
        if let Some((index, table)) = mine.next() {
            pool.table.adopt(index, table.clone(), tick);
        }
    }
    if record.epoch != service.position.epoch {
        tracing::warn!(
            "service `{name}`: the state file says epoch {}, the kernel is at {}; \
             the kernel's word is taken",
            service.position.epoch,
            record.epoch
        );
        let before = service.before.take();
        if let Some(stored) = before.filter(|before| before.epoch == record.epoch) {
            service.position = stored;
            forget_ended(name, service, record.epoch);
        }
    }
    if knows(service, record) {
        let mut position = service.position.clone();
        position.take(record, tick);
        position.keep_pools(|pool| service.has_pool(pool));
        if position.heed() {
            tracing::warn!(
                "service `{name}`: the state file has the release elsewhere than the kernel; the \
                 kernel's word is taken"
            );
        }
        service.position = position;
        service.adopt_sets(image);
    }
    disarm(name, service);
}

/// An order that had waited, and whose record was not stored, was not carried out.
fn forget_ended(name: &str, service: &mut ServiceState, epoch: u64) {
    let ended = service.ended.as_mut();
    let Some(ended) = ended.filter(|ended| ended.failure.is_none() && ended.epoch > epoch) else {
        return;
    };
    tracing::warn!("service `{name}`: an order was not carried out; give it again");
    ended.failure = Some(DIED.to_owned());
}

/// What is said of an order that a crash has prevented.
const DIED: &str = "the daemon died before it was carried out; give the order again";

/// An order whose arming never reached the maps, or an arming that no order waits for, is dropped.
fn disarm(name: &str, service: &mut ServiceState) {
    if service.position.arming && service.pending.is_some() {
        return;
    }
    if let Some(Pending { order, .. }) = &service.pending {
        tracing::warn!("service `{name}`: `{order}` was not begun; give the order again");
    }
    service.end_pending(Some(DIED.to_owned()));
}

/// Whether the service has all pools that the record sends clients to; it has not if the file is
/// older than the maps.
fn knows(service: &ServiceState, record: &Record) -> bool {
    let candidates = [
        (record.share_ppm | record.audiences, record.candidate),
        (
            record.origin_share_ppm | record.origin_audiences,
            record.origin_candidate,
        ),
    ];
    let candidates = candidates.into_iter().filter(|&(sends, _)| sends > 0);
    let served = candidates.map(|(_, table)| table);
    served
        .chain([record.active, record.origin_active])
        .all(|table| service.has_pool(pool_of(table)))
}

const fn pool_of(table: u32) -> u32 {
    table / TABLES_PER_POOL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        release::Position,
        state::fixture::{Fixture, SHOP},
    };

    const GREEN: u32 = 1;

    fn salts(number: u64) -> u64 {
        number
    }

    /// A fixture that is at 5%, and its position before that.
    fn at_five_percent() -> (Fixture, Position) {
        let mut fixture = Fixture::new(SHOP);
        let shop = fixture.service_mut("shop");
        let before = Position {
            epoch: 1,
            ..shop.position.clone()
        };
        let shared = before.share(GREEN, 50_000, 3, &salts).expect("5%");
        shop.position = Position { epoch: 2, ..shared };
        shop.before = Some(before.clone());
        fixture.compose();
        (fixture, before)
    }

    #[test]
    fn a_state_that_the_maps_agree_with_is_taken_as_it_is() {
        let (fixture, _) = at_five_percent();
        let mut saved = fixture.state.clone();
        adopt(&mut saved, &fixture.image, 9);
        assert_eq!(saved, fixture.state);
    }

    #[test]
    fn an_intent_that_was_not_stored_is_forgotten_with_all_that_belongs_to_it() {
        let (mut fixture, before) = at_five_percent();
        let shop = fixture.service_mut("shop");
        let intent = Position {
            epoch: 3,
            ..shop.position.cutover(GREEN, 4).expect("cut over")
        };
        shop.before = Some(shop.position.clone());
        shop.position = intent;
        adopt(&mut fixture.state, &fixture.image, 9);
        let position = &fixture.service("shop").position;
        assert_eq!((position.epoch, position.now.share_ppm), (2, 50_000));
        assert_eq!(
            (position.previous, position.over, position.changed),
            (None, false, Some(3))
        );
        assert_eq!(position.origin, before.now);
    }

    #[test]
    fn an_older_file_follows_the_maps_and_settles_from_now_on() {
        let (mut fixture, before) = at_five_percent();
        let shop = fixture.service_mut("shop");
        shop.position = Position { epoch: 7, ..before };
        shop.before = None;
        adopt(&mut fixture.state, &fixture.image, 9);
        let position = &fixture.service("shop").position;
        assert_eq!(
            (position.epoch, position.now.share_ppm, position.changed),
            (2, 50_000, Some(9))
        );
    }

    #[test]
    fn a_record_of_pools_that_the_file_does_not_have_is_not_followed() {
        let (mut fixture, _) = at_five_percent();
        let record = fixture.image.records.values_mut().next().expect("a record");
        record.active = 400;
        record.epoch = 8;
        let before = fixture.service("shop").position.clone();
        adopt(&mut fixture.state, &fixture.image, 9);
        assert_eq!(fixture.service("shop").position, before);
    }

    #[test]
    fn new_maps_have_no_pins_no_counters_and_nobody_who_leaves() {
        let (mut fixture, _) = at_five_percent();
        let shop = fixture.service_mut("shop");
        shop.baseline.insert(1, 1000);
        shop.backends.get_mut(&2).expect("b2").leaving = true;
        adopt(&mut fixture.state, &Image::default(), 9);
        let shop = fixture.service("shop");
        let position = &shop.position;
        assert_eq!(
            (position.now.share_ppm, position.touched_ppm, position.epoch),
            (50_000, 0, 0)
        );
        assert!(!shop.is_moving() && shop.baseline.is_empty() && !shop.backends.contains_key(&2));
    }
}
