//! The TCP end of the API, where one is configured.

use std::{
    future::{Future as _, pending},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

use crate::{
    api::{http::read_only, server::Shared},
    dataplane::kernel::Kernel,
};

/// Connections at once: whoever opens more waits, and takes no descriptor from the rest of the daemon.
const CONNECTIONS: usize = 256;

/// A client that neither sends nor takes anything for so long gives its place up.
const IDLE: Duration = Duration::from_mins(1);

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
    let few = Few {
        listener,
        places,
        idle: IDLE,
    };
    axum::serve(few, read_only(shared)).await
}

/// A listener with so many connections at once.
struct Few {
    listener: TcpListener,
    places: Arc<Semaphore>,
    idle: Duration,
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
            idle: self.idle,
            end: Box::pin(sleep(self.idle)),
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
    /// How long nothing may move.
    idle: Duration,
    /// When that has been so.
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Placed {
    /// What a direction comes to: an error if neither has moved for too long.
    fn watch<T>(
        &mut self,
        moved: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            let end = Instant::now() + self.idle;
            self.end.as_mut().reset(end);
            return moved;
        }
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(read, context)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(written, context)
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
    use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, time::timeout};

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
        let mut few = Few {
            listener,
            places,
            idle: IDLE,
        };
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

    #[tokio::test]
    async fn who_is_silent_for_too_long_gives_the_place_up_and_who_is_not_keeps_it() {
        let (listener, address) = somewhere().await;
        let places = Arc::new(Semaphore::new(1));
        let idle = Duration::from_millis(200);
        let mut few = Few {
            listener,
            places,
            idle,
        };
        let mut client = TcpStream::connect(address).await.expect("in the queue");
        let (mut accepted, _) = few.accept().await;
        let mut byte = [0];
        for _ in 0..5 {
            sleep(idle / 2).await;
            client.write_all(b"x").await.expect("sent");
            assert_eq!(accepted.read(&mut byte).await.expect("still there"), 1);
        }
        let error = accepted.read(&mut byte).await.expect_err("silence");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
