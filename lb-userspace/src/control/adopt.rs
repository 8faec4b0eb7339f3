//! A start: the state file says what was intended, the maps say what users get.

use lb_common::{maps::TABLES_PER_POOL, release::Record};

use crate::{
    dataplane::Image,
    state::{ServiceState, State},
};

/// Takes the kernel's word for where services are; what else the file intends is kept, and carried
/// out by the start.
pub fn adopt(saved: &mut State, image: &Image, tick: u32) {
    for (name, service) in &mut saved.services {
        match image.records.get(&service.id) {
            Some(record) => follow(name, service, record, image, tick),
            None => begin_anew(service),
        }
    }
}

/// The maps are new: nothing is pinned or counted, and the mapping is all there is.
fn begin_anew(service: &mut ServiceState) {
    service.position = service.position.settled().swept();
    service.position.epoch = 0;
    service.before = None;
    service.baseline.clear();
    service.backends.retain(|_, backend| !backend.leaving);
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
        let stored = before.filter(|before| before.epoch == record.epoch);
        service.position = stored.unwrap_or_else(|| service.position.clone());
    }
    if knows(service, record) {
        let mut position = service.position.clone();
        position.take(record, tick);
        position.keep_pools(|pool| service.has_pool(pool));
        service.position = position;
    }
}

/// Whether the service has all pools that the record sends clients to; it has not if the file is
/// older than the maps.
fn knows(service: &ServiceState, record: &Record) -> bool {
    let candidates = [
        (record.share_ppm, record.candidate),
        (record.origin_share_ppm, record.origin_candidate),
    ];
    let candidates = candidates.into_iter().filter(|&(share, _)| share > 0);
    let served = candidates.map(|(_, table)| table);
    served
        .chain([record.active, record.origin_active])
        .all(|table| service.has_pool(pool_of(table)))
}

const fn pool_of(table: u32) -> u32 {
    table / TABLES_PER_POOL
}
