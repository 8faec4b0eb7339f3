//! curl as a client.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::{command::run, http::Answer, netns::Namespace};

/// What curl brought home.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// How long it took, in seconds.
    pub took_s: f64,
}

impl Fetched {
    /// Who answered, where the body says so.
    pub fn answer(&self) -> Option<Answer> {
        Answer::from_body(self.body.as_bytes()).ok()
    }
}

/// `curl URL` from one of the clients' addresses, with more arguments if wanted.
pub fn curl(from: &Namespace, source: IpAddr, url: &str, more: &[&str]) -> Result<Fetched> {
    let mut command = from.command("curl");
    command.args(["--silent", "--show-error", "--globoff", "--max-time", "10"]);
    command.args(["--interface", &source.to_string()]);
    // After the body, on a line of its own.
    command.args(["--write-out", "\n%{http_code} %{time_total}"]);
    let text = run(command.args(more).arg(url))?;
    parse(&text).with_context(|| format!("curl wrote: {text}"))
}

fn parse(text: &str) -> Option<Fetched> {
    let (body, written) = text.rsplit_once('\n')?;
    let (status, took_s) = written.split_once(' ')?;
    Some(Fetched {
        status: status.parse().ok()?,
        body: body.to_owned(),
        took_s: took_s.parse().ok()?,
    })
}
