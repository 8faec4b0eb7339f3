//! What the running state does not allow, and names that are not there.

use std::net::SocketAddr;

use thiserror::Error;

/// A configuration that the running state does not allow, or a name that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// No such service.
    #[error("service `{0}`: not configured; `serin list` shows those that are")]
    NoService(String),
    /// No such pool.
    #[error("service `{service}`: no pool `{pool}`; it has {known}")]
    NoPool {
        /// The service.
        service: String,
        /// The name asked for.
        pool: String,
        /// Those that exist.
        known: String,
    },
    /// No such backend.
    #[error("service `{service}`: no backend `{backend}`; it has {known}")]
    NoBackend {
        /// The service.
        service: String,
        /// The name asked for.
        backend: String,
        /// Those that exist.
        known: String,
    },
    /// No such toggle.
    #[error("toggle `{toggle}`: not configured; {known}")]
    NoToggle {
        /// The name asked for.
        toggle: String,
        /// Those that exist.
        known: String,
    },
    /// The pool serves, or connections of it are still told by the mapping.
    #[error(
        "service `{service}`: pool `{pool}` can't be removed while {why}; \
         move its users off first (`serin cutover` or `serin rollback`), and let it drain"
    )]
    PoolInUse {
        /// The service.
        service: String,
        /// The pool.
        pool: String,
        /// What it does.
        why: &'static str,
    },
    /// What decides where live connections go.
    #[error(
        "service `{service}`: {what} can't change while the service runs, since live connections \
         would break; remove the service, apply, and add it again"
    )]
    Fixed {
        /// The service.
        service: String,
        /// The key.
        what: &'static str,
    },
    /// `?to=` of a listener whose backends have no port of their own.
    #[error(
        "service `{service}`: listener `{listener}`: the backends' port can't change while the \
         listener is there, since live connections would break; remove the listener, apply, and \
         add it again"
    )]
    PortChanged {
        /// The service.
        service: String,
        /// The listener as it should be.
        listener: String,
    },
    /// Replies from one endpoint could belong to old connections or to new ones.
    #[error(
        "service `{service}`: backend `{backend}` at {endpoint} has left, but may have live \
         connections, and another listener would take its replies; apply again when `serin status \
         {service}` shows it no more"
    )]
    StillLeaving {
        /// The service that it leaves.
        service: String,
        /// The backend.
        backend: String,
        /// Address and port.
        endpoint: SocketAddr,
    },
    /// Connection ids could tell an old server or a new one.
    #[error(
        "service `{service}`: backend `{backend}` has `server_id` {id}, and so has one that has left, \
         but may have live connections; give it another, or apply again when `serin status \
         {service}` shows backend `{leaving}` as leaving no more"
    )]
    ServerIdLeaving {
        /// The service.
        service: String,
        /// The backend that has it.
        backend: String,
        /// The id.
        id: String,
        /// The backend that had it.
        leaving: String,
    },
    /// Too many of something.
    #[error("more than {limit} {what} on one host; split them over several")]
    Full {
        /// Services, pools, backends or listeners.
        what: &'static str,
        /// How many the maps hold.
        limit: u32,
    },
}
