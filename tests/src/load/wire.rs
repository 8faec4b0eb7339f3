//! One user's connection: bind to the user's address, connect, ask, close orderly.

use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    failure::Failure,
    http::{Answer, REQUEST, parse_response},
};

/// A connection from an address of the present thread's namespace.
pub(crate) async fn open(from: IpAddr, to: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // The port is then chosen by connect(2), which may use one again for another target; bind(2)
    // would use the address's ports up one by one.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true).map_err(std::io::Error::from)?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = socket.connect(to).await?;
    // A request is one write; waiting to fill a segment would only add to its time.
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) async fn ask(stream: &mut TcpStream) -> Result<Answer, Failure> {
    stream.write_all(REQUEST).await?;
    let mut received = Vec::with_capacity(256);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(Failure::ShortRead);
        }
        if let Some(answer) = parse_response(&received)? {
            return Ok(answer);
        }
    }
}
