//! A ramp over 20 000 clients: nested, exact, and without moves inside a pool.

use std::collections::BTreeMap;

use lb_common::{pool::Slot, release::Record};
use lb_userspace::dataplane::{Image, Table};
use serin_tests::binomial;

use crate::{
    frame::Frame,
    lab::Lab,
    world::{
        FAMILIES, Family, NEW_TABLE, OLD_TABLE, SERVICE, add_backend, at_rest, bucket_of, chosen,
        client, ramping, resting, vip,
    },
};

const CLIENTS: u16 = 20_000;
/// Backends of the two pools, by their first id; four each.
const OLD_POOL: u16 = 10;
const NEW_POOL: u16 = 20;
const STEPS: [u32; 5] = [0, 10_000, 50_000, 250_000, 1_000_000];

/// The backend of each client's new connection.
type Choices = Vec<u16>;

#[test]
fn every_step_adds_clients_moves_none_back_and_keeps_each_on_its_backend() {
    for family in FAMILIES {
        let mut lab = Lab::new(&pools(resting()));
        let mut before = choices(&mut lab, family);
        for share in STEPS {
            lab.set_record(ramping(share));
            let now = choices(&mut lab, family);
            for (number, (&was, &is)) in before.iter().zip(&now).enumerate() {
                assert!(
                    is == was || (!is_new(was) && is_new(is)),
                    "client {number}: {was} to {is}"
                );
            }
            assert_share(&now, share);
            before = now;
        }
    }
}

#[test]
fn a_ramp_that_is_cut_back_and_goes_on_takes_the_same_clients() {
    for family in FAMILIES {
        let mut lab = Lab::new(&pools(ramping(50_000)));
        let first = choices(&mut lab, family);
        lab.set_record(Record {
            touched_ppm: 50_000,
            ..ramping(0)
        });
        assert!(
            choices(&mut lab, family)
                .iter()
                .all(|&backend| !is_new(backend))
        );
        lab.set_record(Record {
            touched_ppm: 50_000,
            ..ramping(10_000)
        });
        assert_share(&choices(&mut lab, family), 10_000);
        lab.set_record(ramping(50_000));
        assert_eq!(choices(&mut lab, family), first);
    }
}

#[test]
fn a_new_release_draws_other_clients() {
    for family in FAMILIES {
        let mut lab = Lab::new(&pools(ramping(50_000)));
        let first = choices(&mut lab, family);
        lab.set_record(Record {
            salt: 0xfe,
            origin_salt: 0xfe,
            ..ramping(50_000)
        });
        let second = choices(&mut lab, family);
        assert_share(&second, 50_000);
        let both = first
            .iter()
            .zip(&second)
            .filter(|(a, b)| is_new(**a) && is_new(**b));
        let both = u32::try_from(both.count()).expect("at most 20 000");
        assert!(
            binomial::allows(CLIENTS.into(), 0.0025, both),
            "{both} were drawn twice"
        );
    }
}

#[test]
fn the_share_is_the_bucket_to_the_last_part_in_a_million() {
    let mut lab = Lab::new(&pools(resting()));
    for family in FAMILIES {
        for number in 0..50 {
            let from = client(family, number);
            let bucket = bucket_of(from, resting().salt);
            for (share, expected) in [(bucket, false), (bucket + 1, true)] {
                lab.set_record(ramping(share));
                let (_, frame) = lab.pass_through(&Frame::syn(from, vip(family)).bytes());
                assert_eq!(
                    is_new(chosen(&frame)),
                    expected,
                    "client {number} share {share}"
                );
            }
        }
    }
}

#[test]
fn backends_of_a_pool_get_their_weights_of_random_connections() {
    for family in FAMILIES {
        let mut lab = Lab::new(&pools(resting()));
        let mut counts = BTreeMap::new();
        for backend in choices(&mut lab, family) {
            *counts.entry(backend).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 4);
        for (backend, count) in counts {
            assert!(
                binomial::allows(CLIENTS.into(), 0.25, count),
                "{backend}: {count}"
            );
        }
    }
}

#[test]
fn with_affinity_a_client_keeps_its_backend_over_all_its_ports() {
    let by_client = |record: Record| Record {
        flags: record.flags | Record::AFFINITY_CLIENT,
        ..record
    };
    let mut lab = Lab::new(&pools(by_client(ramping(250_000))));
    for family in FAMILIES {
        for number in 0..500 {
            let mut from = client(family, number);
            let backends: Vec<u16> = (1..=8)
                .map(|n| {
                    from.set_port(1000 * n);
                    let (_, tcp) = lab.pass_through(&Frame::syn(from, vip(family)).bytes());
                    let (_, udp) = lab.pass_through(&Frame::udp(from, vip(family)).bytes());
                    assert_eq!(chosen(&tcp), chosen(&udp));
                    chosen(&tcp)
                })
                .collect();
            assert!(
                backends.iter().all(|&backend| backend == backends[0]),
                "{backends:?}"
            );
        }
    }
    let spread: std::collections::BTreeSet<u16> =
        choices(&mut lab, Family::V4).into_iter().collect();
    assert_eq!(spread.len(), 8);
}

/// Two pools of four backends each, of equal weight.
fn pools(record: Record) -> Image {
    let mut image = at_rest();
    for id in (OLD_POOL..OLD_POOL + 4).chain(NEW_POOL..NEW_POOL + 4) {
        add_backend(&mut image, id);
    }
    for (table, first) in [(OLD_TABLE, OLD_POOL), (NEW_TABLE, NEW_POOL)] {
        let backend = |slot: usize| first + u16::try_from(slot % 4).expect("below 4");
        image
            .tables
            .insert(table, Table::new(|slot| Slot::settled(backend(slot))));
    }
    image.records.insert(SERVICE, record);
    image
}

/// Every client starts a connection.
fn choices(lab: &mut Lab, family: Family) -> Choices {
    (0..CLIENTS)
        .map(|number| {
            let syn = Frame::syn(client(family, number), vip(family)).bytes();
            chosen(&lab.pass_through(&syn).1)
        })
        .collect()
}

const fn is_new(backend: u16) -> bool {
    backend >= NEW_POOL
}

fn assert_share(choices: &[u16], share_ppm: u32) {
    let new = choices.iter().filter(|&&backend| is_new(backend)).count();
    let new = u32::try_from(new).expect("at most 20 000");
    let share = f64::from(share_ppm) / 1e6;
    assert!(
        binomial::allows(CLIENTS.into(), share, new),
        "{new} of {CLIENTS} at {share}"
    );
}
