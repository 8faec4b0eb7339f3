//! ICMP echo, as ping(8) does it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
};

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
        recv, send, setsockopt, socket, sockopt,
    },
    time::TimeVal,
};

use crate::{
    client::{PATIENCE, uninterrupted},
    failure::Failure,
    netns::Namespace,
};

/// Type and code of an echo request; the kernel fills in the checksum and the identifier.
const REQUEST_V4: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];
/// The same of `ICMPv6`.
const REQUEST_V6: [u8; 8] = [128, 0, 0, 0, 0, 0, 0, 1];

/// Sends one echo request and waits for its answer.
///
/// # Panics
/// If the namespace can't be entered, which its making has shown it can.
pub fn ping(from: &Namespace, source: IpAddr, target: IpAddr) -> Result<(), Failure> {
    let (family, protocol, request) = if target.is_ipv4() {
        (AddressFamily::Inet, SockProtocol::Icmp, REQUEST_V4)
    } else {
        (AddressFamily::Inet6, SockProtocol::IcmpV6, REQUEST_V6)
    };
    let socket = {
        let _inside = from.enter().expect("a lab's namespace can be entered");
        let anybody = from.sysctl("net/ipv4/ping_group_range", "0 2147483647");
        anybody.map_err(|_| Failure::System(libc::EACCES))?;
        socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)
    }
    .map_err(io::Error::from)?;
    let fd = socket.as_raw_fd();
    let exchange = || -> io::Result<()> {
        let patience = TimeVal::new(i64::try_from(PATIENCE.as_secs()).expect("seconds"), 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
        bind(fd, &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
        connect(fd, &SockaddrStorage::from(SocketAddr::new(target, 0)))?;
        send(fd, &request, MsgFlags::empty())?;
        // A ping socket is given answers to its own identifier only.
        uninterrupted(|| Ok(recv(fd, &mut [0; 64], MsgFlags::empty())?))?;
        Ok(())
    };
    Ok(exchange()?)
}
