//! A flood of SYNs from users that never meant to connect. Bounded: it ends by itself.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4},
    os::fd::AsRawFd as _,
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

/// Sends so many SYNs over IPv4 to a port of the VIP, each of a connection of its own. The clients'
/// namespace knows of none of them, and so resets each as soon as a server answers.
pub fn syns(clients: &Namespace, port: u16, count: u32) -> Result<()> {
    let IpAddr::V4(vip) = VIP_V4 else {
        unreachable!("the VIP is an IPv4 address")
    };
    // With this protocol the kernel takes the packet from its IP header on (raw(7)).
    let socket = {
        let _inside = clients.enter()?;
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        socket(AddressFamily::Inet, kind, flags, SockProtocol::Raw)?
    };
    let target = SockaddrIn::from(SocketAddrV4::new(vip, port));
    for number in 0..count {
        if number % BURST == BURST - 1 {
            deadline::pass(PAUSE)?;
        }
        let source = source(number);
        let IpAddr::V4(from) = source.ip() else {
            unreachable!("users have IPv4 addresses")
        };
        let builder = PacketBuilder::ipv4(from.octets(), vip.octets(), 64);
        let builder = builder.tcp(source.port(), port, number, 1024).syn();
        let mut packet = Vec::with_capacity(builder.size(0));
        builder.write(&mut packet, &[])?;
        sendto(socket.as_raw_fd(), &packet, &target, MsgFlags::empty())
            .with_context(|| format!("sending the SYN of {source}"))?;
    }
    Ok(())
}

fn source(number: u32) -> SocketAddr {
    let turn = u16::try_from(number / USERS).expect("not that many");
    SocketAddr::new(client_v4(FIRST_USER + number % USERS), 2000 + turn)
}
