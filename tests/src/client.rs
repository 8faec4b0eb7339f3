//! A client that is told every move: one connection, one request, one datagram at a time.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::sys::{
    socket::{
        self, AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
    },
    time::TimeVal,
};

use crate::{
    failure::Failure,
    http::{Answer, REQUEST, parse_response},
    netns::Namespace,
};

/// How long a client waits before it calls an attempt failed. Longer than the kernel's first
/// retransmission of a SYN, so that a lost packet is not a failure but a missing path is.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A TCP connection over which any number of requests may go.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects from an address of the namespace. A source port of 0 lets the kernel choose.
    pub fn open(from: &Namespace, source: SocketAddr, target: SocketAddr) -> Result<Self, Failure> {
        let stream = connect(from, source, target)?;
        Ok(Self { stream })
    }

    /// Sends one request and reads its answer. The connection stays open.
    pub fn ask(&mut self) -> Result<Answer, Failure> {
        self.stream.write_all(REQUEST)?;
        let mut received = Vec::new();
        let mut chunk = [0; 2048];
        loop {
            match uninterrupted(|| self.stream.read(&mut chunk))? {
                0 => return Err(Failure::ShortRead),
                length => received.extend_from_slice(&chunk[..length]),
            }
            if let Some(answer) = parse_response(&received)? {
                return Ok(answer);
            }
        }
    }

    /// The address and port that the connection comes from.
    pub fn source(&self) -> Result<SocketAddr, Failure> {
        Ok(self.stream.local_addr()?)
    }
}

/// A connection for any protocol over TCP.
pub fn connect(
    from: &Namespace,
    source: SocketAddr,
    target: SocketAddr,
) -> Result<TcpStream, Failure> {
    let socket = bound_socket(from, SockType::Stream, source)?;
    let address = SockaddrStorage::from(target);
    // Called again, it waits for the same attempt.
    uninterrupted(|| Ok(socket::connect(socket.as_raw_fd(), &address)?))?;
    Ok(TcpStream::from(socket))
}

/// One request over a connection of its own, closed orderly.
pub fn get(from: &Namespace, source: IpAddr, target: SocketAddr) -> Result<Answer, Failure> {
    Connection::open(from, SocketAddr::new(source, 0), target)?.ask()
}

/// One datagram, and the name in its answer.
pub fn ask_udp(
    from: &Namespace,
    source: SocketAddr,
    target: SocketAddr,
) -> Result<Answer, Failure> {
    let socket = UdpSocket::from(bound_socket(from, SockType::Datagram, source)?);
    // A connected socket takes answers only from whom it asked, and hears of ICMP errors.
    socket.connect(target)?;
    socket.send(b"who are you?")?;
    let mut answer = [0; 2048];
    let length = uninterrupted(|| socket.recv(&mut answer))?;
    Answer::from_body(&answer[..length])
}

/// Calls what a signal interrupts again: calls that have a time limit the kernel doesn't restart (signal(7)).
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn bound_socket(from: &Namespace, kind: SockType, source: SocketAddr) -> Result<OwnedFd, Failure> {
    let family = match source {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = {
        let _inside = from.enter().expect("a lab's namespace can be entered");
        socket(family, kind, SockFlag::SOCK_CLOEXEC, None)
    }
    .map_err(io::Error::from)?;
    configure(&socket, source).map_err(io::Error::from)?;
    Ok(socket)
}

fn configure(socket: &OwnedFd, source: SocketAddr) -> nix::Result<()> {
    let patience = TimeVal::new(i64::try_from(PATIENCE.as_secs()).expect("seconds"), 0);
    setsockopt(socket, sockopt::ReceiveTimeout, &patience)?;
    // It bounds connect(2) too.
    setsockopt(socket, sockopt::SendTimeout, &patience)?;
    setsockopt(socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(source))
}
