//! What is served over TCP: everything that can be read, and nothing that is changed by it.

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, StatusCode},
    routing::IntoMakeService,
};

use super::server::{Failure, Shared, not_allowed, reading, unknown};
use crate::dataplane::Dataplane;

/// The routes for those whom nobody knows.
pub fn read_only<D: Dataplane + 'static>(shared: Arc<Shared<D>>) -> IntoMakeService<Router> {
    reading()
        .fallback(elsewhere)
        .method_not_allowed_fallback(not_allowed)
        .with_state(shared)
        .into_make_service()
}

async fn elsewhere(method: Method) -> Failure {
    if matches!(method, Method::GET | Method::HEAD) {
        return unknown().await;
    }
    let detail = "no order is taken over TCP; give it at the daemon's socket, with `serin` or \
                  `curl --unix-socket`";
    Failure {
        status: StatusCode::FORBIDDEN,
        detail: detail.to_owned(),
    }
}
