//! The TCP end of the API, where one is configured.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::serve::Listener;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    api::{http::read_only, server::Shared},
    dataplane::kernel::Kernel,
};

/// Connections at once: whoever opens more waits, and takes no descriptor from the rest of the daemon.
const CONNECTIONS: usize = 256;

/// Nobody can listen there.
#[derive(Debug, Error)]
#[error("api.http {address}: can't listen there: {source}; choose another address or port")]
pub struct HttpError {
    address: SocketAddr,
    source: io::Error,
}

/// Listens, if somewhere.
pub async fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, HttpError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = TcpListener::bind(address).await;
    bound
        .map(Some)
        .map_err(|source| HttpError { address, source })
}

/// Serves for ever.
pub async fn serve(listener: Option<TcpListener>, shared: Arc<Shared<Kernel>>) -> io::Result<()> {
    let Some(listener) = listener else {
        return pending().await;
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    axum::serve(Few { listener, places }, read_only(shared)).await
}

/// A listener with so many connections at once.
struct Few {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Few {
    type Io = Placed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Placed, SocketAddr) {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return pending().await;
        };
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let placed = Placed {
            stream,
            _place: place,
        };
        (placed, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection, and its place among those that there may be.
struct Placed {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn somewhere() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_with_the_remedy() {
        let (_taken, address) = somewhere().await;
        let error = bind(Some(address)).await.expect_err("taken").to_string();
        assert!(error.starts_with(&format!("api.http {address}: can't listen there: ")));
        assert!(
            error.ends_with("; choose another address or port"),
            "{error}"
        );
        assert!(bind(None).await.expect("nowhere").is_none());
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_waits_until_one_is_free() {
        let (listener, address) = somewhere().await;
        let places = Arc::new(Semaphore::new(1));
        let mut few = Few { listener, places };
        let _clients = [
            TcpStream::connect(address).await.expect("in the queue"),
            TcpStream::connect(address).await.expect("in the queue"),
        ];
        let (first, _) = few.accept().await;
        let soon = Duration::from_millis(50);
        assert!(timeout(soon, few.accept()).await.is_err());
        drop(first);
        assert!(timeout(Duration::from_secs(10), few.accept()).await.is_ok());
    }
}
