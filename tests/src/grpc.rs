//! A gRPC server that has nothing but the standard health service, by tonic: not a line of it is
//! ours.

use std::net::Ipv6Addr;

use anyhow::Result;
use futures_util::FutureExt as _;
use tokio::{net::TcpListener, runtime};
use tonic::transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{certificate::Certificate, hosted::Hosted, topology::Backend};

/// The service whose health is told.
pub const SERVICE: &str = "shop.Cart";

/// A gRPC server in a backend's namespace, gone with its connections when dropped.
#[derive(Debug)]
pub struct GrpcServer {
    reporter: HealthReporter,
    _hosted: Hosted,
}

impl GrpcServer {
    /// Starts it at a port of the backend, over TLS if it has a certificate; [`SERVICE`] serves.
    pub fn start(backend: &Backend, port: u16, tls: Option<&Certificate>) -> Result<Self> {
        let (reporter, service) = tonic_health::server::health_reporter();
        let identity = tls.map(|certificate| {
            let (certificate, key) = certificate.pem();
            Identity::from_pem(certificate, key)
        });
        let hosted = Hosted::start(backend, "grpc", async move || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
            let mut server = Server::builder();
            if let Some(identity) = identity {
                server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
            }
            let serve = server
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener));
            // It ends only when it is dropped.
            Ok(serve.map(drop))
        })?;
        let server = Self {
            reporter,
            _hosted: hosted,
        };
        server.set_serving(true)?;
        Ok(server)
    }

    /// What it says of [`SERVICE`] from now on.
    pub fn set_serving(&self, serving: bool) -> Result<()> {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        let runtime = runtime::Builder::new_current_thread().build()?;
        runtime.block_on(self.reporter.set_service_status(SERVICE, status));
        Ok(())
    }
}
