//! Measures a step from outside: by what users were answered, and by what reached the backends.

use std::{cmp::Ordering, collections::HashMap};

use super::{
    arrivals::last_old_packet_us,
    row::Row,
    script::Step,
    stage::{G1, Stage, V2},
    users::{Versions, moved_back, undecided},
};
use crate::{binomial, load::Log};

/// When the step's command returned, and when it changed the kernel, if it did:
/// nanoseconds of `CLOCK_REALTIME`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) returned_ns: u64,
    pub(super) stored_at_ns: Option<u64>,
}

/// Where the step before has left things.
#[derive(Default)]
pub(super) struct Observer {
    mark: usize,
    v2_ppm: u32,
    versions: Versions,
}

impl Observer {
    /// Looks at the step that is ending, and says in sentences what was wrong with it.
    pub(super) fn measure(&mut self, stage: &Stage, step: &Step, done: Done) -> (Row, Vec<String>) {
        let log = stage.load.since(self.mark);
        self.mark += log.requests.len();
        let direction = step.v2_ppm.cmp(&self.v2_ppm);
        self.v2_ppm = step.v2_ppm;
        let before = std::mem::replace(&mut self.versions, versions(&log));
        let row = Row {
            moved_back: moved_back(direction, &before, &log.new_connections()),
            store_to_last_old_packet_us: done.stored_at_ns.and_then(|stored_at_ns| {
                last_old_packet_us(stored_at_ns, &before, &self.versions, &stage.syns)
            }),
            ..self.share(step, &log)
        };
        let mut problems = self.problems(step, &row, &log, direction);
        problems.extend(late_problem(&log, done));
        problems.extend(step.g1_ppm.and_then(|ppm| weight_problem(ppm, &log, done)));
        (row, problems)
    }

    fn share(&self, step: &Step, log: &Log) -> Row {
        let clients = count(self.versions.len());
        let on_v2 = self.on_v2();
        Row {
            step: step.name,
            asked_ppm: step.v2_ppm,
            measured_ppm: ppm(on_v2, clients),
            clients,
            requests: log.requests.len(),
            failed: log.failed(),
            moved_back: 0,
            sigma: binomial::sigmas(clients, part(step.v2_ppm), on_v2),
            store_to_last_old_packet_us: None,
        }
    }

    fn problems(&self, step: &Step, row: &Row, log: &Log, direction: Ordering) -> Vec<String> {
        let mut problems = Vec::new();
        for (failure, count) in log.failures() {
            problems.push(format!(
                "{count} of {} requests failed: {failure}",
                row.requests
            ));
        }
        if row.moved_back > 0 {
            let against = match direction {
                Ordering::Less => "from v1 to v2 while v2's share fell",
                Ordering::Equal => "between versions while the share stood still",
                Ordering::Greater => "from v2 to v1 while v2's share rose",
            };
            problems.push(format!("{} users moved {against}", row.moved_back));
        }
        let (low, high) = binomial::interval(row.clients, part(step.v2_ppm));
        let on_v2 = self.on_v2();
        if !(low..=high).contains(&on_v2) {
            problems.push(format!(
                "v2 has {on_v2} of {} users; {} ppm were asked, and chance allows {low} to {high}",
                row.clients, row.asked_ppm,
            ));
        }
        problems
    }

    fn on_v2(&self) -> u32 {
        count(
            self.versions
                .values()
                .filter(|version| *version == V2)
                .count(),
        )
    }
}

fn late_problem(log: &Log, done: Done) -> Option<String> {
    let users = undecided(done.returned_ns, &log.new_connections());
    (users > 0).then(|| format!("{users} users got both versions after the command had returned"))
}

/// Inside a pool it is connections that are split, not users.
fn weight_problem(asked_ppm: u32, log: &Log, done: Done) -> Option<String> {
    let connections = log.new_connections();
    let mut by_backend: HashMap<&str, u32> = HashMap::new();
    for (request, answer) in connections {
        if answer.version == V2 && request.began_ns > done.returned_ns {
            *by_backend.entry(&answer.backend).or_default() += 1;
        }
    }
    let of_v2 = by_backend.values().sum();
    let on_g1 = by_backend.get(G1).copied().unwrap_or(0);
    let (low, high) = binomial::interval(of_v2, part(asked_ppm));
    (!(low..=high).contains(&on_g1)).then(|| {
        format!(
            "{G1} got {on_g1} of v2's {of_v2} new connections; its weight asks for {asked_ppm} ppm, \
             and chance allows {low} to {high}"
        )
    })
}

fn versions(log: &Log) -> Versions {
    log.latest()
        .into_iter()
        .map(|(user, answer)| (user, answer.version.clone()))
        .collect()
}

fn part(ppm: u32) -> f64 {
    f64::from(ppm) / 1e6
}

fn ppm(some: u32, all: u32) -> u32 {
    u32::try_from(u64::from(some) * 1_000_000 / u64::from(all.max(1))).expect("a part of a million")
}

fn count(users: usize) -> u32 {
    u32::try_from(users).expect("the plan counts users in a u32")
}
