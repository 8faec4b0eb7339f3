//! As much HTTP/1.1 as the harness speaks to itself, and the answer that servers give.

use std::net::IpAddr;

use crate::failure::Failure;

/// What a client sends.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Who answered, and whom it saw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The version of the service: `v1`.
    pub version: String,
    /// The name of the server: `b1`.
    pub backend: String,
    /// The client's address, as the server saw it.
    pub client: IpAddr,
}

impl Answer {
    /// The body that says so: `v1 b1 10.71.1.1`.
    pub fn body(&self) -> String {
        let Self {
            version,
            backend,
            client,
        } = self;
        format!("{version} {backend} {client}")
    }

    /// Reads a body, be it ours or that of another program that was told to write alike.
    pub fn from_body(body: &[u8]) -> Result<Self, Failure> {
        let text = str::from_utf8(body).map_err(|_| Failure::Malformed)?;
        let mut words = text.split_whitespace();
        let (Some(version), Some(backend), Some(client)) =
            (words.next(), words.next(), words.next())
        else {
            return Err(Failure::Malformed);
        };
        let client: IpAddr = client.parse().map_err(|_| Failure::Malformed)?;
        Ok(Self {
            version: version.to_owned(),
            backend: backend.to_owned(),
            client: client.to_canonical(),
        })
    }

    /// The whole response.
    pub fn response(&self) -> Vec<u8> {
        let body = self.body();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// The length of the first request in the bytes, once its head is complete. Our requests have no body.
pub fn request_length(bytes: &[u8]) -> Option<usize> {
    Some(find(bytes, END_OF_HEAD)? + END_OF_HEAD.len())
}

/// The answer that the bytes hold; nothing while it is incomplete.
pub fn parse_response(bytes: &[u8]) -> Result<Option<Answer>, Failure> {
    let Some(end) = request_length(bytes) else {
        return Ok(None);
    };
    let (head, rest) = bytes.split_at(end);
    let head = str::from_utf8(head).map_err(|_| Failure::Malformed)?;
    let status = status(head).ok_or(Failure::Malformed)?;
    if status != 200 {
        return Err(Failure::Status(status));
    }
    let length = content_length(head).ok_or(Failure::Malformed)?;
    match rest.get(..length) {
        Some(body) => Answer::from_body(body).map(Some),
        None => Ok(None),
    }
}

fn status(head: &str) -> Option<u16> {
    head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn content_length(head: &str) -> Option<usize> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer {
            version: "v1".to_owned(),
            backend: "b1".to_owned(),
            client: "fd71:0:0:1::1".parse().expect("an address"),
        }
    }

    #[test]
    fn a_response_is_read_only_when_it_is_whole() {
        let bytes = answer().response();

        for end in 0..bytes.len() {
            assert_eq!(parse_response(&bytes[..end]), Ok(None), "{end} bytes");
        }
        assert_eq!(parse_response(&bytes), Ok(Some(answer())));
    }

    #[test]
    fn an_error_status_is_a_failure() {
        let bytes = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

        assert_eq!(parse_response(bytes), Err(Failure::Status(503)));
    }

    #[test]
    fn what_is_not_http_is_malformed() {
        assert_eq!(parse_response(b"hello\r\n\r\n"), Err(Failure::Malformed));
    }

    #[test]
    fn a_client_mapped_into_ipv6_is_the_ipv4_client() {
        let answer = Answer::from_body(b"v1 b1 ::ffff:10.71.1.1\n").expect("an answer");

        assert_eq!(answer.client.to_string(), "10.71.1.1");
    }
}
