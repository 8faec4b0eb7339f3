//! What the load generator has seen, request by request.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{failure::Failure, http::Answer};

/// One request and what came of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The index of the user in the plan.
    pub user: u32,
    /// Where its connection came from, where it came to have one.
    pub source: Option<SocketAddr>,
    /// The number of its connection in this load.
    pub connection: u64,
    /// Whether this request opened its connection.
    pub opened: bool,
    /// Whether the connection is one of the long ones.
    pub keep_alive: bool,
    /// When it began, before it connected: nanoseconds of `CLOCK_REALTIME`.
    pub began_ns: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Who answered, or what went wrong.
    pub outcome: Result<Answer, Failure>,
}

/// Requests in the order in which they ended.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// All of them.
    pub requests: Vec<Request>,
}

impl Log {
    /// How many requests failed.
    pub fn failed(&self) -> usize {
        self.requests
            .iter()
            .filter(|request| request.outcome.is_err())
            .count()
    }

    /// How many users had a request that failed.
    pub fn harmed(&self) -> usize {
        let failed = self.requests.iter().filter(|of| of.outcome.is_err());
        let users: HashSet<u32> = failed.map(|request| request.user).collect();
        users.len()
    }

    /// How many requests failed, by reason.
    pub fn failures(&self) -> BTreeMap<Failure, usize> {
        let mut counts = BTreeMap::new();
        for request in &self.requests {
            if let Err(failure) = request.outcome {
                *counts.entry(failure).or_default() += 1;
            }
        }
        counts
    }

    /// The answered requests that opened a short connection, in the order in which they began.
    ///
    /// A user's short connections never overlap, so this is also each user's own order.
    pub fn new_connections(&self) -> Vec<(&Request, &Answer)> {
        let mut opened: Vec<_> = self
            .requests
            .iter()
            .filter(|request| request.opened && !request.keep_alive)
            .filter_map(|request| Some((request, request.outcome.as_ref().ok()?)))
            .collect();
        opened.sort_by_key(|(request, _)| request.began_ns);
        opened
    }

    /// The answer to each user's latest new connection.
    pub fn latest(&self) -> HashMap<u32, &Answer> {
        self.new_connections()
            .into_iter()
            .map(|(request, answer)| (request.user, answer))
            .collect()
    }

    /// The connections that were answered by more than one server. Over a whole load's log only:
    /// a part of it may miss a connection's first answers.
    pub fn moved_connections(&self) -> Vec<u64> {
        let mut homes: HashMap<u64, &str> = HashMap::new();
        let mut moved = Vec::new();
        for request in &self.requests {
            let Ok(answer) = &request.outcome else {
                continue;
            };
            let home = homes.entry(request.connection).or_insert(&answer.backend);
            if *home != answer.backend && !moved.contains(&request.connection) {
                moved.push(request.connection);
            }
        }
        moved
    }

    /// The time within which so many of a thousand answered requests were answered, in microseconds.
    pub fn latency_us(&self, permille: usize) -> u64 {
        let answered = self
            .requests
            .iter()
            .filter(|request| request.outcome.is_ok());
        let mut times: Vec<u64> = answered.map(|request| request.took_us).collect();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        let index = (times.len() * permille / 1000).min(last);
        times.get(index).copied().unwrap_or(0)
    }
}

/// The log while it is being written.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    requests: Vec<Request>,
    /// When each user's latest ended short connection began.
    began_ns: Vec<u64>,
}

impl Shared {
    pub(super) fn new(users: u32) -> Self {
        Self {
            inner: Mutex::new(Inner {
                requests: Vec::new(),
                began_ns: vec![0; users as usize],
            }),
        }
    }

    pub(super) fn push(&self, request: Request) {
        let mut inner = self.lock();
        if !request.keep_alive {
            inner.began_ns[request.user as usize] = request.began_ns;
        }
        inner.requests.push(request);
    }

    pub(super) fn users(&self) -> usize {
        self.lock().began_ns.len()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().requests.len()
    }

    pub(super) fn since(&self, mark: usize) -> Log {
        Log {
            requests: self.lock().requests[mark..].to_vec(),
        }
    }

    pub(super) fn all_began_after(&self, ns: u64) -> bool {
        self.lock().began_ns.iter().all(|began| *began > ns)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panicking reader leaves the log whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
