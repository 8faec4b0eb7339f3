//! One attempt to tell a target.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, header};
use thiserror::Error;
use tokio::time::timeout;

use super::{
    message::{self, Host},
    pause,
    secret::{SecretError, sign},
};
use crate::{
    config::{Notify, Verify},
    http::{self, Body, Unanswered},
    journal::Entry,
};

/// How long an attempt may take, from the name's resolution to the answer's end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is read, so that the server sees an orderly end; its bytes don't matter.
const ANSWER_BYTES: usize = 64 << 10;

/// Why an attempt has failed.
#[derive(Debug, Error)]
pub enum Failed {
    /// No answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// It can't be signed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It can't be asked.
    #[error("no request: {0}; see whether `url` is one")]
    Request(#[from] hyper::http::Error),
    /// Nothing in time.
    #[error("no answer within {}", humantime::format_duration(PATIENCE))]
    TimedOut,
    /// It is elsewhere.
    #[error("{0}, a redirection, is not followed; write where it leads into `url`")]
    Elsewhere(StatusCode),
    /// It can't take it now.
    #[error("HTTP status {status}")]
    Busy {
        /// The answer's.
        status: StatusCode,
        /// How long it wants to be left alone.
        asked: Option<Duration>,
    },
    /// It will not take it.
    #[error("HTTP status {0}: it does not take this, and is not asked again")]
    Refused(StatusCode),
}

/// Tells a target of an entry, and waits for its answer.
pub async fn post(target: &Notify, host: &Host, entry: &Entry) -> Result<(), Failed> {
    let attempt = timeout(PATIENCE, attempt(target, host, entry));
    attempt.await.unwrap_or(Err(Failed::TimedOut))
}

async fn attempt(target: &Notify, host: &Host, entry: &Entry) -> Result<(), Failed> {
    let request = request(target, host, entry)?;
    let verify = Verify::by(target.ca.as_ref());
    let response = http::call(&target.url, &verify, request, ANSWER_BYTES).await;
    // The status has been heard, however the body ends.
    judge(&response?)
}

fn request(target: &Notify, host: &Host, entry: &Entry) -> Result<Request<Full<Bytes>>, Failed> {
    let body = message::body(target.format, host, entry);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = now.unwrap_or_default().as_secs();
    let id = host.id(entry);
    let path = target
        .url
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let mut request = Request::post(path)
        .header(
            header::HOST,
            target.url.authority().map_or("", |host| host.as_str()),
        )
        .header(
            header::USER_AGENT,
            concat!("serin/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, message::kind(target.format))
        .header("webhook-id", &id)
        .header("webhook-timestamp", time);
    if let Some(file) = &target.secret_file {
        // Read each time: a new secret is taken without a word.
        request = request.header("webhook-signature", sign(file, &id, time, &body)?);
    }
    Ok(request.body(Full::new(body.into()))?)
}

fn judge(response: &Response<Body>) -> Result<(), Failed> {
    let status = response.status();
    let asked = response.headers().get(header::RETRY_AFTER);
    let asked = asked.and_then(|header| pause::asked(header.to_str().ok()?, SystemTime::now()));
    match status {
        _ if status.is_success() => Ok(()),
        _ if status.is_redirection() => Err(Failed::Elsewhere(status)),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failed::Busy { status, asked })
        }
        _ if status.is_client_error() => Err(Failed::Refused(status)),
        _ => Err(Failed::Busy { status, asked }),
    }
}
