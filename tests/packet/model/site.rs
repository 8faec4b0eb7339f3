//! The configuration under test: services of three pools, each with a manner of its own, which the
//! case draws, and one of QUIC whose connection ids tell their server.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use lb_userspace::neighbour::{Hop, Reach, View};

use super::{audience::Audience, reference::Manner};
use crate::{
    random::Random,
    world::{Family, INGRESS},
};

/// Services, pools of each, and backends of each.
pub const SERVICES: usize = 4;
/// The service of QUIC.
pub const QUIC: usize = 3;
pub const POOLS: usize = 3;
pub const BACKENDS: usize = 6;
/// Audiences of a service.
pub const AUDIENCES: usize = NAMES.len();
const NAMES: [&str; 3] = ["a0", "a1", "a2"];
/// How long a change stands before it settles, and the same in ticks of 2^30 ns, with one for the first
/// that may have been over at once.
const DRAIN: &str = "100s";
pub const DRAIN_TICKS: u32 = 94 + 1;
/// How long a session may be silent, in the same way.
const IDLE: &str = "40s";
pub const IDLE_TICKS: u32 = 38 + 1;
/// How long connections may outlast a change.
const DEADLINE: &str = DRAIN;
const DEADLINE_TICKS: u32 = 94;
/// Pool of each backend.
const POOL_OF: [usize; BACKENDS] = [0, 0, 0, 1, 1, 2];
const PORT: u16 = 443;
/// Number of the connection ids' format.
pub const ROTATION: u8 = 1;
/// Octets of a server's id.
pub const ID_LENGTH: usize = 3;

/// How packets reach a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    Nat,
    L2,
    Ipip,
    Gue,
}

/// What the file says of a service.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a line of the file, and they are drawn by themselves"
)]
pub struct Service {
    pub forward: Forward,
    pub by_client: bool,
    pub cuts: bool,
    pub sessions: bool,
    pub deadline: bool,
    /// Users of a pool that is dead go to another.
    pub falls_back: bool,
    /// Which backends it has.
    pub there: [bool; BACKENDS],
    /// Of each audience, what it may be; and which of these it is.
    pub audiences: [[Audience; 2]; AUDIENCES],
    pub edited: [bool; AUDIENCES],
}

/// The file.
#[derive(Clone, Debug)]
pub struct Site {
    pub services: [Service; SERVICES],
}

impl Site {
    /// A site of services in manners drawn at random; each forward comes in every case.
    pub fn draw(random: &mut Random) -> Self {
        let first = random.below(4);
        let services = std::array::from_fn(|number| {
            let forwards = [Forward::Nat, Forward::L2, Forward::Ipip, Forward::Gue];
            Service::draw(random, forwards[(first + number) % forwards.len()], number)
        });
        Self { services }
    }

    /// A site of services in the usual manner, with audiences of nobody.
    pub fn plain() -> Self {
        Self {
            services: std::array::from_fn(|_| Service::plain()),
        }
    }

    /// The file's text.
    pub fn text(&self, directory: &Path, pins: &Path) -> String {
        let (at, pins) = (directory.display(), pins.display());
        let mut text = format!(
            "[node]\ninterfaces = [\"lo\"]\nhash_seed = \"sixteen-or-longer\"\n\
             connections = 65536\npins = \"{pins}\"\nstate = \"{at}/state.json\"\n\
             [api]\nsocket = \"{at}/serin.sock\"\n"
        );
        for number in 0..SERVICES {
            for audience in 0..AUDIENCES {
                let name = toggle(number, audience);
                let on = audience == 0;
                let written = write!(text, "[[toggle]]\nname = \"{name}\"\non = {on}\n");
                written.expect("a string takes everything");
            }
        }
        for (number, service) in self.services.iter().enumerate() {
            text.push_str(&service.text(number));
        }
        text
    }

    /// Next hops of all backends.
    pub fn view(&self) -> View {
        let all = (0..SERVICES).flat_map(|s| (0..BACKENDS).map(move |b| (s, b)));
        let reach = all.flat_map(|(service, backend)| {
            let (next_hop_mac, source_mac) = macs(service, backend);
            let hop = Hop {
                ifindex: INGRESS,
                source_mac,
                next_hop_mac,
                mtu: 1500,
            };
            let places = self.services[service].places(service, backend).into_iter();
            places.map(move |place| (place, Reach::Via(hop)))
        });
        View {
            reach: reach.collect(),
            ..View::default()
        }
    }
}

impl Service {
    fn draw(random: &mut Random, forward: Forward, number: usize) -> Self {
        let mut one_of = |count| random.below(count) == 0;
        let (by_client, cuts, falls_back) = (one_of(3), one_of(3), !one_of(3));
        let (sessions, deadline) = (number != QUIC && one_of(2), one_of(2));
        Self {
            forward,
            by_client,
            cuts,
            sessions,
            deadline,
            falls_back,
            there: [true; BACKENDS],
            audiences: NAMES.map(|name| [(); 2].map(|()| Audience::draw(random, name.to_owned()))),
            edited: [false; AUDIENCES],
        }
    }

    fn plain() -> Self {
        let nobody = |name: &str| Audience {
            name: name.to_owned(),
            ports: Some(1..=1),
            ..Audience::default()
        };
        Self {
            forward: Forward::Nat,
            by_client: false,
            cuts: false,
            sessions: false,
            deadline: false,
            falls_back: true,
            there: [true; BACKENDS],
            audiences: NAMES.map(|name| [(); 2].map(|()| nobody(name))),
            edited: [false; AUDIENCES],
        }
    }

    /// The audience of this number, as the file has it.
    pub fn audience(&self, number: usize) -> &Audience {
        &self.audiences[number][usize::from(self.edited[number])]
    }

    /// What the model has to know of it.
    pub fn manner(&self) -> Manner {
        Manner {
            by_client: self.by_client,
            cuts: self.cuts,
            sessions: self.sessions,
            drain: DRAIN_TICKS,
            idle: IDLE_TICKS,
            deadline: self.deadline.then_some(DEADLINE_TICKS),
        }
    }

    fn text(&self, number: usize) -> String {
        let quic = number == QUIC;
        let site = |family| vip(number, family);
        let [v4, v6] = [site(Family::V4), site(Family::V6)];
        let listeners = if quic {
            format!("\"udp://{v4}?quic\", \"udp://{v6}?quic\"")
        } else {
            format!("\"tcp://{v4}\", \"tcp://{v6}\", \"udp://{v4}\", \"udp://{v6}\"")
        };
        let forward = match self.forward {
            Forward::Nat => "nat",
            Forward::L2 => "l2",
            Forward::Ipip => "ipip",
            Forward::Gue => "gue",
        };
        let mut text = format!(
            "[[service]]\nname = \"{}\"\ndrain = \"{DRAIN}\"\nactive = \"p0\"\nlisten = [{listeners}]\n\
             forward = \"{forward}\"\n",
            name(number)
        );
        let format =
            format!("quic_lb = {{ rotation = {ROTATION}, server_id_length = {ID_LENGTH} }}\n");
        let deadline = format!("drain_deadline = \"{DEADLINE}\"\n");
        let sessions = format!("datagram = \"session\"\nidle = \"{IDLE}\"\n");
        let lines = [
            (self.by_client, "affinity = \"client\"\n"),
            (self.cuts, "connections = \"cut\"\n"),
            (!self.falls_back, "on_dead_pool = \"drop\"\n"),
            (self.sessions, &sessions),
            (self.deadline, &deadline),
            (quic, &format),
        ];
        let lines = lines.into_iter().filter(|(is_so, _)| *is_so);
        lines.for_each(|(_, line)| text.push_str(line));
        (0..POOLS).for_each(|pool| text.push_str(&self.pool(number, pool)));
        for audience in 0..AUDIENCES {
            let toggle = toggle(number, audience);
            text.push_str(&self.audience(audience).text(&toggle));
        }
        text
    }

    fn pool(&self, number: usize, pool: usize) -> String {
        let backends = (0..BACKENDS).filter(|&it| POOL_OF[it] == pool && self.there[it]);
        let backends = backends.map(|backend| {
            let places = self.places(number, backend).into_iter();
            let places: Vec<String> = places.map(|place| place.to_string()).collect();
            let id = server_id(backend).map(|octet| format!("{octet:02x}"));
            let id = match number {
                QUIC => format!(", server_id = \"{}\"", id.concat()),
                _ => String::new(),
            };
            format!(
                "{{ name = \"{}\", address = {places:?}{id} }}",
                server(backend)
            )
        });
        let backends: Vec<String> = backends.collect();
        format!(
            "[[service.pool]]\nname = \"p{pool}\"\nhealth = {{ tcp = true }}\nbackends = [{}]\n",
            backends.join(", ")
        )
    }

    /// The addresses of a backend. A tunnel takes packets of either family to an address of either.
    pub fn places(&self, number: usize, backend: usize) -> Vec<IpAddr> {
        let [service, id] = [number, backend].map(|n| u8::try_from(n).expect("few"));
        let v4 = IpAddr::from(Ipv4Addr::new(10, 0, service, id + 1));
        let v6 = [0xfd00, u16::from(service), 0, 0, 0, 0, 0, u16::from(id) + 1];
        let v6 = IpAddr::from(Ipv6Addr::from(v6));
        let tunnelled = matches!(self.forward, Forward::Ipip | Forward::Gue);
        match backend % 3 {
            0 if tunnelled => vec![v4],
            1 if tunnelled => vec![v6],
            _ => vec![v4, v6],
        }
    }

    /// The address that packets of a family go to.
    pub fn place(&self, number: usize, backend: usize, family: Family) -> IpAddr {
        let places = self.places(number, backend);
        let own = places
            .iter()
            .find(|place| place.is_ipv6() == (family == Family::V6));
        *own.unwrap_or(&places[0])
    }
}

/// A service's name.
pub fn name(service: usize) -> String {
    format!("s{service}")
}

/// A backend's name.
pub fn server(backend: usize) -> String {
    format!("b{backend}")
}

/// The number of the backend with this name.
pub fn numbered(name: &str) -> usize {
    let number = name.trim_start_matches('b').parse();
    number.expect("a backend's name")
}

/// The toggle of an audience.
pub fn toggle(service: usize, audience: usize) -> String {
    format!("t{service}{audience}")
}

/// What tells a backend in connection ids.
pub fn server_id(backend: usize) -> [u8; ID_LENGTH] {
    [0xc0, 0xff, u8::try_from(backend).expect("few")]
}

/// A service's VIP and port.
pub fn vip(service: usize, family: Family) -> SocketAddr {
    let last = u8::try_from(service).expect("few");
    match family {
        Family::V4 => SocketAddr::from(([192, 0, 2, last + 1], PORT)),
        Family::V6 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last) + 1], PORT)),
    }
}

/// The Ethernet addresses towards a backend: its own, and ours.
pub fn macs(service: usize, backend: usize) -> ([u8; 6], [u8; 6]) {
    let [service, backend] = [service, backend].map(|n| u8::try_from(n).expect("few"));
    (
        [2, 0, 0, 1, service, backend],
        [2, 0, 0, 2, service, backend],
    )
}
