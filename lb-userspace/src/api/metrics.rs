//! `/metrics`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::task::yield_now;

use super::server::{Core, Failure, Shared};
use crate::{
    control::ControlError,
    dataplane::{Dataplane, kernel::now},
    metrics::{CLASSIC, OPEN_METRICS, Page},
};

/// The route.
pub(super) fn routes<D: Dataplane + 'static>() -> Router<Arc<Shared<D>>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics<D: Dataplane>(
    State(shared): Core<D>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let page = read(&shared).await?;
    let accepted = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let (kind, text) = if accepted.is_some_and(|it| it.contains("application/openmetrics-text")) {
        (OPEN_METRICS, page.open_metrics())
    } else {
        (CLASSIC, page.classic())
    };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// A service at a time, between which whatever else is due has its turn: no order waits for a thousand.
async fn read<D: Dataplane>(shared: &Shared<D>) -> Result<Page, ControlError> {
    let mut page = Page::default();
    let mut host = shared.control().host_metrics()?;
    host.status.notify = shared.board.read();
    page.add_host(&host);
    let names = shared.control().service_names();
    for name in names {
        match shared.control().service_metrics(&name, now()) {
            Ok(service) => page.add_service(&service),
            // It may have gone since.
            Err(ControlError::State(_)) => {}
            Err(error) => return Err(error),
        }
        yield_now().await;
    }
    Ok(page)
}
