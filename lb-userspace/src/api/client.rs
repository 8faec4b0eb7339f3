//! The command line's side of the socket.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
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
#[derive(Clone)]
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
        let response = self.ask(method, path, body).await?;
        let body = self.whole(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.broken(error))
    }

    /// What comes of a resource for as long as somebody listens.
    pub async fn listen(&self, path: &str) -> Result<Events, ClientError> {
        let response = self.ask(Method::GET, path, Bytes::new()).await?;
        Ok(Events {
            client: self.clone(),
            body: response.into_body(),
            text: Vec::new(),
        })
    }

    /// The answer, if it is a good one.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
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
        if status.is_success() {
            return Ok(response);
        }
        let body = self.whole(response).await?;
        let problem: Problem = serde_json::from_slice(&body).map_err(|error| self.broken(error))?;
        let usage = status == StatusCode::UNPROCESSABLE_ENTITY;
        Err(ClientError::Refused {
            detail: problem.detail,
            usage,
        })
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = response.into_body().collect().await;
        Ok(body.map_err(|error| self.broken(error))?.to_bytes())
    }

    fn broken(&self, error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
        ClientError::Broken {
            path: self.socket.clone(),
            source: Box::new(error),
        }
    }
}

/// Server-sent events (WHATWG HTML, section 9.2), of which the daemon sends the data in one line.
pub struct Events {
    client: Client,
    body: Incoming,
    /// What has come of lines that are not whole yet.
    text: Vec<u8>,
}

impl Events {
    /// The next; to give up waiting for it loses nothing.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        loop {
            if let Some(data) = data(&mut self.text) {
                return serde_json::from_slice(&data).map_err(|error| self.client.broken(error));
            }
            let frame = self.body.frame().await;
            let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
            let frame = frame.ok_or_else(|| self.client.broken(ended()))?;
            let frame = frame.map_err(|error| self.client.broken(error))?;
            if let Some(bytes) = frame.data_ref() {
                self.text.extend_from_slice(bytes);
            }
        }
    }
}

/// Takes whole lines off the text, up to the first that has data.
fn data(text: &mut Vec<u8>) -> Option<Vec<u8>> {
    while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
        let line: Vec<u8> = text.drain(..=end).collect();
        if let Some(data) = line.strip_prefix(b"data:") {
            return Some(data.to_vec());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_taken_off_whole_lines_alone() {
        let mut text = b"retry:1000\nid:7\nda".to_vec();
        assert_eq!(data(&mut text), None);
        text.extend(b"ta: {\"a\":1}\n\n: still here\n\ndata: 2");
        assert_eq!(data(&mut text).as_deref(), Some(&b" {\"a\":1}\n"[..]));
        assert_eq!(data(&mut text), None);
        assert_eq!(text, b"data: 2");
    }
}
