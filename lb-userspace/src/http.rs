//! One request and its answer over a connection of its own.

#[cfg(test)]
pub mod authority;
mod call;

pub use self::call::{Unanswered, call};

use std::error::Error;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

/// By the IANA's list of application-layer protocols.
pub const HTTP_1: &[u8] = b"http/1.1";

/// Why there was no answer.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What was read of a body: nothing if it was longer than asked for, or why it broke off.
pub type Body = Result<Option<Bytes>, Failure>;

/// An answer that did not break off.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Nothing if it was longer than asked for.
    pub body: Option<Bytes>,
}

impl Answer {
    /// What was read of an answer, if it is whole or was longer than asked for.
    pub fn of(response: Response<Body>) -> Result<Self, Failure> {
        let status = response.status();
        let body = response.into_body()?;
        Ok(Self { status, body })
    }
}

/// A request for a path of a host, after which the connection ends.
pub fn get(path: &str, host: &str) -> hyper::http::Result<Request<Full<Bytes>>> {
    Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "serin")
        .header(header::CONNECTION, "close")
        .body(Full::default())
}

/// Sends a request, and reads the answer and at most `limit` bytes of its body.
pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Response<Body>, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Dropped, it ends the connection.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(error) => Err(error),
    };
    Ok(Response::from_parts(head, body))
}
