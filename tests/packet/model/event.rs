//! What may happen, drawn at random.

use lb_userspace::state::Admin;

use super::{
    audience::Marks,
    site::{AUDIENCES, BACKENDS, DRAIN_TICKS, POOLS, QUIC, SERVICES},
};
use crate::{frame::flag, random::Random, world::Family};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Packet(Packet),
    Share {
        service: usize,
        pool: usize,
        ppm: u32,
    },
    Cutover {
        service: usize,
        pool: usize,
    },
    Rollback {
        service: usize,
    },
    Weight {
        service: usize,
        backend: usize,
        weight: u32,
    },
    Admin {
        service: usize,
        backend: usize,
        admin: Admin,
    },
    Health {
        service: usize,
        backend: usize,
        up: bool,
    },
    /// Backends come and go in the configuration.
    Apply {
        service: usize,
        backend: usize,
        there: bool,
    },
    /// An audience comes or goes.
    Toggle {
        service: usize,
        audience: usize,
        on: bool,
    },
    /// An audience becomes another in the configuration, or what it was.
    Edit {
        service: usize,
        audience: usize,
    },
    /// Time goes by, and what is due is done.
    Pass {
        ticks: u32,
    },
    /// The daemon ends, and another takes over the maps.
    Restart,
}

/// A packet of one of few flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub service: usize,
    pub family: Family,
    pub client: u16,
    pub port: u16,
    pub marks: Marks,
    pub kind: Kind,
}

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp(u8),
    Udp,
    Quic(Header, Id),
}

/// What a packet of QUIC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    Initial,
    Handshake,
    Short,
}

/// What the connection id of a packet of QUIC tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// The server that has given it, to whom it goes from whichever address.
    Server(usize),
    /// A server that nobody knows.
    Nobody,
    /// That it tells none: the client's own, and one of a server that has no format.
    Nothing,
}

/// Clients of each family, and ports of each client: few enough to come again.
const CLIENTS: usize = 256;
const CLIENT_PORTS: usize = 3;

/// How much time goes by: often as little as leaves a session known that an order waits for.
const PASSES: [u32; 9] = [
    1,
    20,
    20,
    20,
    30,
    60,
    DRAIN_TICKS / 2,
    DRAIN_TICKS + 1,
    2 * DRAIN_TICKS + 2,
];

impl Event {
    pub fn packet(random: &mut Random) -> Self {
        let service = random.below(SERVICES);
        let kind = match random.below(24) {
            _ if service == QUIC => Kind::quic(random),
            0..=5 => Kind::Tcp(flag::SYN),
            6..=12 => Kind::Tcp(flag::ACK),
            13 => Kind::Tcp(flag::ACK | flag::PSH),
            14..=15 => Kind::Tcp(flag::ACK | flag::FIN),
            16 => Kind::Tcp(flag::RST),
            17 => Kind::Tcp(flag::SYN | flag::ACK),
            _ => Kind::Udp,
        };
        Self::Packet(Packet {
            service,
            family: [Family::V4, Family::V6][random.below(2)],
            client: short(random.below(CLIENTS)),
            port: 1024 + short(random.below(CLIENT_PORTS)),
            marks: Marks::draw(random),
            kind,
        })
    }

    pub fn order(random: &mut Random) -> Self {
        let (service, pool) = (random.below(SERVICES), random.below(POOLS));
        let backend = random.below(BACKENDS);
        let audience = random.below(AUDIENCES);
        match random.below(32) {
            0..=6 => Self::Share {
                service,
                pool,
                ppm: share(random),
            },
            7..=8 => Self::Cutover { service, pool },
            9..=10 => Self::Rollback { service },
            11..=12 => Self::Weight {
                service,
                backend,
                weight: [0, 1, 50, 100, 300][random.below(5)],
            },
            13..=14 => Self::Admin {
                service,
                backend,
                admin: [Admin::Drain, Admin::Maint, Admin::Ready, Admin::Ready][random.below(4)],
            },
            15..=17 => Self::Health {
                service,
                backend,
                up: random.below(3) > 0,
            },
            18..=19 => Self::Apply {
                service,
                backend,
                there: random.below(2) > 0,
            },
            20 => Self::Restart,
            21..=23 => Self::Toggle {
                service,
                audience,
                on: random.below(2) > 0,
            },
            24 => Self::Edit { service, audience },
            _ => Self::Pass {
                ticks: PASSES[random.below(PASSES.len())],
            },
        }
    }

    /// Which service it is about.
    pub const fn service(&self) -> Option<usize> {
        match self {
            Self::Packet(Packet { service, .. })
            | Self::Share { service, .. }
            | Self::Cutover { service, .. }
            | Self::Rollback { service }
            | Self::Weight { service, .. }
            | Self::Admin { service, .. }
            | Self::Health { service, .. }
            | Self::Apply { service, .. }
            | Self::Toggle { service, .. }
            | Self::Edit { service, .. } => Some(*service),
            Self::Pass { .. } | Self::Restart => None,
        }
    }

    /// Whose packet it is.
    pub fn client(&self) -> Option<(Family, u16)> {
        let Self::Packet(packet) = self else {
            return None;
        };
        Some((packet.family, packet.client))
    }
}

impl Kind {
    fn quic(random: &mut Random) -> Self {
        let server = Id::Server(random.below(BACKENDS));
        match random.below(20) {
            0..=5 => Self::Quic(Header::Initial, Id::Nothing),
            6 => Self::Quic(Header::Initial, server),
            7 => Self::Quic(Header::Handshake, server),
            8 => Self::Quic(Header::Handshake, Id::Nobody),
            9..=13 => Self::Quic(Header::Short, server),
            14 => Self::Quic(Header::Short, Id::Nobody),
            _ => Self::Quic(Header::Short, Id::Nothing),
        }
    }
}

fn share(random: &mut Random) -> u32 {
    match random.below(6) {
        0 => 0,
        1 => 1_000_000,
        _ => u32::try_from(random.below(1_000_001)).expect("a million"),
    }
}

fn short(number: usize) -> u16 {
    u16::try_from(number).expect("small numbers")
}
