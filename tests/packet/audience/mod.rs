//! Audiences: who is in one, and what becomes of live connections when that changes.

mod conditions;
mod pinned;
mod prefixes;
mod transition;

use std::net::SocketAddr;

use ipnet::IpNet;
use lb_common::{
    audience::{AudienceSet, Rule},
    hash::BUCKETS,
    release::Record,
};
use lb_userspace::dataplane::{Image, prefixes::compile};

use crate::{
    frame::Frame,
    lab::Lab,
    world::{NEW, NEW_TABLE, OLD, SERVICE, chosen, resting, two_pools},
};

/// The set that the record names.
const SET: u32 = 1;
/// Where its prefixes are: not at the map's beginning.
const BASE: u32 = 1000;

/// Every client of the audience goes to the new pool.
fn staff(number: u32) -> Rule {
    Rule::new(number, BUCKETS)
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    let net = |text: &&str| text.parse().expect("a literal prefix");
    texts.iter().map(net).collect()
}

/// The record of a service with audiences, at rest.
fn with_audiences() -> Record {
    Record {
        candidate: NEW_TABLE,
        origin_candidate: NEW_TABLE,
        audiences: SET,
        origin_audiences: SET,
        flags: Record::AUDIENCES,
        ..resting()
    }
}

/// The service at rest, with these audiences: a rule, and its sources if it names any.
fn image(rules: &[(Rule, Vec<IpNet>)]) -> Image {
    let mut image = two_pools();
    let named = rules.iter().enumerate();
    let prefixes =
        named.flat_map(|(index, (_, nets))| nets.iter().map(move |&net| (net, 1 << index)));
    let (prefixes, block) = compile(prefixes);
    let rules: Vec<_> = rules
        .iter()
        .map(|(rule, nets)| (*rule, !nets.is_empty()))
        .collect();
    image.blocks.insert(BASE, block);
    image
        .audiences
        .insert(SET, AudienceSet::new(&rules, prefixes.moved(BASE)));
    image.records.insert(SERVICE, with_audiences());
    image
}

/// With half of all clients in an audience that gets the new pool, since ever or only now.
pub fn half(comes: bool) -> Image {
    let mut image = image(&[(staff(1), nets(&["10.77.0.0/17", "fd77:0:0:8000::/49"]))]);
    if comes {
        let record = Record {
            origin_audiences: 0,
            touched_ppm: BUCKETS,
            flags: Record::AUDIENCES | Record::MOVING,
            ..with_audiences()
        };
        image.records.insert(SERVICE, record);
    }
    image
}

/// Whether the packet goes to the new pool.
fn is_new(lab: &mut Lab, frame: &Frame) -> bool {
    is_new_bytes(lab, &frame.bytes())
}

fn is_new_bytes(lab: &mut Lab, frame: &[u8]) -> bool {
    match chosen(&lab.pass_through(frame).1) {
        NEW => true,
        OLD => false,
        other => panic!("{other} is in neither pool"),
    }
}

fn from(client: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(client.ip(), port)
}
