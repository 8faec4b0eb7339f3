//! `/v1/stream`: what the dashboard shows, as server-sent events.

mod feed;
mod model;

pub use self::{
    feed::Feed,
    model::{Curve, Curves, Detail, Latency, StreamQuery, Summary},
};

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::sse::{Event, KeepAlive, Sse},
    routing::get,
};
use futures_util::stream::{Stream, unfold};
use tokio::sync::OwnedSemaphorePermit;

use super::server::{Core, Failure, Shared};
use crate::dataplane::Dataplane;

/// After which a browser that has lost the daemon looks for it again.
const RETRY: Duration = Duration::from_secs(1);

/// The route.
pub(super) fn routes<D: Dataplane + 'static>() -> Router<Arc<Shared<D>>> {
    Router::new().route("/v1/stream", get(stream))
}

async fn stream<D: Dataplane + 'static>(
    State(shared): Core<D>,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let Query(StreamQuery { service, after }) = query?;
    let place = shared.feed.place().ok_or_else(full)?;
    let seen = headers.get("last-event-id");
    let seen = seen.and_then(|seen| seen.to_str().ok()?.parse().ok());
    let page = Page {
        shared,
        service,
        after: seen.unwrap_or(after),
        second: None,
        _place: place,
    };
    let events = unfold(page, |mut page| async move {
        let event = page.next().await;
        Some((Ok(event), page))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn full() -> Failure {
    Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        detail: "as many pages are open as there may be; close one".to_owned(),
    }
}

/// Who listens.
struct Page<D> {
    shared: Arc<Shared<D>>,
    service: Option<String>,
    /// Number of the newest entry of the log that it has.
    after: u64,
    /// What it was told last.
    second: Option<u64>,
    _place: OwnedSemaphorePermit,
}

impl<D: Dataplane> Page<D> {
    /// Comes once a second; a page that reads more slowly misses some.
    async fn next(&mut self) -> Event {
        let mut event = Event::default();
        match self.second {
            Some(second) => self.shared.feed.tick(second).await,
            None => event = event.retry(RETRY),
        }
        let service = self.service.as_deref();
        let feed = &self.shared.feed;
        let view = feed.read(&self.shared, service, self.after).await;
        self.second = Some(view.second);
        self.after = view.last;
        event.id(view.last.to_string()).data(view.text)
    }
}
