use std::collections::BTreeSet;

use lb_common::{
    address::Address,
    backend::{Backend, NONE, index},
    listener::{Listener, Reply},
    pool::Slot,
    protocol::TCP,
    release::Record,
};
use proptest::prelude::*;

use super::*;
use crate::dataplane::{Dataplane as _, Table, memory::Memory};

/// Each has two pools.
const SERVICES: u32 = 3;
const BACKENDS: u16 = 12;
const PORTS: u32 = 3;
/// Tables repeat their first slots, so that looking at those is looking at all.
const PATTERN: usize = 4;

/// The slots that a table repeats.
type Pattern = [(u16, u16); PATTERN];

/// A service as it is before or after: tables of its two pools, numbers of its listeners.
#[derive(Clone, Debug)]
struct Service {
    pools: [Pattern; 2],
    share_ppm: u32,
    listeners: BTreeSet<u8>,
}

fn pattern() -> impl Strategy<Value = Pattern> {
    prop::array::uniform((0..=BACKENDS, 0..=BACKENDS))
}

fn service() -> impl Strategy<Value = Service> {
    let listeners = prop::collection::btree_set(0..6_u8, 0..3);
    let share = prop::sample::select(vec![0, 10_000, 1_000_000]);
    (prop::array::uniform(pattern()), share, listeners).prop_map(|(pools, share_ppm, listeners)| {
        Service {
            pools,
            share_ppm,
            listeners,
        }
    })
}

/// A service that does not exist is `None`; by which interface a backend is reached may differ.
#[derive(Clone, Debug)]
struct World {
    services: [Option<Service>; SERVICES as usize],
    ports: [u32; BACKENDS as usize],
}

fn world() -> impl Strategy<Value = World> {
    let services = prop::array::uniform(prop::option::weighted(0.8, service()));
    let ports = prop::array::uniform(0..=PORTS);
    (services, ports).prop_map(|(services, ports)| World { services, ports })
}

fn table(pattern: Pattern) -> Table {
    Table::new(|slot| {
        let (current, origin) = pattern[slot % PATTERN];
        Slot::new(current, origin)
    })
}

/// The image of a world that follows on another: a pool whose table differs takes its other place.
fn image(world: &World, before: &Image) -> Image {
    let mut image = Image::default();
    for (service, content) in (0..).zip(&world.services) {
        if let Some(content) = content {
            add_service(&mut image, before, service, content);
        }
    }
    let named: BTreeSet<u16> = image.tables.values().flat_map(backends).collect();
    for id in named {
        let port = world.ports[usize::from(id) - 1];
        let address = Address::v4([10, 0, 0, id.to_be_bytes()[1]]);
        let entry = Backend::new(address, 80, 1).via(port, [2; 6], [4; 6]);
        image.backends.insert(index(id, false), entry);
        let from = Endpoint::new(address, [0, 80], TCP);
        image
            .replies
            .insert(from, Reply::new(Address::v4([192, 0, 2, 1]), 80, id));
        image.ports.extend((port != 0).then_some(port));
    }
    image
}

fn add_service(image: &mut Image, before: &Image, service: u32, content: &Service) {
    let pools = [2 * service, 2 * service + 1];
    let [active, candidate] = [0, 1].map(|n| {
        let table = table(content.pools[n]);
        let first = pools[n] * TABLES_PER_POOL;
        let live = |index: &u32| before.tables.get(index).is_some_and(|live| *live != table);
        let index = if live(&first) { first + 1 } else { first };
        image.tables.insert(index, table);
        index
    });
    let record = Record {
        active,
        candidate,
        origin_active: active,
        origin_candidate: candidate,
        share_ppm: content.share_ppm,
        epoch: 1,
        ..Record::default()
    };
    image.records.insert(service, record);
    for &number in &content.listeners {
        let vip = Endpoint::new(Address::v4([192, 0, 2, number]), [0, 80], TCP);
        image
            .listeners
            .insert(vip, Listener::new(service, u16::from(number), 80));
    }
}

/// The backends that a table names.
fn backends(table: &Table) -> BTreeSet<u16> {
    let slots = (0..PATTERN).map(|slot| table.slot(slot));
    slots
        .flat_map(|slot| [slot.current(), slot.origin()])
        .filter(|&id| id != NONE)
        .collect()
}

/// Whatever a packet meets, it finds what it is sent to next.
fn assert_whole(image: &Image) -> Result<(), TestCaseError> {
    for listener in image.listeners.values() {
        prop_assert!(
            image.records.contains_key(&listener.service()),
            "{listener:?}"
        );
    }
    for table in image.records.values().flat_map(Record::tables) {
        let table = image.tables.get(&table);
        prop_assert!(table.is_some(), "a record names a table that is gone");
        for id in table.iter().flat_map(|table| backends(table)) {
            prop_assert!(
                image.backends.contains_key(&index(id, false)),
                "backend {id}"
            );
        }
    }
    for reply in image.replies.values() {
        prop_assert!(
            image.backends.contains_key(&index(reply.backend(), false)),
            "{reply:?}"
        );
    }
    for backend in image
        .backends
        .values()
        .filter(|backend| backend.ifindex() != 0)
    {
        prop_assert!(image.ports.contains(&backend.ifindex()), "{backend:?}");
    }
    Ok(())
}

/// Carries out writes one by one, and looks at what is there after each.
fn carry_out(from: &Image, writes: &[Write]) -> Result<Vec<Image>, TestCaseError> {
    let mut memory = Memory {
        image: from.clone(),
        ..Memory::default()
    };
    let mut states = vec![from.clone()];
    for write in writes {
        let live: BTreeSet<u32> = memory
            .image
            .records
            .values()
            .flat_map(Record::tables)
            .collect();
        if let Write::SetTable(index, _) = write {
            prop_assert!(!live.contains(index), "table {index} is live");
        }
        memory.write(write).expect("nothing was told to fail");
        assert_whole(&memory.image)?;
        states.push(memory.image.clone());
    }
    Ok(states)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn after_every_write_there_is_a_whole_state_and_the_last_is_the_wanted_one(
        (before, after) in (world(), world()),
    ) {
        let from = image(&before, &Image::default());
        let to = image(&after, &from);
        let states = carry_out(&from, &plan(&from, &to))?;
        prop_assert_eq!(states.last(), Some(&to));
        prop_assert_eq!(plan(&to, &to), []);
    }

    #[test]
    fn a_plan_that_was_cut_off_can_be_undone_and_completed_by_whole_states(
        (before, after, place) in (world(), world(), any::<prop::sample::Index>()),
    ) {
        let from = image(&before, &Image::default());
        let to = image(&after, &from);
        let states = carry_out(&from, &plan(&from, &to))?;
        let partial = place.get(&states);
        let undone = carry_out(partial, &plan(partial, &from))?;
        prop_assert_eq!(undone.last(), Some(&from));
        let completed = carry_out(partial, &plan(partial, &to))?;
        prop_assert_eq!(completed.last(), Some(&to));
    }
}
