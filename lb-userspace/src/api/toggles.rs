//! Toggles over the socket: which there are, and the order to turn one.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, State},
    routing::{get, put},
};
use serde::{Deserialize, Serialize};

use super::server::{Answer, Body, Core, Name, Shared, Who};
use crate::{
    dataplane::{Dataplane, kernel::now},
    journal::Actor,
};

/// A line of `serin toggle`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToggleStatus {
    /// The toggle.
    pub toggle: String,
    /// Whether it is on.
    pub on: bool,
    /// Since when, in RFC 3339 and UTC; null while it is as the file first had it.
    pub since: Option<String>,
    /// Who turned it last; null while nobody has.
    pub by: Option<Actor>,
    /// Why; null while nobody has turned it, and empty where that was not said.
    pub reason: Option<String>,
    /// What is there only while it is on.
    pub guards: Vec<Guard>,
}

/// A part of a service that a toggle guards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The service.
    pub service: String,
    /// `audience`, `listener` or `step`.
    pub kind: String,
    /// The audience's name, the listener as configured, or the step's number, counted from 1.
    pub name: String,
}

/// Body of an order to turn a toggle.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToggleOrder {
    /// Whether it is to be on.
    pub on: bool,
    /// Why, in a person's words.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The answer to an order to turn a toggle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toggled {
    /// The toggle.
    pub toggle: String,
    /// Whether it is on now.
    pub on: bool,
    /// Whether it was turned by this order.
    pub changed: bool,
    /// The services that it guards parts of.
    pub services: Vec<String>,
    /// When the last record was stored, in nanoseconds of `CLOCK_REALTIME`; null if none had to be.
    pub stored_at_ns: Option<u64>,
    /// Seconds until it is turned: until then, sessions that are there are being pinned. Null if none
    /// are.
    #[serde(default)]
    pub arming_s: Option<u64>,
    /// Number of the order that waits so, in each service that has such sessions.
    #[serde(default)]
    pub orders: BTreeMap<String, u64>,
    /// How long the daemon took, in microseconds.
    pub took_us: u64,
}

/// The routes that change nothing.
pub(super) fn reading<D: Dataplane + 'static>() -> Router<Arc<Shared<D>>> {
    Router::new().route("/v1/toggles", get(list))
}

/// The others.
pub(super) fn ordering<D: Dataplane + 'static>() -> Router<Arc<Shared<D>>> {
    Router::new().route("/v1/toggles/{toggle}", put(turn))
}

async fn list<D: Dataplane>(State(shared): Core<D>) -> Json<Vec<ToggleStatus>> {
    Json(shared.control().toggles())
}

async fn turn<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    toggle: Name,
    order: Body<ToggleOrder>,
) -> Answer<Toggled> {
    let (Path(toggle), Json(order)) = (toggle?, order?);
    let reason = order.reason.unwrap_or_default();
    shared.order(peer, |core| core.turn(&toggle, order.on, &reason, now()))
}
