//! Servers that take and give much at a time, and who talks to them.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, anyhow};
use serin_tests::{client, netns::Namespace, topology::Lab};

/// Where they listen.
pub const PORT: u16 = 8090;

/// How long a transfer may pause before it counts as stalled.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often a server looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// A server on each backend, until it is dropped. Over TCP it reads to the end, and sends the same
/// bytes back; a datagram comes back as it is.
pub struct Bulk {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Bulk {
    /// On all backends of a lab.
    pub fn serve(lab: &Lab) -> Result<Self> {
        let mut bulk = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for backend in &lab.backends {
            // On each address by itself: a datagram's answer has to come from where it was sent to.
            for &address in &backend.served {
                let (tcp, udp) = {
                    let _inside = backend.namespace.enter()?;
                    let at = (address, PORT);
                    (TcpListener::bind(at)?, UdpSocket::bind(at)?)
                };
                tcp.set_nonblocking(true)?;
                udp.set_read_timeout(Some(LOOK))?;
                let stop = Arc::clone(&bulk.stop);
                let stream = backend
                    .namespace
                    .thread("bulk-tcp", move || accept(&tcp, &stop))?;
                let stop = Arc::clone(&bulk.stop);
                let datagrams = backend
                    .namespace
                    .thread("bulk-udp", move || return_all(&udp, &stop))?;
                bulk.threads.extend([stream, datagrams]);
            }
        }
        Ok(bulk)
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a bulk server has panicked");
            }
        }
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // A client that gives up tells by itself.
            Ok((stream, _)) => drop(give_back(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(LOOK),
            Err(_) => return,
        }
    }
}

fn give_back(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    limit(&stream)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    stream.write_all(&bytes)
}

fn return_all(socket: &UdpSocket, stop: &AtomicBool) {
    let mut bytes = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut bytes) {
            drop(socket.send_to(&bytes[..length], from));
        }
    }
}

fn limit(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// Bytes of which no part looks like another.
pub fn pattern(length: usize) -> Vec<u8> {
    let words = (0_u64..).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).take(length).collect()
}

/// Sends bytes over TCP and reads them back.
pub fn transfer(
    from: &Namespace,
    source: SocketAddr,
    target: SocketAddr,
    bytes: &[u8],
) -> Result<Vec<u8>> {
    let connected = client::connect(from, source, target);
    let mut stream = connected.map_err(|failure| anyhow!("{source} to {target}: {failure}"))?;
    limit(&stream)?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    Ok(back)
}

/// Sends one datagram and receives one, from whom it was sent to.
pub fn exchange(
    from: &Namespace,
    source: SocketAddr,
    target: SocketAddr,
    bytes: &[u8],
) -> Result<Vec<u8>> {
    let socket = {
        let _inside = from.enter()?;
        UdpSocket::bind(source)?
    };
    socket.connect(target)?;
    socket.set_read_timeout(Some(client::PATIENCE))?;
    socket.send(bytes)?;
    let mut back = vec![0; 65_536];
    let length = client::uninterrupted(|| socket.recv(&mut back))?;
    back.truncate(length);
    Ok(back)
}
