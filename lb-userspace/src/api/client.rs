//! The command line's side of the socket.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::net::UnixStream;

use super::model::Problem;

/// Why there is no answer, or a bad one.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "socket {}: the daemon can't be reached: {source}; \
         start it with `serin run`, or name its socket with --socket", path.display()
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("socket {}: the daemon broke off: {source}; see its log", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon said no.
    #[error("{detail}")]
    Refused {
        /// Object and remedy.
        detail: String,
        /// The order itself can't be right, whatever the state.
        usage: bool,
    },
}

/// A client of one daemon.
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon behind this socket.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Asks for a resource.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// Gives an order.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call(Method::POST, path, self.body(order)?).await
    }

    /// Replaces something.
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call(Method::PUT, path, self.body(order)?).await
    }

    fn body(&self, order: &impl Serialize) -> Result<Bytes, ClientError> {
        serde_json::to_vec(order)
            .map(Bytes::from)
            .map_err(|error| self.broken(error))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| ClientError::Unreachable {
                    path: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "serin")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.broken(error))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| self.broken(error))?;
        let body = body.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.broken(error));
        }
        let problem: Problem = serde_json::from_slice(&body).map_err(|error| self.broken(error))?;
        let usage = status == StatusCode::UNPROCESSABLE_ENTITY;
        Err(ClientError::Refused {
            detail: problem.detail,
            usage,
        })
    }

    fn broken(&self, error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
        ClientError::Broken {
            path: self.socket.clone(),
            source: Box::new(error),
        }
    }
}
