//! A URL that is called once, over a connection of its own: in the clear, or by TLS with a server whom
//! an authority vouches for.

use std::io;

use http_body_util::Full;
use hyper::{Request, Response, Uri, body::Bytes};
use thiserror::Error;
use tokio::{net::TcpStream, task::spawn_blocking};
use tokio_rustls::{client::TlsStream, rustls::pki_types::ServerName};

use super::{Body, Failure, HTTP_1, exchange};
use crate::{
    config::Verify,
    health::{Trust, TrustError},
};

/// Why a URL has not answered.
#[derive(Debug, Error)]
pub enum Unanswered {
    /// No connection.
    #[error("no connection: {0}; see whether it runs, and whether a firewall lets serin through")]
    Connect(io::Error),
    /// Nobody can be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No TLS, or a certificate that will not do.
    #[error("TLS: {0}; if an authority of your own signs its certificate, name it with `ca`")]
    Tls(io::Error),
    /// No answer, or none of HTTP.
    #[error("no HTTP answer: {0}; see whether the URL names a server of HTTP")]
    Http(Failure),
}

/// Sends a request to a URL's host, and reads the answer and at most `limit` bytes of its body.
pub async fn call(
    url: &Uri,
    verify: &Verify,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Response<Body>, Unanswered> {
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((name(url), port)).await;
    let stream = stream.map_err(Unanswered::Connect)?;
    let response = if secure {
        let stream = encrypt(stream, name(url), verify.clone()).await?;
        exchange(stream, request, limit).await
    } else {
        exchange(stream, request, limit).await
    };
    response.map_err(Unanswered::Http)
}

/// The host as a certificate or the resolver has it.
fn name(url: &Uri) -> &str {
    url.host().unwrap_or_default().trim_matches(['[', ']'])
}

async fn encrypt(
    stream: TcpStream,
    name: &str,
    verify: Verify,
) -> Result<TlsStream<TcpStream>, Unanswered> {
    // Files again each time, which an authority may have replaced.
    let trust = spawn_blocking(move || Trust::load(&verify)).await;
    let trust = trust.map_err(|error| Unanswered::Tls(io::Error::other(error)))??;
    let name = ServerName::try_from(name.to_owned());
    let name = name.map_err(|error| Unanswered::Tls(io::Error::other(error)))?;
    let stream = trust.connect(stream, name, HTTP_1).await;
    stream.map_err(Unanswered::Tls)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::net::TcpListener;

    use super::{
        super::{authority::Authority, get},
        *,
    };

    async fn called(url: &str, verify: &Verify) -> Result<u16, Unanswered> {
        let url: Uri = url.parse().expect("a URL");
        let request = get("/", "127.0.0.1").expect("a request");
        let response = call(&url, verify, request, 1024).await?;
        Ok(response.status().as_u16())
    }

    #[tokio::test]
    async fn a_server_is_called_whose_authority_is_trusted_and_no_other() {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let url = format!("https://{}/", authority.serve("").await);
        let good = called(&url, &authority.verify()).await;
        assert_eq!(good.expect("an answer"), 200);
        // The host trusts neither.
        for verify in [stranger.verify(), Verify::System] {
            let refused = called(&url, &verify).await.expect_err("who is that?");
            let Unanswered::Tls(why) = &refused else {
                panic!("{refused}");
            };
            assert!(
                why.to_string().contains("invalid peer certificate"),
                "{why}"
            );
            assert!(
                refused.to_string().ends_with("name it with `ca`"),
                "{refused}"
            );
        }
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_will_not_do() {
        let authority = Authority::new();
        let at = authority.serve("").await;
        let url = format!("https://localhost:{}/", at.port());
        let refused = called(&url, &authority.verify()).await;
        let refused = refused.expect_err("it is for 127.0.0.1").to_string();
        assert!(refused.contains("not valid for name"), "{refused}");
    }

    #[tokio::test]
    async fn what_else_keeps_a_url_from_an_answer_is_told_apart() {
        let authority = Authority::new();
        let at = authority.serve("").await;
        let missing = Verify::File(PathBuf::from("/nonexistent.pem"));
        let refused = called(&format!("https://{at}/"), &missing).await;
        assert!(matches!(refused, Err(Unanswered::Trust(_))), "{refused:?}");
        let clear = called(&format!("http://{at}/"), &Verify::System).await;
        assert!(matches!(clear, Err(Unanswered::Http(_))), "{clear:?}");
        let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = nobody.local_addr().expect("bound");
        drop(nobody);
        let refused = called(&format!("https://{at}/"), &authority.verify()).await;
        assert!(
            matches!(refused, Err(Unanswered::Connect(_))),
            "{refused:?}"
        );
    }
}
