//! What the daemon tells each second; it may go and come again.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    api::{
        client::{Client, ClientError, Events},
        stream::{Detail, Summary},
    },
    cli::order::escape,
    journal::Entry,
};

/// When a daemon that does not answer is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// One second of `/v1/stream`.
#[derive(Debug, Deserialize)]
pub struct Told {
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// What of it could not be read, and why.
    pub problem: Option<String>,
    /// All services.
    pub services: Option<Vec<Summary>>,
    /// The one that is looked at; null if it is not there.
    pub detail: Option<Detail>,
    /// What the log has got.
    pub events: Vec<Entry>,
}

pub struct Feed {
    client: Client,
    service: Option<String>,
    /// Number of the newest entry of the log that has come.
    after: u64,
    events: Option<Events>,
    /// When it is tried again, where it did not answer last.
    again: Option<Instant>,
}

impl Feed {
    pub fn new(client: &Client, service: Option<String>) -> Self {
        Self {
            client: client.clone(),
            service,
            after: 0,
            events: None,
            again: None,
        }
    }

    /// The first second, and of which service; of the first one, if none was named.
    pub async fn first(&mut self) -> Result<(Told, String), ClientError> {
        let refused = |detail: String| ClientError::Refused {
            detail,
            usage: false,
        };
        if self.service.is_none() {
            let told = self.told().await?;
            if let Some(problem) = told.problem {
                return Err(refused(problem));
            }
            let first = told.services.iter().flatten().next();
            let first = first.ok_or_else(|| refused("no service is configured".to_owned()))?;
            self.turn_to(first.line.service.clone());
        }
        let told = self.told().await?;
        let service = self.service.clone().unwrap_or_default();
        if told.detail.is_none() && told.problem.is_none() {
            return Err(refused(format!(
                "service `{service}`: there is none of this name; `serin list` shows them"
            )));
        }
        Ok((told, service))
    }

    /// The next second; to give up waiting for it loses nothing.
    pub async fn next(&mut self) -> Result<Told, ClientError> {
        if let Some(again) = self.again {
            sleep_until(again).await;
        }
        let told = self.told().await;
        self.again = told.is_err().then(|| Instant::now() + AGAIN);
        if self.again.is_some() {
            self.events = None;
        }
        told
    }

    /// Tells of another service from now on.
    pub fn turn_to(&mut self, service: String) {
        (self.service, self.after, self.events) = (Some(service), 0, None);
        self.again = None;
    }

    async fn told(&mut self) -> Result<Told, ClientError> {
        let events = if let Some(events) = &mut self.events {
            events
        } else {
            let service = self.service.as_deref();
            let service = service.map_or_else(String::new, |service| {
                format!("&service={}", escape(service))
            });
            let path = format!("/v1/stream?after={}{service}", self.after);
            self.events.insert(self.client.listen(&path).await?)
        };
        let told: Told = events.next().await?;
        self.after = told.events.last().map_or(self.after, |entry| entry.seq);
        Ok(told)
    }
}
