//! A flood of SYNs from users that never meant to connect. Bounded: it ends by itself.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4},
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result};
use etherparse::PacketBuilder;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::{
    deadline,
    netns::Namespace,
    topology::{VIP_V4, client_v4},
};

/// The first user that floods; those below are left to other load.
const FIRST_USER: u32 = 10_000;
/// SYNs that go out together, fewer than a veth's ring holds, and how long until the next: 20 000 a second at most. Whoever is within
/// a handshake must be done before the flood has turned the half-open connections over.
const BURST: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);
/// Users that take turns.
const USERS: u32 = 50_000;

/// Sends SYNs over IPv4 to the VIP, each of a connection of its own. The clients' namespace knows of
/// none of them, and so resets each as soon as a server answers.
#[derive(Debug)]
pub struct Flood(OwnedFd);

/// Sends so many SYNs to a port of the VIP.
pub fn syns(clients: &Namespace, port: u16, count: u32) -> Result<()> {
    Flood::from(clients)?.syns(port, count)
}

impl Flood {
    /// From the clients' namespace.
    pub fn from(clients: &Namespace) -> Result<Self> {
        // With this protocol the kernel takes the packet from its IP header on (raw(7)).
        let _inside = clients.enter()?;
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Inet, kind, flags, SockProtocol::Raw)?;
        Ok(Self(socket))
    }

    /// So many to one port.
    pub fn syns(&self, port: u16, count: u32) -> Result<()> {
        self.send((0..count).map(|number| (source(number), port)))
    }

    /// One to each of the first ports, by so many users: they look for open ones.
    pub fn scan(&self, users: u32, ports: u16) -> Result<()> {
        let of = |user| {
            let from = SocketAddr::new(client_v4(FIRST_USER + user), 3000);
            (1..=ports).map(move |port| (from, port))
        };
        self.send((0..users).flat_map(of))
    }

    fn send(&self, syns: impl Iterator<Item = (SocketAddr, u16)>) -> Result<()> {
        let IpAddr::V4(vip) = VIP_V4 else {
            unreachable!("the VIP is an IPv4 address")
        };
        for (number, (source, port)) in (0..).zip(syns) {
            if number % BURST == BURST - 1 {
                deadline::pass(PAUSE)?;
            }
            let target = SockaddrIn::from(SocketAddrV4::new(vip, port));
            let IpAddr::V4(from) = source.ip() else {
                unreachable!("users have IPv4 addresses")
            };
            let builder = PacketBuilder::ipv4(from.octets(), vip.octets(), 64);
            let builder = builder.tcp(source.port(), port, number, 1024).syn();
            let mut packet = Vec::with_capacity(builder.size(0));
            builder.write(&mut packet, &[])?;
            sendto(self.0.as_raw_fd(), &packet, &target, MsgFlags::empty())
                .with_context(|| format!("sending the SYN of {source}"))?;
        }
        Ok(())
    }
}

fn source(number: u32) -> SocketAddr {
    let turn = u16::try_from(number / USERS).expect("not that many");
    SocketAddr::new(client_v4(FIRST_USER + number % USERS), 2000 + turn)
}
