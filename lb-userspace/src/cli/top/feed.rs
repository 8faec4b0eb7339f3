//! What the daemon tells each second; it may go and come again.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

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
    /// It did not answer last.
    lost: bool,
}

impl Feed {
    pub fn new(client: &Client, service: Option<String>) -> Self {
        Self {
            client: client.clone(),
            service,
            after: 0,
            events: None,
            lost: false,
        }
    }

    /// The first second; of the first service, if none was named.
    pub async fn first(&mut self) -> Result<Told, ClientError> {
        let refused = |detail: String| ClientError::Refused {
            detail,
            usage: false,
        };
        if self.service.is_none() {
            let told = self.told().await?;
            let first = told.services.iter().flatten().next();
            let first = first.ok_or_else(|| refused("no service is configured".to_owned()))?;
            self.turn_to(first.line.service.clone());
        }
        let told = self.told().await?;
        if let (None, None, Some(service)) = (&told.detail, &told.problem, &self.service) {
            return Err(refused(format!(
                "service `{service}`: there is none of this name; `serin list` shows them"
            )));
        }
        Ok(told)
    }

    /// The next second; to give up waiting for it loses nothing.
    pub async fn next(&mut self) -> Result<Told, ClientError> {
        if self.lost {
            sleep(AGAIN).await;
        }
        let told = self.told().await;
        self.lost = told.is_err();
        if self.lost {
            self.events = None;
        }
        told
    }

    /// Tells of another service from now on.
    pub fn turn_to(&mut self, service: String) {
        (self.service, self.after, self.events) = (Some(service), 0, None);
    }

    async fn told(&mut self) -> Result<Told, ClientError> {
        let events = match &mut self.events {
            Some(events) => events,
            None => {
                let service = self.service.as_deref();
                let service = service.map_or_else(String::new, |service| {
                    format!("&service={}", escape(service))
                });
                let path = format!("/v1/stream?after={}{service}", self.after);
                self.events.insert(self.client.listen(&path).await?)
            }
        };
        let told: Told = events.next().await?;
        self.after = told.events.last().map_or(self.after, |entry| entry.seq);
        Ok(told)
    }
}
