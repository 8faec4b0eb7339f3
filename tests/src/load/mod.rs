//! The load generator: many users with short connections, some with long ones beside them.

mod driver;
mod log;
mod short;
mod wire;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use self::log::Shared;
pub use self::log::{Log, Request};
pub(crate) use self::wire::open;
use crate::{
    client::PATIENCE,
    clock, deadline,
    netns::Namespace,
    topology::{client_v4, client_v6},
};

/// What load to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What to ask. Its family decides the family of the users' addresses.
    pub target: SocketAddr,
    /// How many users there are, each with an address of its own.
    pub users: u32,
    /// The number of the first of them, so that two loads can have different users.
    pub first_user: u32,
    /// Whether all of them are behind one address, that of the first: a gateway's.
    pub gateway: bool,
    /// Requests a second over connections of their own, taken by the users in turn.
    pub short_per_s: u32,
    /// How many of the users hold a long connection beside their short ones.
    pub keep_alive: u32,
    /// Requests a second over all long connections together.
    pub keep_alive_per_s: u32,
    /// How long a request, with its connection if it needs one, may take.
    pub patience: Duration,
}

impl Plan {
    /// A thousand users: 1 000 short requests a second, and 1 000 over 200 long connections.
    pub const fn thousand(target: SocketAddr) -> Self {
        Self {
            target,
            users: 1000,
            first_user: 0,
            gateway: false,
            short_per_s: 1000,
            keep_alive: 200,
            keep_alive_per_s: 1000,
            patience: PATIENCE,
        }
    }

    /// The address of the plan's `index`th user.
    pub fn client(&self, index: u32) -> IpAddr {
        let user = self.first_user + if self.gateway { 0 } else { index };
        if self.target.is_ipv4() {
            client_v4(user)
        } else {
            client_v6(user)
        }
    }
}

/// Load that is being made by a thread, until stopped or dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    // Dropping the sender ends the load.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts the load in the clients' namespace.
    pub fn start(clients: &Namespace, plan: Plan) -> Result<Self> {
        let shared = Arc::new(Shared::new(plan.users));
        let (stop, stopped) = oneshot::channel();
        let log = Arc::clone(&shared);
        let thread = clients.thread("load", move || driver::drive(plan, log, stopped))?;
        Ok(Self {
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Makes load for a time and returns the whole log.
    pub fn run(clients: &Namespace, plan: Plan, time: Duration) -> Result<Log> {
        let load = Self::start(clients, plan)?;
        deadline::pass(time)?;
        load.stop()
    }

    /// How many users it has.
    pub fn users(&self) -> usize {
        self.shared.users()
    }

    /// How many requests have ended so far: a place in the log for [`Self::since`].
    pub fn mark(&self) -> usize {
        self.shared.len()
    }

    /// The requests that have ended after a mark.
    pub fn since(&self, mark: usize) -> Log {
        self.shared.since(mark)
    }

    /// Waits until every user has ended a short connection that was begun after this call.
    pub fn whole_round(&self, limit: Duration) -> Result<()> {
        let now = clock::now_ns();
        deadline::until("a new connection by every user", limit, || {
            Ok(self.shared.all_began_after(now).then_some(()))
        })
    }

    /// Begins nothing more, waits for what has begun, and returns the whole log.
    pub fn stop(mut self) -> Result<Log> {
        self.end().context("the load generator has failed")?;
        Ok(self.shared.since(0))
    }

    fn end(&mut self) -> Result<()> {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        match thread.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Whoever wanted the result has called `stop`.
            let _ = thread.join();
        }
    }
}
