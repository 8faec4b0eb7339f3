//! The configuration under test: a service in `nat` and one in `l2`, with affinity by client and
//! without, and one of QUIC whose connection ids tell their server; each of three pools.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use lb_userspace::neighbour::{Hop, Reach, View};

use crate::world::{Family, INGRESS};

/// Services, pools of each, and backends of each.
pub const SERVICES: usize = 3;
/// The service of QUIC.
pub const QUIC: usize = 2;
pub const POOLS: usize = 3;
pub const BACKENDS: usize = 6;
/// How long a change stands before it settles.
const DRAIN: &str = "100s";
/// The same in ticks of 2^30 ns, and one for the first that may have been over at once.
pub const DRAIN_TICKS: u32 = 94 + 1;
/// Pool of each backend.
const POOL_OF: [usize; BACKENDS] = [0, 0, 0, 1, 1, 2];
const PORT: u16 = 443;
/// Number of the connection ids' format.
pub const ROTATION: u8 = 1;
/// Octets of a server's id.
pub const ID_LENGTH: usize = 3;

/// Which backends the file has, of each service.
#[derive(Clone, Debug)]
pub struct Site {
    pub there: [[bool; BACKENDS]; SERVICES],
}

impl Site {
    pub const fn new() -> Self {
        Self {
            there: [[true; BACKENDS]; SERVICES],
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
        let quic_lb =
            format!("quic_lb = {{ rotation = {ROTATION}, server_id_length = {ID_LENGTH} }}\n");
        let lines = [
            "",
            "forward = \"l2\"\naffinity = \"client\"\non_dead_pool = \"drop\"\n",
            &quic_lb,
        ][service];
        let [v4, v6] = [Family::V4, Family::V6].map(|family| vip(service, family));
        let listeners = if service == QUIC {
            format!("\"udp://{v4}?quic\", \"udp://{v6}?quic\"")
        } else {
            format!("\"tcp://{v4}\", \"tcp://{v6}\", \"udp://{v4}\", \"udp://{v6}\"")
        };
        let written = write!(
            text,
            "[[service]]\nname = \"{}\"\ndrain = \"{DRAIN}\"\nactive = \"p0\"\n{lines}listen = \
             [{listeners}]\n",
            name(service)
        );
        written.expect("a string takes everything");
        for pool in 0..POOLS {
            let backends = (0..BACKENDS)
                .filter(|&backend| POOL_OF[backend] == pool && self.there[service][backend]);
            let backends: Vec<String> = backends
                .map(|backend| {
                    let places = places(service, backend).map(|place| place.to_string());
                    let id = server_id(backend).map(|octet| format!("{octet:02x}"));
                    let id = match service {
                        QUIC => format!(", server_id = \"{}\"", id.concat()),
                        _ => String::new(),
                    };
                    format!("{{ name = \"b{backend}\", address = {places:?}{id} }}")
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
    }
}

/// A service's name.
pub fn name(service: usize) -> String {
    format!("s{service}")
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
