//! What the benchmarked data plane holds: one service, two pools of a hundred backends.

use std::{
    iter,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result};
use bytemuck::Zeroable as _;
use etherparse::PacketBuilder;
use ipnet::IpNet;
use lb_common::{
    audience::{AudienceSet, Rule},
    backend::{Backend, index},
    bench::{BEFORE_WORDS, Plan, WORDS_V4, WORDS_V6},
    hash::mix,
    listener::{Endpoint, Listener, Reply},
    pool::Slot,
    protect::Protect,
    protocol::TCP,
    release::Record,
};
use lb_userspace::dataplane::{
    Image, Table,
    maglev::{self, Share},
    prefixes::compile,
};
use nix::net::if_::if_nametoindex;

use super::case::{Case, Family, First, Flows, Forward, State};
use crate::netns::Namespace;

/// Backends of a pool.
const BACKENDS: u16 = 100;
/// The first backend of each pool.
const FIRST: [u16; 2] = [1, 1 + BACKENDS];
/// The table of each pool.
const TABLES: [u32; 2] = [0, 2];
/// Frames of `BPF_PROG_TEST_RUN` come in by `lo`.
const INGRESS: u32 = 1;
const PORT: u16 = 80;
/// Number of the audience, and of the set that is it.
const AUDIENCE: u32 = 1;
/// Prefixes that it has.
const PREFIXES: u64 = 100_000;
/// SYNs that a source may send in a second.
const SYNS: u32 = 1_000_000;
const BACKEND_PORT: u16 = 8080;
/// The addresses in a frame before the wrapper writes the flow into them.
pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const NEXT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Clients are behind a gateway whose Ethernet address is known, for the replies.
const ROUTES: &str = "
    link add wan type veth peer name far
    link set wan up
    link set far up
    address add 203.0.113.1/24 dev wan
    address add fd00:113::1/64 dev wan nodad
    neigh add 203.0.113.9 lladdr 02:00:00:00:00:09 dev wan nud permanent
    neigh add fd00:113::9 lladdr 02:00:00:00:00:09 dev wan nud permanent
    route add 10.0.0.0/8 via 203.0.113.9
    route add fd10::/16 via fd00:113::9
";

/// Makes the namespace route as an edge host does; returns the interface towards the clients.
pub fn furnish(namespace: &Namespace) -> Result<u32> {
    for path in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        namespace.sysctl(path, "1")?;
    }
    namespace.ip(ROUTES)?;
    let _inside = namespace.enter()?;
    if_nametoindex("wan").context("finding the interface that was just made")
}

/// The maps' content for a case.
pub fn image(case: &Case, wan: u32) -> Image {
    let mut image = Image::default();
    image.ports.insert(wan);
    for family in [Family::V4, Family::V6] {
        let vip = endpoint(vip(family));
        let listener = Listener::new(0, family as u16, PORT);
        image.listeners.insert(vip, listener);
        for id in FIRST.into_iter().flat_map(|first| first..first + BACKENDS) {
            let at = server(family, id);
            let entry = Backend::new(at.ip().into(), at.port(), 1);
            let entry = entry.via(INGRESS, OUR_MAC, NEXT_MAC);
            image
                .backends
                .insert(index(id, family == Family::V6), entry);
            let reply = Reply::new(*vip.address(), PORT, id).of(&listener);
            image.replies.insert(endpoint(at), reply);
        }
    }
    for (table, first) in iter::zip(TABLES, FIRST) {
        image.tables.insert(table, pool_table(first));
    }
    image.records.insert(0, record(case));
    if case.state == State::Audience {
        let clients = match case.family {
            Family::V4 => [10, 0],
            Family::V6 => [0xfd, 0x10],
        };
        let prefixes = (0..PREFIXES).map(|number| (prefix(case.family, clients, number), 1));
        let (prefixes, block) = compile(prefixes);
        let set = AudienceSet::new(&[(Rule::new(AUDIENCE, 0), true)], prefixes);
        image.blocks.insert(prefixes.base(), block);
        image.audiences.insert(AUDIENCE, set);
    }
    if case.state == State::Guarded {
        // Even numbers alone: none where clients are.
        let strangers = (0..PREFIXES).map(|number| prefix(case.family, [0x20, 0x01], 2 * number));
        let (prefixes, block) = compile(strangers.map(|net| (net, 1)));
        image.blocks.insert(prefixes.base(), block);
        image.protect = Some(Protect::new(prefixes, SYNS, SYNS));
    }
    image
}

/// Networks of every size, of even numbers among the addresses that start so.
fn prefix(family: Family, among: [u8; 2], number: u64) -> IpNet {
    let drawn = mix(number);
    let length = u8::try_from(drawn >> 60).expect("four bits");
    let net = match family {
        Family::V4 => {
            let [a, b, c, d, ..] = drawn.to_be_bytes();
            let first = if number.is_multiple_of(2) {
                among[0]
            } else {
                a
            };
            IpNet::new(IpAddr::from([first, b & 7, c, d]), 32 - length)
        }
        Family::V6 => {
            let [first, rest @ ..] = drawn.to_be_bytes();
            let mut at = [0; 16];
            [at[0], at[1]] = if number.is_multiple_of(2) {
                among
            } else {
                [0xfd, first]
            };
            at[2..9].copy_from_slice(&rest);
            IpNet::new(IpAddr::from(at), 64 - length)
        }
    };
    net.expect("short enough").trunc()
}

/// What the wrapper program writes before each iteration.
pub fn plan(case: &Case, frame: &[u8]) -> Plan {
    let word = |at: usize| {
        let bytes = frame[at..].first_chunk().expect("a frame fills its words");
        u64::from_ne_bytes(*bytes)
    };
    let mut plan = Plan::zeroed();
    plan.first = word(0);
    let words = match case.family {
        Family::V4 => WORDS_V4,
        Family::V6 => WORDS_V6,
    };
    for (index, place) in plan.words[..words].iter_mut().enumerate() {
        *place = word(BEFORE_WORDS + index * size_of::<u64>());
    }
    plan.v6 = u32::from(case.family == Family::V6);
    plan.overhead = case.forward.overhead(case.family);
    plan.length = u32::try_from(frame.len()).expect("a small frame");
    plan.reply = u32::from(case.forward == Forward::NatReply);
    plan.flow_mask = match case.flows {
        Flows::Known(count) => count - 1,
        Flows::New => u32::MAX,
    };
    plan
}

/// A frame of the case: the smallest that Ethernet and the headers allow.
pub fn frame(case: &Case) -> Vec<u8> {
    frame_of(case, None)
}

/// The same, of a connection's beginning.
pub fn frame_of(case: &Case, first: Option<First>) -> Vec<u8> {
    let (client, vip) = (client(case.family), vip(case.family));
    let (from, to) = match case.forward {
        Forward::Nat | Forward::L2 | Forward::Ipip | Forward::Gue => (client, vip),
        Forward::NatReply => (server(case.family, FIRST[0]), client),
    };
    let link = PacketBuilder::ethernet2(NEXT_MAC, OUR_MAC);
    let network = match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), 64),
        _ => unreachable!("a case has one family"),
    };
    let sequence = u32::from(first.is_none());
    let segment = network.tcp(from.port(), to.port(), sequence, 65_535);
    let segment = match (first, case.flows) {
        (Some(First::Answer), _) => segment.syn().ack(1),
        (Some(First::Call), _) | (None, Flows::New) => segment.syn(),
        (None, Flows::Known(_)) => segment.ack(1),
    };
    let mut frame = Vec::new();
    segment
        .write(&mut frame, &[0; 6])
        .expect("a vector takes everything");
    frame
}

fn record(case: &Case) -> Record {
    let forward = match case.forward {
        Forward::L2 => Record::FORWARD_L2,
        Forward::Ipip => Record::FORWARD_IPIP,
        Forward::Gue => Record::FORWARD_GUE,
        Forward::Nat | Forward::NatReply => Record::FORWARD_NAT,
    };
    let [old, new] = TABLES;
    let rest = Record {
        active: old,
        candidate: old,
        origin_active: old,
        origin_candidate: old,
        flags: forward,
        salt: mix(1),
        origin_salt: mix(1),
        epoch: 1,
        ..Record::default()
    };
    match case.state {
        State::Rest | State::Guarded => rest,
        State::Audience => Record {
            candidate: new,
            origin_candidate: new,
            audiences: AUDIENCE,
            origin_audiences: AUDIENCE,
            flags: forward | Record::AUDIENCES,
            ..rest
        },
        State::Measured => Record {
            share_ppm: 1_000_000,
            origin_share_ppm: 1_000_000,
            ..rest
        }
        .measured(1),
        State::Change => Record {
            active: new,
            touched_ppm: 1_000_000,
            flags: forward | Record::MOVING,
            ..rest
        },
    }
}

fn pool_table(first: u16) -> Table {
    let owners = maglev::build(&shares(BACKENDS.into()), &[true; BACKENDS as usize]);
    Table::new(|slot| {
        let owner = owners[slot].expect("a pool with weights has no free slot");
        Slot::settled(first + u16::try_from(owner).expect("a pool is small"))
    })
}

/// Backends of weights that differ, as an operator's do.
pub fn shares(count: u64) -> Vec<Share> {
    (0..count)
        .map(|number| Share {
            hashes: (mix(2 * number), mix(2 * number + 1)),
            weight: 100 + u32::try_from(number % 7).expect("below 7"),
        })
        .collect()
}

/// Where the service listens.
pub fn vip(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from(([192, 0, 2, 80], PORT)),
        Family::V6 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80], PORT)),
    }
}

/// The wrapper writes the flow's number over the zeros.
fn client(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from(([10, 0, 0, 0], 0)),
        Family::V6 => SocketAddr::from(([0xfd10, 0, 0, 0, 0, 0, 0, 1], 0)),
    }
}

fn server(family: Family, id: u16) -> SocketAddr {
    let [high, low] = id.to_be_bytes();
    match family {
        Family::V4 => SocketAddr::from(([172, 16, high, low], BACKEND_PORT)),
        Family::V6 => SocketAddr::from(([0xfd88, 0, 0, 0, 0, 0, 0, id], BACKEND_PORT)),
    }
}

fn endpoint(at: SocketAddr) -> Endpoint {
    Endpoint::new(at.ip().into(), at.port().to_be_bytes(), TCP)
}
