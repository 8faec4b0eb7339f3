//! The image that is read back from the maps is the one that was written.

use std::thread;

use lb_common::{pool::Slot, release::Record};
use lb_userspace::dataplane::{Dataplane as _, Image, Table};

use crate::{
    lab::Lab,
    world::{NEW, NEW_TABLE, OLD, OLD_TABLE, SERVICE, at_rest, ramping, two_pools},
};

#[test]
fn every_image_is_read_back_as_it_was_written() {
    let mut changed = two_pools();
    let table = Table::new(|slot| match slot % 2 {
        0 => Slot::new(NEW, OLD).touch(),
        _ => Slot::settled(OLD),
    });
    changed.tables.remove(&OLD_TABLE);
    changed.tables.insert(OLD_TABLE + 1, table);
    let [active, origin_active] = [OLD_TABLE + 1; 2];
    let record = Record {
        active,
        origin_active,
        ..ramping(10_000)
    };
    changed.records.insert(SERVICE, record);
    let mut lab = Lab::new(&Image::default());
    for image in [at_rest(), ready(), changed, Image::default()] {
        lab.become_image(&image);
        lab.kernel().wait_for_packets().expect("the wait ends");
        assert!(read_back(&mut lab) == image);
    }
}

/// Reads on a stack that has no room for a table: a thread of the daemon may have little.
fn read_back(lab: &mut Lab) -> Image {
    const STACK: usize = 192 << 10;
    let kernel = lab.kernel();
    let image = thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(STACK);
        let reader = reader.spawn_scoped(scope, || kernel.image());
        reader.expect("a thread starts").join()
    });
    image
        .expect("the read ends")
        .expect("the maps are readable")
}

/// Both pools named by the record: the image holds no table that nobody names.
fn ready() -> Image {
    let mut image = two_pools();
    let candidate = NEW_TABLE;
    let record = Record {
        candidate,
        origin_candidate: candidate,
        ..ramping(0)
    };
    image.records.insert(SERVICE, record);
    image
}
