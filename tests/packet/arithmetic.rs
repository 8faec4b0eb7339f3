//! The kernel chooses by the arithmetic of `lb-common`, which the daemon and its tests use as well.

use std::net::SocketAddr;

use lb_common::{
    address::Address,
    hash,
    pool::{SLOTS, Slot},
    protocol::{TCP, UDP},
    release::Record,
};
use lb_userspace::dataplane::{Image, Table};

use crate::{
    frame::Frame,
    lab::{Lab, node},
    random::Random,
    world::{
        Family, NEW_TABLE, OLD_TABLE, SERVICE, add_backend, at_rest, chosen, client, ramping, vip,
    },
};

const FLOWS: u32 = 20_000;
/// Backends of the two pools, by their first id; 50 each.
const POOLS: [(u32, u16); 2] = [(OLD_TABLE, 100), (NEW_TABLE, 200)];

#[test]
fn the_kernel_chooses_what_the_daemon_computes() {
    for flags in [0, Record::AFFINITY_CLIENT] {
        let record = Record {
            flags: flags | Record::MOVING,
            ..ramping(300_000)
        };
        let image = world(record);
        let mut lab = Lab::new(&image);
        let mut random = Random::new(4);
        for number in 0..FLOWS {
            let family = if number % 2 == 0 {
                Family::V4
            } else {
                Family::V6
            };
            let from = anybody(family, &mut random);
            let to = vip(family);
            let (frame, protocol) = match number % 3 {
                0 => (Frame::udp(from, to), UDP),
                _ => (Frame::syn(from, to), TCP),
            };
            let (_, out) = lab.pass_through(&frame.bytes());
            assert_eq!(
                chosen(&out),
                computed(&image, from, to, protocol),
                "{frame:?}"
            );
        }
    }
}

/// The backend of a new connection.
fn computed(image: &Image, from: SocketAddr, to: SocketAddr, protocol: u8) -> u16 {
    let record = image.records[&SERVICE];
    let node = node();
    let (source, destination) = (Address::from(from.ip()), Address::from(to.ip()));
    let client = node.client_hash(&source, from.is_ipv6());
    let slot = if record.has(Record::AFFINITY_CLIENT) {
        hash::client_slot(client, SLOTS)
    } else {
        let ports = (from.port().to_be_bytes(), to.port().to_be_bytes());
        hash::slot(
            node.key().flow(&source, &destination, ports, protocol),
            SLOTS,
        )
    };
    let table = record.table(hash::bucket(client, record.salt), record.share_ppm);
    image.tables[&table].slot(slot as usize).current()
}

fn world(record: Record) -> Image {
    let mut image = at_rest();
    for (table, first) in POOLS {
        let backend = |slot: usize| first + u16::try_from(slot * 7 % 50).expect("below 50");
        image
            .tables
            .insert(table, Table::new(|slot| Slot::settled(backend(slot))));
        (first..first + 50).for_each(|id| add_backend(&mut image, id));
    }
    image.records.insert(SERVICE, record);
    image
}

/// A client from anywhere that a client may be.
fn anybody(family: Family, random: &mut Random) -> SocketAddr {
    let port = random.word();
    match client(family, 0) {
        SocketAddr::V4(_) => {
            let mut address: [u8; 4] = random.bytes(4).try_into().expect("four bytes");
            address[0] = 1 + address[0] % 126;
            SocketAddr::from((address, port))
        }
        SocketAddr::V6(_) => {
            let mut address: [u8; 16] = random.bytes(16).try_into().expect("sixteen bytes");
            address[0] = 0x20 | address[0] >> 4;
            SocketAddr::from((address, port))
        }
    }
}
