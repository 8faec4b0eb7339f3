//! TLS as checks speak it: whom they trust, and what they make of a certificate.

use std::{fmt, fs, io, path::PathBuf, sync::Arc};

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use crate::config::Verify;

/// Who may vouch for a server. Two are the same if they trust the same certificates.
#[derive(Clone)]
pub struct Trust {
    /// Nothing where nobody has to.
    roots: Option<Vec<CertificateDer<'static>>>,
    client: Arc<ClientConfig>,
}

/// Why nobody can be trusted.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The file can't be read.
    #[error("{}: can't be read: {source}; name a readable file with `ca`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The file names nobody.
    #[error("{}: holds no certificate in PEM form; `ca` takes those of authorities", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The host names nobody.
    #[error("this host trusts no authority; install ca-certificates, or name a file with `ca`")]
    NoSystem,
    /// The library refuses.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
}

impl Trust {
    /// Whom a check trusts that asks this of certificates. Reads files.
    pub fn load(verify: &Verify) -> Result<Self, TrustError> {
        let roots = match verify {
            Verify::Nothing => None,
            Verify::System => Some(system()?),
            Verify::File(path) => Some(file(path)?),
        };
        let client = Arc::new(client(roots.as_deref())?);
        Ok(Self { roots, client })
    }

    /// Speaks TLS over a connection, and offers one protocol (RFC 7301).
    pub async fn connect(
        &self,
        stream: TcpStream,
        name: ServerName<'static>,
        protocol: &[u8],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut client = ClientConfig::clone(&self.client);
        client.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(client))
            .connect(name, stream)
            .await
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.roots == other.roots
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.roots {
            Some(roots) => write!(f, "{} authorities", roots.len()),
            None => f.write_str("everybody"),
        }
    }
}

fn system() -> Result<Vec<CertificateDer<'static>>, TrustError> {
    // One bad file among those of the host is no reason to trust none of the others.
    let found = rustls_native_certs::load_native_certs().certs;
    Some(found)
        .filter(|found| !found.is_empty())
        .ok_or(TrustError::NoSystem)
}

fn file(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let path = path.to_owned();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(source) => return Err(TrustError::Read { path, source }),
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or(TrustError::NoCertificate { path })
}

fn client(roots: Option<&[CertificateDer<'static>]>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut client = match roots {
        Some(roots) => {
            let mut store = RootCertStore::empty();
            let _unreadable = store.add_parsable_certificates(roots.iter().cloned());
            builder.with_root_certificates(store).with_no_client_auth()
        }
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth(),
    };
    // A resumed session would not show that the server still has its key.
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// Takes any certificate, also one that has expired or is for another name.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_or_holds_no_certificate_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        let refused = || {
            Trust::load(&Verify::File(path.clone()))
                .expect_err("refused")
                .to_string()
        };
        assert!(refused().contains("ca.pem: can't be read"), "{}", refused());
        for text in [
            "",
            "nothing",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            fs::write(&path, text).expect("written");
            assert!(
                refused().contains("ca.pem: holds no certificate"),
                "{}",
                refused()
            );
        }
    }

    #[test]
    fn trust_in_a_file_follows_its_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        let load = || {
            let made = rcgen::generate_simple_self_signed(["shop".to_owned()]).expect("made");
            fs::write(&path, made.cert.pem()).expect("written");
            let load = || Trust::load(&Verify::File(path.clone())).expect("a certificate");
            (load(), load())
        };
        let ((one, same), (other, _)) = (load(), load());
        assert!(one == same && one != other);
    }
}
