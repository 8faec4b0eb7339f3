//! Toggles: what they guard comes and goes, over crashes and restarts, and applications may ask.

mod audit;
mod crash;
mod edited;
mod interface;
mod ofrep;
mod orders;
mod sessions;
mod steps;

use crate::{
    site::{Door, Site},
    world::World,
};

/// An audience of some clients of both families, and the toggle that guards it.
const STAFF: &str = "[[service.audience]]\nname = \"staff\"\npool = \"candidate\"\ntoggle = \
                     \"preview\"\nsources = [\"198.51.100.0/29\", \"2001:db8:9::/61\"]\n";
const TOGGLES: &str = "[[toggle]]\nname = \"preview\"\n[[toggle]]\nname = \"door\"\n[[toggle]]\nname \
                       = \"idle\"\non = true\n";

/// Two services: `preview` guards an audience of both, `door` a listener of the first.
fn site() -> Site {
    let mut site = Site::new(&[&[2, 2], &[1, 1]]);
    STAFF.clone_into(&mut site.services[0].tables);
    site.services[1].tables = format!("{STAFF}{TOGGLES}");
    site.services[0].listeners.insert(Door::Guarded);
    site
}

/// Both services have a candidate that nobody gets yet.
fn world() -> World {
    let mut world = World::new(site());
    for service in ["s0", "s1"] {
        world.share(service, 0, None).expect("a candidate");
    }
    world.twin.edge().talk();
    world
}

/// How many audiences the live record of each service knows.
fn looked_at(world: &World) -> Vec<usize> {
    let image = world.image();
    let services = world.state().services.values();
    let records = services.map(|service| &image.records[&service.id]);
    let sets = records.map(|record| image.audiences.get(&record.audiences));
    sets.map(|set| set.map_or(0, |set| set.rules().count()))
        .collect()
}

fn assert_whole(world: &mut World) {
    assert_eq!(world.problems(), Vec::<String>::new());
}
