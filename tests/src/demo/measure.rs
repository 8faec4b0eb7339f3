//! Measures a step from outside: by what users were answered, and by what reached the backends.

use std::{cmp::Ordering, collections::HashMap};

use super::{
    USERS,
    arrivals::last_old_packet_us,
    release::STAFF_USERS,
    row::Row,
    script::Step,
    stage::{G1, Stage, V1, V2},
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
    /// How many users v2 had to have, of a million.
    v2: u64,
    versions: Versions,
}

impl Observer {
    /// Looks at the step that is ending, and says in sentences what was wrong with it.
    pub(super) fn measure(&mut self, stage: &Stage, step: &Step, done: Done) -> (Row, Vec<String>) {
        let log = stage.load.since(self.mark);
        self.mark += log.requests.len();
        let v2 = wanted(step);
        let direction = v2.cmp(&self.v2);
        self.v2 = v2;
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
        let (on_v2, clients) = self.others_on_v2();
        Row {
            step: step.name,
            asked_ppm: step.v2_ppm,
            measured_ppm: ppm(on_v2, clients),
            clients,
            staff: self.staff(),
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
        let (on_v2, _) = self.others_on_v2();
        if !(low..=high).contains(&on_v2) {
            problems.push(format!(
                "v2 has {on_v2} of {} users; {} ppm were asked, and chance allows {low} to {high}",
                row.clients, row.asked_ppm,
            ));
        }
        let asked = if step.staff_on_v2 { V2 } else { V1 };
        if row.staff != asked {
            problems.push(format!("staff have {}, not {asked}", row.staff));
        }
        problems
    }

    /// How many users other than staff have v2, and how many there are.
    fn others_on_v2(&self) -> (u32, u32) {
        let others = self.versions.iter().filter(|(user, _)| !is_staff(**user));
        let on_v2 = others.clone().filter(|(_, version)| *version == V2);
        (count(on_v2.count()), count(others.count()))
    }

    /// The version that all staff have.
    fn staff(&self) -> &'static str {
        let mut staff = self.versions.iter().filter(|(user, _)| is_staff(**user));
        let on_v2 = staff.clone().filter(|(_, version)| *version == V2).count();
        match on_v2 {
            0 => V1,
            _ if staff.all(|(_, version)| version == V2) => V2,
            _ => "both",
        }
    }
}

const fn is_staff(user: u32) -> bool {
    user < STAFF_USERS
}

/// How many users v2 must have after a step, of a million.
const fn wanted(step: &Step) -> u64 {
    let staff = if step.staff_on_v2 { 1_000_000 } else { 0 };
    let others = (USERS - STAFF_USERS) as u64 * step.v2_ppm as u64;
    others + STAFF_USERS as u64 * staff
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
