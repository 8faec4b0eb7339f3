//! Asks one address of a backend, once.

use std::{io, net::SocketAddr, time::Duration};

use hyper::{StatusCode, http::uri::Authority};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::rustls::pki_types::ServerName;

use super::{
    grpc::{self, NotServing},
    tls::Trust,
};
use crate::{
    config::{GrpcProbe, HttpProbe, Probe},
    http::{self, Answer, Failure, HTTP_1},
};

/// How much of an answer is read, so that the server sees an orderly end; its bytes don't matter.
const ANSWER_BYTES: usize = 64 << 10;
/// By the IANA's list of application-layer protocols.
const HTTP_2: &[u8] = b"h2";

/// A probe that is ready to be made: with those whom it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prober {
    probe: Probe,
    /// Only with TLS; else why nobody can be trusted.
    trust: Option<Result<Trust, String>>,
}

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
    /// Nobody can be trusted.
    #[error("{0}")]
    Trust(String),
    /// No TLS, or a certificate that will not do.
    #[error("{at}: TLS: {source}")]
    Tls {
        /// The address.
        at: SocketAddr,
        /// What is wrong.
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
    /// No word, or not the right one, by gRPC.
    #[error("{at}: {source}")]
    Grpc {
        /// The address.
        at: SocketAddr,
        /// What is wrong.
        source: NotServing,
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

impl Prober {
    /// Makes a probe ready. Reads files where it trusts those that a file names.
    pub fn new(probe: &Probe) -> Self {
        let trust = |verify| Trust::load(verify).map_err(|error| error.to_string());
        Self {
            probe: probe.clone(),
            trust: probe.tls().map(trust),
        }
    }

    /// Asks one address, and gives it so long. An answer is whole, or none.
    pub async fn ask(&self, at: SocketAddr, patience: Duration) -> Result<(), Failing> {
        let answered = timeout(patience, async {
            let stream = TcpStream::connect(at).await;
            let stream = stream.map_err(|source| Failing::Connect { at, source })?;
            match &self.probe {
                Probe::Tcp => Ok(()),
                Probe::Http(http) => self.http(stream, at, http).await,
                Probe::Grpc(grpc) => self.grpc(stream, at, grpc).await,
            }
        });
        let timed_out = Failing::TimedOut { at, patience };
        answered.await.unwrap_or(Err(timed_out))
    }

    async fn http(
        &self,
        stream: TcpStream,
        at: SocketAddr,
        http: &HttpProbe,
    ) -> Result<(), Failing> {
        let host = http.host.as_deref();
        let status = match &self.trust {
            None => request(stream, at, http).await,
            Some(trust) => request(tls(trust, stream, at, host, HTTP_1).await?, at, http).await,
        };
        let status = status.map_err(|source| Failing::Http { at, source })?;
        if http.status.contains(status.as_u16()) {
            return Ok(());
        }
        Err(Failing::Status { at, status })
    }

    async fn grpc(
        &self,
        stream: TcpStream,
        at: SocketAddr,
        grpc: &GrpcProbe,
    ) -> Result<(), Failing> {
        let host = grpc.host.as_deref();
        let authority = authority(host, at);
        let service = &grpc.service;
        let serves = match &self.trust {
            None => grpc::check(stream, &authority, false, service).await,
            Some(trust) => {
                let stream = tls(trust, stream, at, host, HTTP_2).await?;
                grpc::check(stream, &authority, true, service).await
            }
        };
        serves.map_err(|source| Failing::Grpc { at, source })
    }
}

/// Whom a request is for.
fn authority(host: Option<&str>, at: SocketAddr) -> String {
    host.map_or_else(|| at.to_string(), str::to_owned)
}

async fn tls(
    trust: &Result<Trust, String>,
    stream: TcpStream,
    at: SocketAddr,
    host: Option<&str>,
    protocol: &[u8],
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Failing> {
    let trust = trust.as_ref().map_err(|why| Failing::Trust(why.clone()))?;
    let name = server_name(host).unwrap_or(ServerName::IpAddress(at.ip().into()));
    let stream = trust.connect(stream, name, protocol).await;
    stream.map_err(|source| Failing::Tls { at, source })
}

/// The name that a certificate must bear; that of a host with a port is without it.
fn server_name(host: Option<&str>) -> Option<ServerName<'static>> {
    let authority: Authority = host?.parse().ok()?;
    let name = authority.host().trim_matches(['[', ']']).to_owned();
    ServerName::try_from(name).ok()
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    at: SocketAddr,
    probe: &HttpProbe,
) -> Result<StatusCode, Failure> {
    let request = http::get(&probe.path, &authority(probe.host.as_deref(), at))?;
    let response = http::exchange(stream, request, ANSWER_BYTES).await?;
    Answer::of(response).map(|answer| answer.status)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    use crate::config::{Statuses, Verify};

    const PATIENCE: Duration = Duration::from_millis(300);

    fn http(path: &str, adjust: impl FnOnce(&mut HttpProbe)) -> Prober {
        let mut http = HttpProbe {
            path: path.to_owned(),
            host: None,
            status: Statuses::default(),
            tls: None,
        };
        adjust(&mut http);
        Prober::new(&Probe::Http(http))
    }

    fn grpc(service: &str, tls: Option<Verify>) -> Prober {
        Prober::new(&Probe::Grpc(GrpcProbe {
            service: service.to_owned(),
            host: None,
            tls,
        }))
    }

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        (listener, at)
    }

    /// Asks a server that gives this answer, and returns what it was asked.
    async fn ask(answer: &'static str) -> (Result<(), Failing>, String) {
        ask_by(&http("/healthz", |_| ()), answer).await
    }

    async fn ask_by(prober: &Prober, answer: &'static str) -> (Result<(), Failing>, String) {
        let (listener, at) = listen().await;
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut asked = vec![0; 1024];
            let length = stream.read(&mut asked).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("sent");
            asked.truncate(length);
            String::from_utf8_lossy(&asked).into_owned()
        };
        tokio::join!(prober.ask(at, PATIENCE), serve)
    }

    #[tokio::test]
    async fn tcp_passes_where_somebody_listens_and_fails_where_nobody_does() {
        let (listener, at) = listen().await;
        assert!(Prober::new(&Probe::Tcp).ask(at, PATIENCE).await.is_ok());
        drop(listener);
        let refused = Prober::new(&Probe::Tcp)
            .ask(at, PATIENCE)
            .await
            .expect_err("closed");
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
        let failed = http("/", |_| ()).ask(at, PATIENCE).await;
        let said = failed.expect_err("silence").to_string();
        assert!(said.ends_with("no answer within 300ms"), "{said}");
    }

    #[tokio::test]
    async fn a_host_and_good_statuses_may_be_named() {
        let strict = http("/healthz", |http| {
            http.host = Some("shop.example.net:81".to_owned());
            http.status = Statuses(vec![204..=204, 500..=503]);
        });
        for (answer, passes) in [
            ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false),
        ] {
            let (result, asked) = ask_by(&strict, answer).await;
            assert_eq!(result.is_ok(), passes, "{result:?}");
            assert!(
                asked
                    .to_ascii_lowercase()
                    .contains("\r\nhost: shop.example.net:81\r\n"),
                "{asked}"
            );
        }
    }

    /// A server with a certificate of its own for `shop.example.net`, and the file that vouches for
    /// it. It answers one request with 200, and tells the name that it was asked by.
    async fn over_tls(
        prober: impl FnOnce(std::path::PathBuf) -> Prober,
    ) -> (Result<(), Failing>, Option<String>) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        let made =
            rcgen::generate_simple_self_signed(["shop.example.net".to_owned()]).expect("made");
        std::fs::write(&path, made.cert.pem()).expect("written");
        let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(
            made.signing_key.serialize_der(),
        );
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(
            std::sync::Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()),
        )
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"))
        .expect("a pair");
        let (listener, at) = listen().await;
        let serve = async {
            let (stream, _) = listener.accept().await.expect("a client");
            let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
            let mut stream = acceptor.accept(stream).await.ok()?;
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            let mut asked = vec![0; 1024];
            let _length = stream.read(&mut asked).await.ok()?;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.ok()?;
            stream.shutdown().await.ok()?;
            name
        };
        let prober = prober(path);
        tokio::join!(prober.ask(at, Duration::from_secs(5)), serve)
    }

    fn https(host: Option<&str>, verify: Verify) -> Prober {
        http("/", |http| {
            http.host = host.map(str::to_owned);
            http.tls = Some(verify);
        })
    }

    #[tokio::test]
    async fn https_passes_without_a_look_at_the_certificate_unless_asked() {
        let (passed, name) = over_tls(|_| https(None, Verify::Nothing)).await;
        assert!(passed.is_ok() && name.is_none(), "{passed:?} {name:?}");
        let (passed, name) = over_tls(|_| https(Some("other:81"), Verify::Nothing)).await;
        assert!(passed.is_ok(), "{passed:?}");
        assert_eq!(name.as_deref(), Some("other"), "the name without the port");
    }

    #[tokio::test]
    async fn a_certificate_must_be_vouched_for_and_bear_the_name_where_that_is_asked() {
        let host = Some("shop.example.net");
        let (passed, _) = over_tls(|ca| https(host, Verify::File(ca))).await;
        assert!(passed.is_ok(), "{passed:?}");
        let (other_name, _) =
            over_tls(|ca| https(Some("shop.example.org"), Verify::File(ca))).await;
        let (no_name, _) = over_tls(|ca| https(None, Verify::File(ca))).await;
        let (unknown, _) = over_tls(|ca| {
            let other = rcgen::generate_simple_self_signed(["x".to_owned()]).expect("made");
            std::fs::write(&ca, other.cert.pem()).expect("written");
            https(host, Verify::File(ca))
        })
        .await;
        for failed in [other_name, no_name, unknown] {
            let said = failed.expect_err("a wrong certificate").to_string();
            assert!(said.contains(": TLS: invalid peer certificate"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_server_without_tls_fails_over_tls_and_one_without_grpc_by_grpc() {
        let plain = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        let (tls, _) = ask_by(&https(None, Verify::Nothing), plain).await;
        let said = tls.expect_err("no TLS").to_string();
        assert!(said.contains(": TLS: "), "{said}");
        let (grpc, _) = ask_by(&grpc("", None), plain).await;
        let said = grpc.expect_err("no gRPC").to_string();
        assert!(said.contains(": no gRPC answer: "), "{said}");
    }

    #[tokio::test]
    async fn nobody_is_asked_where_nobody_can_be_trusted() {
        let (_listener, at) = listen().await;
        let prober = https(None, Verify::File("/nonexistent/ca.pem".into()));
        let said = prober
            .ask(at, PATIENCE)
            .await
            .expect_err("no trust")
            .to_string();
        assert!(
            said.starts_with("/nonexistent/ca.pem: can't be read"),
            "{said}"
        );
    }
}
