//! A certificate for `127.0.0.1` that vouches for itself, for tests of what asks over TLS.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::CertifiedKey;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use crate::config::Verify;

/// A server's certificate, and the file of its authority; gone when dropped.
pub struct Authority {
    directory: TempDir,
    /// For the server.
    pub acceptor: TlsAcceptor,
}

impl Authority {
    /// Makes another one.
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let CertifiedKey { cert, signing_key } = made.expect("made");
        let directory = tempfile::tempdir().expect("a directory");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_no_client_auth();
        let server = builder.with_single_cert(vec![cert.der().clone()], key);
        let new = Self {
            directory,
            acceptor: TlsAcceptor::from(Arc::new(server.expect("a certificate and its key"))),
        };
        fs::write(new.file(), cert.pem()).expect("written");
        new
    }

    /// Its certificate's file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// That it has to vouch for a server.
    pub fn verify(&self) -> Verify {
        Verify::File(self.file())
    }

    /// Answers everybody who takes the certificate.
    pub async fn serve(&self, body: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                // A client that does not take it goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let _length = stream.read(&mut [0; 1024]).await.expect("a request");
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.expect("sent");
                stream.flush().await.expect("sent");
            }
        });
        at
    }
}
