//! The configuration under test: a service in `nat` and one in `l2`, with affinity by client and
//! without, each of three pools.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use lb_userspace::neighbour::{Hop, Reach, View};

use super::reference::Audience;
use crate::world::{Family, INGRESS};

/// Services, pools of each, and backends of each.
pub const SERVICES: usize = 2;
pub const POOLS: usize = 3;
pub const BACKENDS: usize = 6;
/// How long a change stands before it settles.
const DRAIN: &str = "100s";
/// The same in ticks of 2^30 ns, and one for the first that may have been over at once.
pub const DRAIN_TICKS: u32 = 94 + 1;
/// Pool of each backend.
const POOL_OF: [usize; BACKENDS] = [0, 0, 0, 1, 1, 2];
const PORT: u16 = 443;

/// Which backends the file has, of each service, and which of the sets of audiences.
#[derive(Clone, Debug)]
pub struct Site {
    pub there: [[bool; BACKENDS]; SERVICES],
    pub audiences: [usize; SERVICES],
}

/// Sets of audiences.
pub const AUDIENCES: usize = 4;
/// Prefixes that hold some of the clients, of both families, some within others.
const NARROW: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(10, 77, 0, 0)), 25),
    (IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0)), 57),
];
const WIDE: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(10, 77, 0, 0)), 24),
    (IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0)), 56),
];

/// The audiences of a set.
pub fn audiences(set: usize) -> Vec<Audience> {
    let audience = |sources, ports, share_ppm| Audience {
        sources,
        ports,
        share_ppm,
    };
    match set {
        0 => vec![],
        1 => vec![audience(&NARROW, &[], 1_000_000)],
        2 => vec![
            audience(&NARROW, &[], 0),
            audience(&WIDE, &[1025], 1_000_000),
            audience(&[], &[1026], 500_000),
        ],
        _ => vec![audience(&WIDE, &[], 300_000), audience(&NARROW, &[], 0)],
    }
}

impl Site {
    pub const fn new() -> Self {
        Self {
            there: [[true; BACKENDS]; SERVICES],
            audiences: [0; SERVICES],
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
        for service in 0..SERVICES {
            self.write(&mut text, service);
        }
        text
    }

    fn write(&self, text: &mut String, service: usize) {
        let lines = [
            "",
            "forward = \"l2\"\naffinity = \"client\"\non_dead_pool = \"drop\"\n",
        ][service];
        let [v4, v6] = [Family::V4, Family::V6].map(|family| vip(service, family));
        let written = write!(
            text,
            "[[service]]\nname = \"{}\"\ndrain = \"{DRAIN}\"\nactive = \"p0\"\n{lines}listen = \
             [\"tcp://{v4}\", \"tcp://{v6}\", \"udp://{v4}\", \"udp://{v6}\"]\n",
            name(service)
        );
        written.expect("a string takes everything");
        for pool in 0..POOLS {
            let backends = (0..BACKENDS)
                .filter(|&backend| POOL_OF[backend] == pool && self.there[service][backend]);
            let backends: Vec<String> = backends
                .map(|backend| {
                    let places = places(service, backend).map(|place| place.to_string());
                    format!("{{ name = \"b{backend}\", address = {places:?} }}")
                })
                .collect();
            let written = write!(
                text,
                "[[service.pool]]\nname = \"p{pool}\"\nhealth = {{ tcp = true }}\n\
                 backends = [{}]\n",
                backends.join(", ")
            );
            written.expect("a string takes everything");
        }
        for (number, audience) in audiences(self.audiences[service]).iter().enumerate() {
            write_audience(text, number, audience);
        }
    }
}

fn write_audience(text: &mut String, number: usize, audience: &Audience) {
    let sources = audience.sources.iter();
    let sources: Vec<String> = sources
        .map(|(network, length)| format!("{network}/{length}"))
        .collect();
    let percent = audience.share_ppm / 10_000;
    write!(
        text,
        "[[service.audience]]\nname = \"a{number}\"\nshare = \"{percent}%\"\n"
    )
    .expect("a string takes everything");
    if !sources.is_empty() {
        writeln!(text, "sources = {sources:?}").expect("a string takes everything");
    }
    if !audience.ports.is_empty() {
        writeln!(text, "source_ports = {:?}", audience.ports).expect("a string takes everything");
    }
}

/// A service's name.
pub fn name(service: usize) -> String {
    format!("s{service}")
}

/// A service's VIP and port.
pub fn vip(service: usize, family: Family) -> SocketAddr {
    let last = u8::try_from(service).expect("few");
    match family {
        Family::V4 => SocketAddr::from(([192, 0, 2, last + 1], PORT)),
        Family::V6 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last) + 1], PORT)),
    }
}

/// Next hops of all backends, each with a hardware address of its own.
pub fn view() -> View {
    let all = (0..SERVICES).flat_map(|s| (0..BACKENDS).map(move |b| (s, b)));
    let reach = all.flat_map(|(service, backend)| {
        let number = [service, backend].map(|n| u8::try_from(n).expect("few"));
        let hop = Hop {
            ifindex: INGRESS,
            source_mac: [2, 0, 0, 2, number[0], number[1]],
            next_hop_mac: [2, 0, 0, 1, number[0], number[1]],
            mtu: 1500,
        };
        places(service, backend).map(|place| (place, Reach::Via(hop)))
    });
    View {
        reach: reach.collect(),
        ..View::default()
    }
}

fn places(service: usize, backend: usize) -> [IpAddr; 2] {
    let [service, backend] = [service, backend].map(|n| u8::try_from(n).expect("few"));
    let v6 = [
        0xfd00,
        u16::from(service),
        0,
        0,
        0,
        0,
        0,
        u16::from(backend) + 1,
    ];
    [
        Ipv4Addr::new(10, 0, service, backend + 1).into(),
        Ipv6Addr::from(v6).into(),
    ]
}
