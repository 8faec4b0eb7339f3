//! Users of both families who keep asking the service, and what has become of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::{Result, ensure};
use serin_tests::{
    clock,
    failure::Failure,
    http::Answer,
    load::{Load, Log, Plan, Request},
    topology::Lab,
};

use crate::stage::VIPS;

/// Users of each family. All have a turn within a quarter of a second.
pub const USERS: u32 = 200;

const ROUND: Duration = Duration::from_secs(10);

/// Load on both VIPs; ends when dropped.
pub struct Crowd {
    loads: Vec<Load>,
}

/// Which version answered each user's new connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Users(BTreeMap<IpAddr, String>);

/// Everything that all users have seen.
pub struct Story {
    logs: Vec<Log>,
}

impl Crowd {
    /// Short connections by all users, and long ones of some.
    pub fn gather(lab: &Lab) -> Result<Self> {
        let load = |target| {
            let plan = Plan {
                users: USERS,
                short_per_s: 4 * USERS,
                keep_alive: 50,
                keep_alive_per_s: 250,
                ..Plan::thousand(target)
            };
            Load::start(&lab.clients, plan)
        };
        let loads = VIPS.into_iter().map(load).collect::<Result<_>>()?;
        Ok(Self { loads })
    }

    /// Lets every user connect anew. Fails if a user got both versions.
    pub fn round(&self) -> Result<Users> {
        let now = clock::now_ns();
        let marks: Vec<usize> = self.loads.iter().map(Load::mark).collect();
        let mut versions = BTreeMap::new();
        for (load, mark) in self.loads.iter().zip(marks) {
            load.whole_round(ROUND)?;
            let log = load.since(mark);
            for (_, answer) in after(&log, now) {
                let version = answer.version.clone();
                let first = versions.entry(answer.client).or_insert(version);
                ensure!(
                    *first == answer.version,
                    "{} got both versions while nothing changed",
                    answer.client
                );
            }
        }
        Ok(Users(versions))
    }

    /// Lets every user connect anew, and counts new connections by backend.
    pub fn spread(&self) -> Result<BTreeMap<String, usize>> {
        let now = clock::now_ns();
        let marks: Vec<usize> = self.loads.iter().map(Load::mark).collect();
        let mut counts = BTreeMap::new();
        for (load, mark) in self.loads.iter().zip(marks) {
            load.whole_round(ROUND)?;
            for (_, answer) in after(&load.since(mark), now) {
                *counts.entry(answer.backend.clone()).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Ends the load.
    pub fn disperse(self) -> Result<Story> {
        let logs = self.loads.into_iter().map(Load::stop);
        Ok(Story {
            logs: logs.collect::<Result<_>>()?,
        })
    }
}

impl Users {
    /// Those whom this version answered.
    pub fn on(&self, version: &str) -> BTreeSet<IpAddr> {
        let here = self.0.iter().filter(|(_, got)| *got == version);
        here.map(|(user, _)| *user).collect()
    }
}

impl Story {
    /// How many requests were made.
    pub fn requests(&self) -> usize {
        self.logs.iter().map(|log| log.requests.len()).sum()
    }

    /// All of them, of both families.
    pub fn all(&self) -> impl Iterator<Item = &Request> {
        self.logs.iter().flat_map(|log| &log.requests)
    }

    /// Asserts that nobody noticed anything: no request failed, no connection changed its server.
    ///
    /// # Panics
    /// If somebody did.
    pub fn assert_unharmed(&self) {
        let failures: Vec<BTreeMap<Failure, usize>> = self.logs.iter().map(Log::failures).collect();
        let moved: Vec<_> = self.logs.iter().flat_map(Log::moved_connections).collect();

        assert!(
            failures.iter().all(BTreeMap::is_empty),
            "of {} requests failed {failures:?}",
            self.requests()
        );
        assert_eq!(
            moved, [0; 0],
            "connections answered by more than one server"
        );
        assert!(self.requests() > 500, "only {} requests", self.requests());
    }

    /// The users of whom a new connection went to `from` after one that had gone elsewhere.
    pub fn moved_back_to(&self, from: &str) -> BTreeSet<IpAddr> {
        let mut left = BTreeSet::new();
        let mut back = BTreeSet::new();
        for (_, answer) in self.logs.iter().flat_map(Log::new_connections) {
            if answer.version != from {
                left.insert(answer.client);
            } else if left.contains(&answer.client) {
                back.insert(answer.client);
            }
        }
        back
    }
}

/// New connections that began after a time.
fn after(log: &Log, ns: u64) -> Vec<(&Request, &Answer)> {
    let mut connections = log.new_connections();
    connections.retain(|(request, _)| request.began_ns > ns);
    connections
}
