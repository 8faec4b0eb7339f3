//! WebSocket connections (RFC 6455): a server that answers each word with itself, and clients.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite::Message};

use crate::{hosted::Hosted, netns::Namespace, topology::Backend};

/// How long a word may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers `7` by `7 v1 b1`, for as long as a connection lives.
#[derive(Debug)]
pub struct WebSocketServer {
    _hosted: Hosted,
}

impl WebSocketServer {
    /// Starts it at a port of a backend.
    pub fn start(backend: &Backend, version: &str, name: &str, port: u16) -> Result<Self> {
        let who = format!("{version} {name}");
        let hosted = Hosted::start(backend, name, async move || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
            Ok(accept(listener, who))
        })?;
        Ok(Self { _hosted: hosted })
    }
}

async fn accept(listener: TcpListener, who: String) {
    loop {
        // Whoever is gone again knows it.
        if let Ok((stream, _)) = listener.accept().await {
            let who = who.clone();
            // Who breaks off says so to its own test.
            tokio::spawn(async move { converse(stream, &who).await.ok() });
        }
    }
}

async fn converse(stream: TcpStream, who: &str) -> Result<()> {
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            let answer = format!("{} {who}", text.as_str());
            socket.send(Message::text(answer)).await?;
        }
    }
    Ok(())
}

/// A client's end.
#[derive(Debug)]
pub struct WebSocket {
    runtime: Runtime,
    socket: WebSocketStream<TcpStream>,
}

impl WebSocket {
    /// Opens a connection from one of the clients' addresses.
    pub fn open(from: &Namespace, source: IpAddr, target: SocketAddr) -> Result<Self> {
        let _inside = from.enter()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let socket = runtime.block_on(async {
            let socket = match target {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.bind((source, 0).into())?;
            let stream = timeout(PATIENCE, socket.connect(target)).await??;
            let url = format!("ws://{target}/");
            let (socket, _) = timeout(PATIENCE, client_async(url, stream)).await??;
            anyhow::Ok(socket)
        });
        Ok(Self {
            socket: socket.with_context(|| format!("a websocket from {source}"))?,
            runtime,
        })
    }

    /// Says a word and waits for the answer.
    pub fn ask(&mut self, word: &str) -> Result<String> {
        let socket = &mut self.socket;
        // A time limit is set inside of the runtime, whose clock it goes by.
        let answer = self.runtime.block_on(async {
            timeout(PATIENCE, async {
                socket.send(Message::text(word)).await?;
                let next = socket.next().await.context("closed by the server")?;
                anyhow::Ok(next?)
            })
            .await
        });
        let Message::Text(text) = answer.context("no answer in time")?? else {
            bail!("something else than a word");
        };
        Ok(text.as_str().to_owned())
    }
}
