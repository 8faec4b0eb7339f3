//! A backend's servers: HTTP over TCP, and an echo of its name over UDP, on one port.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    runtime,
    sync::oneshot,
};

use crate::{
    http::{Answer, request_length},
    manner::{self, Manner, Mannered},
    topology::Backend,
};

/// Servers in a backend's namespace, gone with their connections when dropped.
#[derive(Debug)]
pub struct Server {
    counts: Arc<Counts>,
    // Dropping the sender ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a server has seen.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    datagrams: AtomicU64,
}

#[derive(Clone)]
struct Identity {
    version: Arc<str>,
    name: Arc<str>,
    counts: Arc<Counts>,
    manner: Arc<Mannered>,
}

impl Server {
    /// Serves `version` under `name` at a port of the backend, and returns once it listens.
    pub fn start(backend: &Backend, version: &str, name: &str, port: u16) -> Result<Self> {
        Self::mannered(backend, (version, name), port, Manner::default())
    }

    /// The same with a manner of its own.
    pub fn mannered(
        backend: &Backend,
        (version, name): (&str, &str),
        port: u16,
        manner: Manner,
    ) -> Result<Self> {
        let counts = Arc::new(Counts::default());
        let identity = Identity {
            version: version.into(),
            name: name.into(),
            counts: Arc::clone(&counts),
            manner: Arc::new(Mannered::new(manner)),
        };
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let addresses = backend.served.clone();
        let thread = backend.namespace.thread(name, move || {
            let ended = serve_until(stopped, &addresses, port, &identity, &ready);
            // Whoever started us waits for one word; later ones go nowhere.
            let _ = ready.send(ended);
        })?;
        let server = Self {
            counts,
            stop: Some(stop),
            thread: Some(thread),
        };
        is_ready
            .recv()
            .context("the server's thread is gone")?
            .with_context(|| format!("server {name} on port {port}"))?;
        Ok(server)
    }

    /// TCP connections accepted.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// HTTP requests answered.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// UDP datagrams answered.
    pub fn datagrams(&self) -> u64 {
        self.counts.datagrams.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

fn serve_until(
    stopped: oneshot::Receiver<()>,
    addresses: &[IpAddr],
    port: u16,
    identity: &Identity,
    ready: &mpsc::Sender<Result<()>>,
) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
        // A socket for each address, so that an answer comes from the address that was asked:
        // with the VIP on the loopback, routing would choose another.
        for address in addresses {
            let socket = UdpSocket::bind((*address, port)).await?;
            tokio::spawn(echo(socket, identity.clone()));
        }
        tokio::spawn(accept(listener, identity.clone()));
        // The receiver waits for this one.
        let _ = ready.send(Ok(()));
        tokio::select! {
            _ = stopped => {}
            () = identity.manner.death.notified() => {}
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener, identity: Identity) {
    loop {
        // Accepting fails for a connection that is gone again, or for want of descriptors; the
        // client of either sees it.
        let Ok((stream, client)) = listener.accept().await else {
            continue;
        };
        let before = identity.counts.connections.fetch_add(1, Ordering::Relaxed);
        identity.manner.accepted(before + 1);
        tokio::spawn(converse(stream, client, identity.clone()));
    }
}

async fn converse(mut stream: TcpStream, client: SocketAddr, identity: Identity) {
    let response = identity.answer(client).response();
    let mut received = Vec::with_capacity(512);
    // A client that is gone is nothing to report: the client's own log tells.
    while let Ok(1..) = stream.read_buf(&mut received).await {
        while let Some(length) = request_length(&received) {
            received.drain(..length);
            identity.counts.requests.fetch_add(1, Ordering::Relaxed);
            if identity.manner.resets(client.ip().to_canonical().is_ipv6()) {
                return manner::reset(stream);
            }
            let takes = identity.manner.service_time();
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            if stream.write_all(&response).await.is_err() {
                return;
            }
        }
    }
}

async fn echo(socket: UdpSocket, identity: Identity) {
    let mut datagram = [0; 2048];
    loop {
        // An error here is an ICMP message about an earlier answer.
        let Ok((_, client)) = socket.recv_from(&mut datagram).await else {
            continue;
        };
        identity.counts.datagrams.fetch_add(1, Ordering::Relaxed);
        let answer = identity.answer(client).body();
        let _ = socket.send_to(answer.as_bytes(), client).await;
    }
}

impl Identity {
    fn answer(&self, client: SocketAddr) -> Answer {
        Answer {
            version: self.version.to_string(),
            backend: self.name.to_string(),
            client: client.ip().to_canonical(),
        }
    }
}
