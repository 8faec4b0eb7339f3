//! Audiences as the file has them: who is in one, by what, and what they get.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::random::Random;

/// An audience: all of its conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    pub name: String,
    pub sources: Option<[IpNet; 2]>,
    pub ports: Option<RangeInclusive<u16>>,
    pub vlan: Option<u16>,
    pub dscp: Option<u8>,
    pub hops: Option<RangeInclusive<u8>>,
    pub mss: Option<RangeInclusive<u16>>,
    /// The candidate's share among its clients.
    pub share_ppm: u32,
}

/// What the first packet of a connection shows of its client, and later ones may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub dscp: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// The segment size that a SYN announces.
    pub mss: Option<u16>,
}

/// Values of packets, of which an audience asks for one or two.
const DSCPS: [u8; 3] = [0, 10, 46];
const HOPS: [u8; 3] = [63, 64, 128];
const SIZES: [Option<u16>; 3] = [None, Some(1200), Some(1460)];
/// Sources of an audience begin at a multiple of this client, and end before the next.
const BLOCK: u16 = 64;

impl Audience {
    /// An audience of one or two conditions.
    pub fn draw(random: &mut Random, name: String) -> Self {
        let mut audience = Self {
            name,
            share_ppm: [1_000_000, 1_000_000, 0, 300_000, 700_000][random.below(5)],
            ..Self::default()
        };
        for _ in 0..=random.below(2) {
            audience.narrow(random);
        }
        audience
    }

    fn narrow(&mut self, random: &mut Random) {
        match random.below(9) {
            0..=2 => self.sources = Some(block(random)),
            3 => self.ports = Some(1025..=1025 + u16::from(random.below(2) > 0)),
            4 => self.vlan = Some(7),
            5..=6 => self.mss = Some(1..=1400),
            7 => self.dscp = Some(46),
            _ => self.hops = Some(64..=64 + 64 * u8::from(random.below(2) > 0)),
        }
    }

    /// Whether its clients come from there.
    pub fn is_from(&self, client: IpAddr) -> bool {
        let sources = self.sources.as_ref();
        sources.is_none_or(|sources| sources.iter().any(|net| net.contains(&client)))
    }

    /// Whether what all packets of a connection show is what it asks for.
    pub fn has(&self, port: u16, vlan: Option<u16>) -> bool {
        let ports = self.ports.as_ref();
        ports.is_none_or(|ports| ports.contains(&port))
            && self.vlan.is_none_or(|wanted| vlan == Some(wanted))
    }

    /// Whether what the first packet shows is what it asks for.
    pub fn admits(&self, marks: Marks) -> bool {
        let hops = self.hops.as_ref();
        let within =
            |sizes: &RangeInclusive<u16>| marks.mss.is_some_and(|mss| sizes.contains(&mss));
        self.dscp.is_none_or(|dscp| dscp == marks.dscp)
            && hops.is_none_or(|hops| hops.contains(&marks.hops))
            && self.mss.as_ref().is_none_or(within)
    }

    /// Whether it asks for what only a connection's first packet is sure to show.
    pub const fn asks_the_first(&self) -> bool {
        self.dscp.is_some() || self.hops.is_some() || self.mss.is_some()
    }

    /// Its section of the file, under a toggle.
    pub fn text(&self, toggle: &str) -> String {
        let mut text = format!(
            "[[service.audience]]\nname = \"{}\"\ntoggle = \"{toggle}\"\n{}\n",
            self.name,
            match self.share_ppm {
                1_000_000 => "pool = \"candidate\"".to_owned(),
                0 => "pool = \"active\"".to_owned(),
                ppm => format!("share = \"{ppm}ppm\""),
            }
        );
        if let Some(sources) = &self.sources {
            let sources = sources.map(|net| net.to_string());
            line(&mut text, "sources", &format!("{sources:?}"));
        }
        if let Some(vlan) = self.vlan {
            line(&mut text, "vlan", &vlan.to_string());
        }
        if let Some(dscp) = self.dscp {
            line(&mut text, "dscp", &dscp.to_string());
        }
        range(&mut text, "source_ports", self.ports.as_ref());
        range(&mut text, "ttl", self.hops.as_ref());
        range(&mut text, "mss", self.mss.as_ref());
        text
    }
}

impl Marks {
    /// Those of one of few kinds of clients.
    pub fn draw(random: &mut Random) -> Self {
        Self {
            dscp: DSCPS[random.below(DSCPS.len())],
            hops: HOPS[random.below(HOPS.len())],
            mss: SIZES[random.below(SIZES.len())],
        }
    }
}

/// The VLAN that a client is in: all packets of a connection come by one.
pub const fn vlan(client: u16) -> Option<u16> {
    match client % 4 {
        0 => Some(7),
        1 => Some(100),
        _ => None,
    }
}

/// The addresses of neighbouring clients, as [`crate::world::client`] has them.
fn block(random: &mut Random) -> [IpNet; 2] {
    let first = u16::try_from(random.below(4)).expect("few") * BLOCK;
    let [high, low] = first.to_be_bytes();
    let v4 = Ipv4Net::new(Ipv4Addr::new(10, 77, high, low), 26);
    let v6 = Ipv6Net::new(Ipv6Addr::new(0xfd77, 0, 0, first, 0, 0, 0, 0), 58);
    [
        v4.expect("a short prefix").into(),
        v6.expect("a short prefix").into(),
    ]
}

fn range<T: std::fmt::Display>(text: &mut String, key: &str, range: Option<&RangeInclusive<T>>) {
    if let Some(range) = range {
        line(text, key, &format!("\"{}-{}\"", range.start(), range.end()));
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    writeln!(text, "{key} = {value}").expect("a string takes everything");
}
