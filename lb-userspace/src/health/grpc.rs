//! The gRPC health check, `grpc.health.v1.Health/Check` (grpc/doc/health-checking.md), over HTTP/2
//! (grpc/doc/PROTOCOL-HTTP2.md). Its two messages have one field each, so they are written and read
//! here by hand (protobuf.dev/programming-guides/encoding).

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    client::conn::http2,
    header::{CONTENT_TYPE, TE, USER_AGENT},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

/// An answer is a message of a few bytes; a longer one is none of ours.
const ANSWER_BYTES: usize = 4 << 10;
/// A message's head: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;
/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// Why a server does not call itself serving.
#[derive(Debug, Error)]
pub enum NotServing {
    /// It says another thing.
    #[error("gRPC health {0}")]
    Says(&'static str),
    /// The call failed.
    #[error("gRPC status {code}{}", said(.message))]
    Status {
        /// By number (grpc/doc/statuscodes.md).
        code: String,
        /// Its own words.
        message: String,
    },
    /// It does not speak gRPC.
    #[error("no gRPC answer: {0}")]
    NoAnswer(Box<dyn std::error::Error + Send + Sync>),
}

fn said(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!(": {text}")
}

/// Asks over a connection whether `service` serves.
pub async fn check<S>(
    stream: S,
    authority: &str,
    tls: bool,
    service: &str,
) -> Result<(), NotServing>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let called = call(stream, authority, tls, service).await;
    let (headers, answer) = called.map_err(NotServing::NoAnswer)?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match header("grpc-status") {
        Some("0") => {}
        Some(code) => {
            return Err(NotServing::Status {
                code: code.to_owned(),
                message: header("grpc-message").unwrap_or_default().to_owned(),
            });
        }
        None => return Err(NotServing::NoAnswer("no grpc-status".into())),
    }
    match status(&answer) {
        Some(SERVING) => Ok(()),
        Some(0) => Err(NotServing::Says("UNKNOWN")),
        Some(2) => Err(NotServing::Says("NOT_SERVING")),
        Some(3) => Err(NotServing::Says("SERVICE_UNKNOWN")),
        Some(_) | None => Err(NotServing::NoAnswer("not a HealthCheckResponse".into())),
    }
}

/// Headers and trailers of the answer, and its body.
async fn call<S>(
    stream: S,
    authority: &str,
    tls: bool,
    service: &str,
) -> Result<(HeaderMap, Bytes), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let scheme = if tls { "https" } else { "http" };
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!(
            "{scheme}://{authority}/grpc.health.v1.Health/Check"
        ))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, "serin")
        .body(Full::new(Bytes::from(request(service))))?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // Dropped, it ends the connection.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    if !head.status.is_success() {
        return Err(format!("HTTP status {}", head.status).into());
    }
    let body = Limited::new(body, ANSWER_BYTES).collect().await?;
    let mut headers = head.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    Ok((headers, body.to_bytes()))
}

/// A `HealthCheckRequest` with its head: field 1 is the service, left out where it is empty.
fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEAD_BYTES + 3 + service.len());
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        push_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.append(&mut message);
    framed
}

fn push_varint(to: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        to.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    to.push(u8::try_from(number).unwrap_or(0));
}

/// Field 1 of a `HealthCheckResponse` with its head, which is 0 if it is left out.
fn status(answer: &[u8]) -> Option<u64> {
    let (head, mut message) = answer.split_at_checked(HEAD_BYTES)?;
    let length = u32::from_be_bytes(head.get(1..)?.try_into().ok()?);
    if head.first() != Some(&0) || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = take_varint(&mut message)?,
            (_, wire_type) => skip(&mut message, wire_type)?,
        }
    }
    Some(status)
}

/// Passes over a field that a later version may have.
fn skip(message: &mut &[u8], wire_type: u64) -> Option<()> {
    let length = match wire_type {
        0 => {
            take_varint(message)?;
            0
        }
        1 => 8,
        2 => usize::try_from(take_varint(message)?).ok()?,
        5 => 4,
        _ => return None,
    };
    *message = message.get(length..)?;
    Some(())
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_names_its_service_in_field_1_and_no_service_by_nothing() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = request(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn an_answer_is_field_1_whatever_stands_beside_it() {
        assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(status(&[0, 0, 0, 0, 6, 0x12, 2, 8, 1, 8, 2]), Some(2));
    }

    #[test]
    fn what_is_compressed_cut_short_or_too_long_is_no_answer() {
        for answer in [
            &[1, 0, 0, 0, 2, 8, 1][..],
            &[0, 0, 0, 0, 2, 8],
            &[0, 0, 0, 0, 1, 8, 1],
            &[0, 0, 0, 0, 2, 8, 0x81],
            &[0, 0, 0, 0, 2, 0x12, 9],
            &[0, 0, 0, 0, 1, 0x0b],
            &[0, 0, 0],
        ] {
            assert_eq!(status(answer), None, "{answer:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _read = status(&answer);
        }

        #[test]
        fn what_was_written_as_a_varint_is_read(number: u32) {
            let mut written = Vec::new();
            push_varint(&mut written, number as usize);
            prop_assert_eq!(take_varint(&mut written.as_slice()), Some(number.into()));
        }
    }
}
