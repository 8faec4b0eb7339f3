//! Asks one address of a backend, once.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::config::Probe;

/// How much of an answer is read, so that the server sees an orderly end; its bytes don't matter.
const ANSWER_BYTES: usize = 64 << 10;

/// Why a check has failed.
#[derive(Debug, Error)]
pub enum Failing {
    /// No connection.
    #[error("{at}: {source}")]
    Connect {
        /// The address.
        at: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// No answer, or none of HTTP.
    #[error("{at}: no HTTP answer: {source}")]
    Http {
        /// The address.
        at: SocketAddr,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that says no.
    #[error("{at}: HTTP status {status}")]
    Status {
        /// The address.
        at: SocketAddr,
        /// The answer's.
        status: StatusCode,
    },
    /// Nothing in time.
    #[error("{at}: no answer within {}", humantime::format_duration(*patience))]
    TimedOut {
        /// The address.
        at: SocketAddr,
        /// How long it had.
        patience: Duration,
    },
}

/// Asks one address, and gives it so long. An answer is whole, or none.
pub async fn probe(probe: &Probe, at: SocketAddr, patience: Duration) -> Result<(), Failing> {
    let answered = timeout(patience, async {
        let stream = TcpStream::connect(at).await;
        let stream = stream.map_err(|source| Failing::Connect { at, source })?;
        match probe {
            Probe::Tcp => Ok(()),
            Probe::Http(path) => get(stream, at, path).await,
        }
    });
    let timed_out = Failing::TimedOut { at, patience };
    answered.await.unwrap_or(Err(timed_out))
}

async fn get(stream: TcpStream, at: SocketAddr, path: &str) -> Result<(), Failing> {
    let status = request(stream, at, path).await;
    let status = status.map_err(|source| Failing::Http { at, source })?;
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(Failing::Status { at, status })
}

async fn request(
    stream: TcpStream,
    at: SocketAddr,
    path: &str,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, at.to_string())
        .header(header::USER_AGENT, "serin")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Dropped, it ends the connection.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES).collect().await;
    // A longer answer is an answer; one that breaks off is none.
    match body {
        Err(error) if !error.is::<http_body_util::LengthLimitError>() => Err(error),
        Ok(_) | Err(_) => Ok(head.status),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        (listener, at)
    }

    /// Asks a server that gives this answer, and returns what it was asked.
    async fn ask(answer: &'static str) -> (Result<(), Failing>, String) {
        let (listener, at) = listen().await;
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut asked = vec![0; 1024];
            let length = stream.read(&mut asked).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("sent");
            asked.truncate(length);
            String::from_utf8(asked).expect("text")
        };
        let path = Probe::Http("/healthz".to_owned());
        tokio::join!(probe(&path, at, PATIENCE), serve)
    }

    #[tokio::test]
    async fn tcp_passes_where_somebody_listens_and_fails_where_nobody_does() {
        let (listener, at) = listen().await;
        assert!(probe(&Probe::Tcp, at, PATIENCE).await.is_ok());
        drop(listener);
        let refused = probe(&Probe::Tcp, at, PATIENCE).await.expect_err("closed");
        assert!(refused.to_string().contains("refused"), "{refused}");
    }

    #[tokio::test]
    async fn http_asks_for_the_path_at_the_address_and_closes() {
        let (passed, asked) = ask("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert!(passed.is_ok(), "{passed:?}");
        let asked = asked.to_ascii_lowercase();
        assert!(asked.starts_with("get /healthz http/1.1\r\n"), "{asked}");
        assert!(asked.contains("host: 127.0.0.1:"), "{asked}");
        assert!(asked.contains("connection: close\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn redirections_pass_and_errors_do_not() {
        let (moved, _) = ask("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n").await;
        let (broken, _) = ask("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
        assert!(moved.is_ok(), "{moved:?}");
        let said = broken.expect_err("503").to_string();
        assert!(said.contains("HTTP status 503"), "{said}");
    }

    #[tokio::test]
    async fn what_is_not_http_or_breaks_off_fails() {
        for answer in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        ] {
            let (failed, _) = ask(answer).await;
            assert!(
                matches!(failed, Err(Failing::Http { .. })),
                "{answer}: {failed:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_fails_in_time() {
        let (_listener, at) = listen().await;
        let failed = probe(&Probe::Http("/".to_owned()), at, PATIENCE).await;
        let said = failed.expect_err("silence").to_string();
        assert!(said.ends_with("no answer within 300ms"), "{said}");
    }
}
