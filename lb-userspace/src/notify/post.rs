//! One attempt to tell a target.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, Uri, body::Bytes, header};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::rustls::pki_types::ServerName;

use super::{
    message::{self, Host},
    pause,
    secret::{SecretError, sign},
};
use crate::{
    config::{Notify, Verify},
    health::{Trust, TrustError},
    http::{self, Body, HTTP_1},
    journal::Entry,
};

/// How long an attempt may take, from the name's resolution to the answer's end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is read, so that the server sees an orderly end; its bytes don't matter.
const ANSWER_BYTES: usize = 64 << 10;

/// Why an attempt has failed.
#[derive(Debug, Error)]
pub enum Failed {
    /// No connection.
    #[error("no connection: {0}; see whether it runs, and whether a firewall lets serin through")]
    Connect(io::Error),
    /// Nobody can be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No TLS, or a certificate that will not do.
    #[error("TLS: {0}; if an authority of your own signs its certificate, name it with `ca`")]
    Tls(io::Error),
    /// It can't be signed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No answer, or none of HTTP.
    #[error("no HTTP answer: {0}; see whether `url` names a server of HTTP")]
    Http(Box<dyn std::error::Error + Send + Sync>),
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
    let stream = connect(&target.url).await.map_err(Failed::Connect)?;
    let response = if target.url.scheme_str() == Some("https") {
        let stream = secure(target, stream).await?;
        http::exchange(stream, request, ANSWER_BYTES).await
    } else {
        http::exchange(stream, request, ANSWER_BYTES).await
    };
    // The status has been heard, however the body ends.
    judge(&response.map_err(Failed::Http)?)
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
    let request = request.body(Full::new(body.into()));
    request.map_err(|error| Failed::Http(error.into()))
}

/// The host as a certificate or the resolver has it.
fn name(url: &Uri) -> &str {
    url.host().unwrap_or_default().trim_matches(['[', ']'])
}

async fn connect(url: &Uri) -> io::Result<TcpStream> {
    let default = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    TcpStream::connect((name(url), url.port_u16().unwrap_or(default))).await
}

async fn secure(
    target: &Notify,
    stream: TcpStream,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Failed> {
    let verify = target.ca.clone().map_or(Verify::System, Verify::File);
    // Files again each time, which an authority may have replaced.
    let trust = spawn_blocking(move || Trust::load(&verify)).await;
    let trust = trust.map_err(|error| Failed::Tls(io::Error::other(error)))??;
    let name = ServerName::try_from(name(&target.url).to_owned());
    let name = name.map_err(|error| Failed::Tls(io::Error::other(error)))?;
    let stream = trust.connect(stream, name, HTTP_1).await;
    stream.map_err(Failed::Tls)
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
