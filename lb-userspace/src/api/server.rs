//! The daemon's side of the socket.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{
        ConnectInfo, Path, Query, State,
        connect_info::{Connected, IntoMakeServiceWithConnectInfo},
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
    serve::IncomingStream,
};
use tokio::{
    net::UnixListener,
    sync::{Notify, mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    judged::Judged,
    metrics,
    model::{
        Applied, ApplyOrder, BackendOrder, CutoverOrder, Done, EventsQuery, Line, NodeStatus,
        Problem, PromoteOrder, ReasonOrder, ShareOrder, StartOrder, Status, Together,
        TogetherOrder, Whois, WhoisQuery,
    },
    ofrep,
    replayed::{ReplayQuery, Replayed},
    stream, toggles,
};
use crate::{
    control::{self, Control, ControlError},
    dataplane::{Dataplane, kernel::now},
    journal::{Actor, Entry},
    notify::Board,
    release::engine::Event,
    state::StateError,
    web,
};

/// What the handlers share with the daemon's own loop.
pub struct Shared<D> {
    control: Mutex<Control<D>>,
    /// Something changed: the loop looks at its clock anew.
    pub changed: Notify,
    /// Orders that need more than the core: the network, the interfaces.
    pub errands: mpsc::Sender<Errand>,
    /// How those who are told of what happens are doing.
    pub board: Board,
    /// What open pages show.
    pub feed: stream::Feed,
}

/// An order that the daemon's loop carries out.
pub enum Errand {
    /// Take another configuration, for whoever asks.
    Apply(
        ApplyOrder,
        Actor,
        oneshot::Sender<Result<Applied, ControlError>>,
    ),
    /// End the data plane, and then the daemon.
    Detach(oneshot::Sender<Result<(), ControlError>>),
}

impl<D> Shared<D> {
    /// A core to serve.
    pub fn new(control: Control<D>, errands: mpsc::Sender<Errand>) -> Arc<Self> {
        Arc::new(Self {
            control: Mutex::new(control),
            changed: Notify::new(),
            errands,
            board: Board::default(),
            feed: stream::Feed::default(),
        })
    }

    /// The core, for as long as nobody waits.
    pub fn control(&self) -> MutexGuard<'_, Control<D>> {
        // A panic in another handler left a whole state: commits replace it at their very end.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Nothing if the kernel does not tell.
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred().ok();
        Self {
            uid: credentials.map(|credentials| credentials.uid()),
        }
    }
}

impl Peer {
    fn actor(self) -> Actor {
        match self.uid {
            Some(uid) => Actor::user(uid),
            None => Actor {
                uid: None,
                name: "unknown".to_owned(),
            },
        }
    }
}

/// All routes, for a socket whose peers are known.
pub fn router<D: Dataplane + 'static>(
    shared: Arc<Shared<D>>,
) -> IntoMakeServiceWithConnectInfo<Router, Peer> {
    reading()
        .merge(ordering())
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .with_state(shared)
        .into_make_service_with_connect_info::<Peer>()
}

/// The routes that change nothing.
pub(super) fn reading<D: Dataplane + 'static>() -> Router<Arc<Shared<D>>> {
    Router::new()
        .route("/v1/node", get(node))
        .route("/v1/events", get(events))
        .route("/v1/services", get(list))
        .route("/v1/services/{service}", get(status))
        .route("/v1/services/{service}/whois", get(whois))
        .route("/v1/services/{service}/evidence", get(evidence))
        .route("/v1/services/{service}/replay", get(replay))
        .merge(toggles::reading())
        .merge(metrics::routes())
        .merge(ofrep::routes())
        .merge(stream::routes())
        .merge(web::routes())
}

/// The others, which want to know who asks.
fn ordering<D: Dataplane + 'static>() -> Router<Arc<Shared<D>>> {
    Router::new()
        .route("/v1/services/{service}/share", post(share))
        .route("/v1/services/{service}/cutover", post(cutover))
        .route("/v1/services/{service}/rollback", post(rollback))
        .route("/v1/services/{service}/start", post(start))
        .route("/v1/services/{service}/promote", post(promote))
        .route("/v1/services/{service}/pause", post(pause))
        .route("/v1/services/{service}/resume", post(resume))
        .route("/v1/services/{service}/abort", post(abort))
        .route("/v1/services/{service}/retry", post(retry))
        .route("/v1/services/{service}/backends/{backend}", put(backend))
        .route("/v1/cutover", post(cutover_together))
        .route("/v1/apply", post(apply))
        .route("/v1/detach", post(detach))
        .merge(toggles::ordering())
}

pub(super) type Answer<T> = Result<Json<T>, Failure>;
pub(super) type Core<D> = State<Arc<Shared<D>>>;
pub(super) type Name = Result<Path<String>, PathRejection>;
pub(super) type Body<T> = Result<Json<T>, JsonRejection>;
pub(super) type Who = ConnectInfo<Peer>;

async fn node<D: Dataplane>(State(shared): Core<D>) -> Answer<NodeStatus> {
    let mut status = shared.control().node_status()?;
    status.notify = shared.board.read();
    Ok(Json(status))
}

async fn list<D: Dataplane>(State(shared): Core<D>) -> Json<Vec<Line>> {
    Json(shared.control().list())
}

async fn status<D: Dataplane>(State(shared): Core<D>, service: Name) -> Answer<Status> {
    let Path(service) = service?;
    Ok(Json(shared.control().status(&service, now())?))
}

async fn whois<D: Dataplane>(
    State(shared): Core<D>,
    service: Name,
    query: Result<Query<WhoisQuery>, QueryRejection>,
) -> Answer<Whois> {
    let (Path(service), Query(query)) = (service?, query?);
    Ok(Json(shared.control().whois(&service, &query)?))
}

async fn evidence<D: Dataplane>(State(shared): Core<D>, service: Name) -> Answer<Judged> {
    let Path(service) = service?;
    Ok(Json(shared.control().evidence(&service)?))
}

async fn replay<D: Dataplane>(
    State(shared): Core<D>,
    service: Name,
    query: Result<Query<ReplayQuery>, QueryRejection>,
) -> Answer<Replayed> {
    let (Path(service), Query(query)) = (service?, query?);
    let replaying = shared.control().replay(&service, &query)?;
    // Nobody waits for the core meanwhile, nor for this thread.
    let replayed = spawn_blocking(|| replaying.judge()).await;
    replayed.map(Json).map_err(|error| Failure {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        detail: format!("service `{service}`: the release was not judged again: {error}"),
    })
}

async fn share<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    service: Name,
    order: Body<ShareOrder>,
) -> Answer<Done> {
    let (Path(service), Json(order)) = (service?, order?);
    if order.share_ppm > lb_common::hash::BUCKETS {
        return Err(Failure::usage("share_ppm: at most 1000000 (100%)"));
    }
    shared.order(peer, |core| {
        core.share(&service, order.share_ppm, order.to.as_deref(), now())
    })
}

async fn cutover<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    service: Name,
    order: Body<CutoverOrder>,
) -> Answer<Done> {
    let (Path(service), Json(order)) = (service?, order?);
    shared.order(peer, |core| core.cut_over(&service, &order, now()))
}

async fn cutover_together<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    order: Body<TogetherOrder>,
) -> Answer<Together> {
    let Json(order) = order?;
    shared.order(peer, |core| {
        let control::Together { services, gap } = core.cut_over_together(&order, now())?;
        let gap_ns = gap.map(|gap| u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX));
        Ok(Together { services, gap_ns })
    })
}

async fn rollback<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    service: Name,
) -> Answer<Done> {
    let Path(service) = service?;
    shared.order(peer, |core| core.rollback(&service, now()))
}

async fn start<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    service: Name,
    order: Body<StartOrder>,
) -> Answer<Done> {
    let (Path(service), Json(order)) = (service?, order?);
    shared.order(peer, |core| {
        let StartOrder { to, replace, at_ms } = &order;
        core.start_release(&service, to.as_deref(), *replace, *at_ms, now())
    })
}

async fn promote<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    service: Name,
    order: Body<PromoteOrder>,
) -> Answer<Done> {
    let (Path(service), Json(order)) = (service?, order?);
    let event = Event::Promote {
        full: order.full,
        expect_step: order.expect_step,
    };
    shared.order(peer, |core| core.steer(&service, &event, "", now()))
}

async fn pause<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    service: Name,
    order: Body<ReasonOrder>,
) -> Answer<Done> {
    shared.steer(peer, service, order, &Event::Pause)
}

async fn resume<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    service: Name,
    order: Body<ReasonOrder>,
) -> Answer<Done> {
    shared.steer(peer, service, order, &Event::Resume)
}

async fn retry<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    service: Name,
    order: Body<ReasonOrder>,
) -> Answer<Done> {
    shared.steer(peer, service, order, &Event::Retry)
}

async fn abort<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    service: Name,
    order: Body<ReasonOrder>,
) -> Answer<Done> {
    let (Path(service), Json(order)) = (service?, order?);
    let reason = order.reason.as_deref().unwrap_or("aborted by hand");
    shared.order(peer, |core| core.abort(&service, reason, now()))
}

async fn events<D: Dataplane>(
    State(shared): Core<D>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Answer<Vec<Entry>> {
    let Query(query) = query?;
    let journal = shared.control().log_of(query.service.as_deref())?;
    // Up to five files, of which nobody else need wait.
    let read = spawn_blocking(move || journal.read(query.after, query.service.as_deref()));
    let Ok(entries) = read.await else {
        return Err(Failure::stopping());
    };
    Ok(Json(entries.map_err(ControlError::from)?))
}

async fn backend<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    names: Result<Path<(String, String)>, PathRejection>,
    order: Body<BackendOrder>,
) -> Answer<Done> {
    let Path((service, backend)) = names?;
    let Json(order) = order?;
    match order {
        BackendOrder::Weight(weight) if weight > u32::from(u16::MAX) => {
            Err(Failure::usage("weight: at most 65535"))
        }
        BackendOrder::Weight(weight) => {
            shared.order(peer, |core| core.weight(&service, &backend, weight, now()))
        }
        BackendOrder::State(admin) => {
            shared.order(peer, |core| core.admin(&service, &backend, admin, now()))
        }
    }
}

async fn apply<D: Dataplane>(
    State(shared): Core<D>,
    ConnectInfo(peer): Who,
    order: Body<ApplyOrder>,
) -> Answer<Applied> {
    let Json(order) = order?;
    let (answer, wait) = oneshot::channel();
    let errand = Errand::Apply(order, peer.actor(), answer);
    shared.errand(errand, wait).await
}

async fn detach<D: Dataplane>(State(shared): Core<D>) -> Answer<()> {
    let (answer, wait) = oneshot::channel();
    shared.errand(Errand::Detach(answer), wait).await
}

pub(super) async fn unknown() -> Failure {
    Failure {
        status: StatusCode::NOT_FOUND,
        detail: "no such resource; see /v1/services".to_owned(),
    }
}

pub(super) async fn not_allowed(method: Method) -> Failure {
    Failure {
        status: StatusCode::METHOD_NOT_ALLOWED,
        detail: format!("{method} is not for this resource; the header `allow` has what is"),
    }
}

impl<D: Dataplane> Shared<D> {
    pub(super) fn order<T>(
        &self,
        peer: Peer,
        order: impl FnOnce(&mut Control<D>) -> Result<T, ControlError>,
    ) -> Answer<T> {
        // A name may have to be asked for over the network: nobody waits for the lock meanwhile.
        let actor = peer.actor();
        let done = {
            let mut core = self.control();
            core.act_for(actor);
            let done = order(&mut core);
            core.act_for(Actor::daemon());
            done
        };
        // Of an order that failed, something may be left to do as well.
        self.changed.notify_one();
        Ok(Json(done?))
    }

    fn steer(
        &self,
        peer: Peer,
        service: Name,
        order: Body<ReasonOrder>,
        event: &Event,
    ) -> Answer<Done> {
        let (Path(service), Json(order)) = (service?, order?);
        let reason = order.reason.unwrap_or_default();
        self.order(peer, |core| core.steer(&service, event, &reason, now()))
    }

    async fn errand<T>(
        &self,
        errand: Errand,
        wait: oneshot::Receiver<Result<T, ControlError>>,
    ) -> Answer<T> {
        if self.errands.send(errand).await.is_err() {
            return Err(Failure::stopping());
        }
        match wait.await {
            Ok(result) => Ok(Json(result?)),
            Err(_) => Err(Failure::stopping()),
        }
    }
}

/// An error on its way to the client.
pub(super) struct Failure {
    pub status: StatusCode,
    pub detail: String,
}

impl Failure {
    fn usage(detail: &str) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            detail: detail.to_owned(),
        }
    }

    fn stopping() -> Self {
        let detail = "the daemon is stopping; start it again with `serin run`".to_owned();
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            detail,
        }
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self {
            status: rejection.status(),
            detail: format!("request body: {}", rejection.body_text()),
        }
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        Self {
            status: rejection.status(),
            detail: format!("request path: {}", rejection.body_text()),
        }
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::usage(&format!("request query: {}", rejection.body_text()))
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let status = match &error {
            ControlError::Config(_) | ControlError::Usage(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ControlError::State(
                StateError::NoService(_)
                | StateError::NoPool { .. }
                | StateError::NoBackend { .. }
                | StateError::NoToggle { .. },
            ) => StatusCode::NOT_FOUND,
            ControlError::State(_)
            | ControlError::Refused { .. }
            | ControlError::Release { .. }
            | ControlError::Unfit { .. }
            | ControlError::Fixed(_)
            | ControlError::Host(_) => StatusCode::CONFLICT,
            ControlError::File(_)
            | ControlError::Unkept(_)
            | ControlError::Journal(_)
            | ControlError::Kernel(_)
            | ControlError::Unfinished(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            detail: error.to_string(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = Problem {
            title: self.status.canonical_reason().unwrap_or("error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, Json(problem)).into_response()
    }
}

/// How long a client may take to be told that the daemon stops.
pub const FAREWELL: Duration = Duration::from_millis(50);
