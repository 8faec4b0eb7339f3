//! What single features cost: packets of the product's own programs, which are given to one another by
//! tail calls. In `l2` a frame that has been sent on is as good as new, so that it needs no wrapper.

use std::{mem, net::SocketAddr};

use anyhow::Result;
use etherparse::PacketBuilder;
use lb_common::{
    listener::{Endpoint, Listener},
    maps::PROGRAM,
    protocol::UDP,
    quic_lb::{Formats, Server, ServerKey},
    reason::Reason,
    release::Record,
};
use lb_userspace::dataplane::Image;

use super::{
    case::{Case, Family, Flows, Forward, State},
    lab::Lab,
    measure::{Effort, runs},
    report, world,
};
use crate::netns::Namespace;

/// Where flags and offset are in a frame of IPv4.
const PIECE: usize = 20;
/// More pieces follow.
const MORE: u16 = 0x2000;
/// Bytes of a first piece, in units of 8: UDP's header and 32 more.
const UNITS: u16 = 5;
/// Format and octets of the server's id in a connection id.
const ROTATION: u32 = 2;
const SERVER: [u8; 4] = *b"b-01";

/// A packet, and what stands in the maps.
struct Feature {
    name: &'static str,
    /// What it is compared with.
    plain: &'static str,
    image: Image,
    /// Packets before it.
    before: Vec<Vec<u8>>,
    frame: Vec<u8>,
}

/// Measures all, and prints them.
pub fn measure(namespace: &Namespace, wan: u32, effort: Effort) -> Result<()> {
    report::features_heading();
    let mut plain = Vec::new();
    for feature in all(wan) {
        let mut lab = Lab::product(namespace, wan)?;
        lab.become_image(feature.image)?;
        for frame in &feature.before {
            lab.run(PROGRAM, frame, 1)?;
        }
        let runs = runs(&mut lab, PROGRAM, &feature.frame, effort)?;
        lab.check_exits(Reason::Transmitted, false)?;
        let compared = plain.iter().find(|(name, _)| *name == feature.plain);
        report::feature(feature.name, &runs, compared.map(|&(_, median)| median));
        plain.push((feature.name, runs.median()));
    }
    Ok(())
}

fn all(wan: u32) -> Vec<Feature> {
    const DATAGRAM: &str = "a datagram";
    const QUIC: &str = "a packet of QUIC";
    let rest = |flags| image(wan, State::Rest, flags, |listener| listener);
    let sessions = |state| image(wan, state, Record::SESSIONS, |listener| listener);
    let quic = |formats: Formats| {
        image(wan, State::Rest, 0, |listener| {
            listener.with(Listener::QUIC).routed(formats)
        })
    };
    let mut told = quic(Formats::NONE.with(ROTATION, 4));
    told.servers.insert(server(), Server::new(1, false));
    let datagram = datagram(&[7; 32]);
    let (first, later) = (piece(MORE), piece(UNITS));
    let feature = |name, plain, image, before: &[&Vec<u8>], frame: &Vec<u8>| Feature {
        name,
        plain,
        image,
        before: before.iter().map(|&frame| frame.clone()).collect(),
        frame: frame.clone(),
    };
    let short = self::datagram(&short());
    vec![
        feature(DATAGRAM, "", rest(0), &[], &datagram),
        feature(
            "one of a session, at rest",
            DATAGRAM,
            sessions(State::Rest),
            &[],
            &datagram,
        ),
        feature(
            "the same, pinned in a cutover",
            DATAGRAM,
            sessions(State::Change),
            &[&datagram, &datagram],
            &datagram,
        ),
        feature("a first piece", DATAGRAM, rest(0), &[], &first),
        feature("a later piece", DATAGRAM, rest(0), &[&first], &later),
        feature(QUIC, DATAGRAM, quic(Formats::NONE), &[], &short),
        feature("the same by its connection id", QUIC, told, &[], &short),
    ]
}

/// A service in `l2` that listens for datagrams.
fn image(wan: u32, state: State, flags: u32, listener: impl Fn(Listener) -> Listener) -> Image {
    let case = Case {
        forward: Forward::L2,
        family: Family::V4,
        flows: Flows::Known(1),
        state,
    };
    let mut image = world::image(&case, wan);
    for (vip, known) in mem::take(&mut image.listeners) {
        let port = u16::from_be_bytes(vip.port());
        let plain = Listener::new(known.service(), known.id(), port);
        let at = Endpoint::new(*vip.address(), vip.port(), UDP);
        image.listeners.insert(at, listener(plain));
        let portless = Endpoint::portless(*vip.address(), UDP);
        let service = Some(known.service());
        image
            .listeners
            .insert(portless, Listener::portless(service));
    }
    for record in image.records.values_mut() {
        record.flags |= flags;
    }
    image
}

/// A datagram of a client's to the service.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let from = SocketAddr::from(([10, 0, 0, 7], 40_000));
    let to = world::vip(Family::V4);
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else {
        unreachable!("both are of IPv4");
    };
    let datagram = PacketBuilder::ethernet2(world::NEXT_MAC, world::OUR_MAC)
        .ipv4(from.ip().octets(), to.ip().octets(), 64)
        .udp(from.port(), to.port());
    let mut frame = Vec::new();
    datagram
        .write(&mut frame, payload)
        .expect("a vector takes everything");
    frame
}

/// The same as a piece, by the header's word of flags and offset. Nobody looks at the header's sum.
fn piece(word: u16) -> Vec<u8> {
    let mut frame = datagram(&[7; 32]);
    frame[PIECE..PIECE + 2].copy_from_slice(&word.to_be_bytes());
    frame
}

/// QUIC's short header, with an id that tells its server.
fn short() -> Vec<u8> {
    let nonce = [0xd1; 4];
    let first = u8::try_from(ROTATION << 5).expect("three bits") | 8;
    [&[0x4a, first][..], &SERVER, &nonce, &[0x77; 20]].concat()
}

fn server() -> ServerKey {
    let mut octets = [0; 8];
    octets[..SERVER.len()].copy_from_slice(&SERVER);
    ServerKey::new(0, (ROTATION, 4), [u64::from_ne_bytes(octets), 0])
}
