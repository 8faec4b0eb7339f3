//! The judge before thousands of releases that never were: how often does it take back a good one,
//! and how many connections does a bad one get?

mod methods;
mod people;
mod report;
mod whole;
mod world;

pub use self::{
    methods::{Method, mann_whitney},
    people::People,
    report::{Row, print, write},
    whole::Whole,
    world::{Split, Weather, World},
};

use std::thread;

use lb_userspace::judge::{Bins, Cohorts, Counts, Dealt, Judge, Settings, Signal, Verdict, value};

use self::{
    methods::Bench,
    world::{LOOKS, Latencies, Outcomes},
};

/// A good release is watched for so long.
const HOUR: u32 = 3600 * LOOKS;
/// A bad one that has not been found by then is given up.
const LONG: u32 = 8 * HOUR;
/// The part of connections that fail where all is well.
const BASE: f64 = 0.002;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub enum Case {
    /// Both pools are the same: how many are taken back, of a hundred?
    Same(&'static str, World),
    /// The candidate is bad: how many connections does it get, at the median?
    Bad(&'static str, World),
    /// The candidate is slower by this factor.
    Slower(&'static str, f64),
    /// Both are the same: after how many connections is it said to be no worse, at the median?
    NoWorse(&'static str, World),
    /// The same as [`Self::Same`], before the whole of Serin's judge.
    Whole(&'static str, Whole),
    /// The same, of clients who come again and again, each in its own way.
    People(&'static str, People),
    /// The candidate is worse by just the margin: how many are said to be no worse, of a hundred?
    Margin(&'static str, Whole),
}

impl Case {
    /// Whether only Serin's judge has something to say.
    const fn is_serins(&self) -> bool {
        matches!(
            self,
            Self::NoWorse(..) | Self::Whole(..) | Self::People(..) | Self::Margin(..)
        )
    }

    /// Whether releases are counted that something false is said of.
    pub const fn counts_false(&self) -> bool {
        matches!(
            self,
            Self::Same(..) | Self::Whole(..) | Self::People(..) | Self::Margin(..)
        )
    }
}

/// All cases, each with what it may come to at most: parts of releases, or connections.
pub fn cases() -> Vec<(Case, f64)> {
    [usual(), large(), wholes(), people()].concat()
}

const fn same(weather: Weather, split: Split) -> World {
    World {
        rate: 5.0,
        base: BASE,
        candidate: BASE,
        weather,
        split,
    }
}

const fn bad(rate: f64, candidate: f64, split: Split) -> World {
    World {
        rate,
        candidate,
        ..same(Weather::Fair, split)
    }
}

/// A sixteenth of the clients that are compared is the candidate's.
fn usual() -> Vec<(Case, f64)> {
    let same = |weather| same(weather, Split::Usual);
    let bad = |rate, candidate| bad(rate, candidate, Split::Usual);
    vec![
        (Case::Same("same", same(Weather::Fair)), 0.01),
        (
            Case::Same("same, clustered", same(Weather::Clustered)),
            0.01,
        ),
        (Case::Same("same, outage", same(Weather::Outage)), 0.01),
        (Case::Same("same, drift", same(Weather::Drift)), 0.01),
        (Case::Bad("dead, 2 a second", bad(2.0, 1.0)), 5.0),
        (Case::Bad("5% fail", bad(20.0, 0.05)), 100.0),
        (Case::Bad("1% fail", bad(20.0, 0.01)), 1000.0),
        (Case::Bad("0.4% fail", bad(20.0, 0.004)), 11_000.0),
        (Case::Slower("20% slower", 1.2), 350.0),
        (Case::NoWorse("no worse by 0.5%", bad(20.0, BASE)), 1100.0),
    ]
}

/// A quarter, a half or 90% is, or a half after a sixteenth.
fn large() -> Vec<(Case, f64)> {
    let [quarter, half, most] = [0.25, 0.5, 0.9].map(Split::Part);
    let ramp = Split::Ramp(HOUR / 2);
    let good = [
        ("same, a quarter", Weather::Fair, quarter),
        ("same, a half", Weather::Fair, half),
        ("same, 90%", Weather::Fair, most),
        ("same, a half, clustered", Weather::Clustered, half),
        ("same, a half, outage", Weather::Outage, half),
        ("same, to a half", Weather::Fair, ramp),
        ("same, to a half, drift", Weather::Drift, ramp),
    ];
    let good = good.map(|(name, weather, split)| (Case::Same(name, same(weather, split)), 0.01));
    let bad = [
        ("dead, a quarter", bad(2.0, 1.0, quarter), 5.0),
        ("dead, a half", bad(2.0, 1.0, half), 8.0),
        ("dead, 90%", bad(2.0, 1.0, most), 40.0),
        ("5% fail, a quarter", bad(20.0, 0.05, quarter), 160.0),
        ("5% fail, a half", bad(20.0, 0.05, half), 300.0),
        ("5% fail, 90%", bad(20.0, 0.05, most), 1700.0),
    ];
    let bad = bad.map(|(name, world, limit)| (Case::Bad(name, world), limit));
    good.into_iter().chain(bad).collect()
}

/// The whole of a judge.
fn wholes() -> Vec<(Case, f64)> {
    vec![
        (Case::Whole("same, 4 signals", whole(&USUAL, 1)), 0.01),
        (
            Case::Whole("same, latency", whole(&[Signal::FirstByte], 1)),
            0.01,
        ),
        (Case::Whole("same, 5 steps", whole(&USUAL, 5)), 0.01),
        (Case::Margin("0.5% worse", MARGINAL), 0.05),
    ]
}

/// Clients who come again and again.
fn people() -> Vec<(Case, f64)> {
    let busy = |people| People {
        busy: 0.6,
        ..people
    };
    let [half, most] = [0.5, 0.9].map(|part| returning(Split::Part(part)));
    let ramp = returning(Split::Ramp(RETURNING.looks / 2));
    let far = People {
        spread: 1.0,
        ..RETURNING
    };
    let people = [
        ("same, come again", RETURNING),
        ("same, busy client", busy(RETURNING)),
        ("same, far and near", far),
        ("same, come again, a half", half),
        ("same, come again, 90%", most),
        ("same, busy client, a half", busy(half)),
        ("same, come again, to a half", ramp),
    ];
    people
        .map(|(name, people)| (Case::People(name, people), 0.01))
        .to_vec()
}

/// The signals that a judge has unless it is told otherwise.
const USUAL: [Signal; 4] = [
    Signal::Connect,
    Signal::EarlyReset,
    Signal::Handshake,
    Signal::FirstByte,
];

const fn whole(signals: &'static [Signal], steps: u32) -> Whole {
    Whole {
        signals,
        steps,
        looks: 5 * 60 * LOOKS,
        rate: 20.0,
        base: BASE,
        candidate: BASE,
    }
}

/// Of 20 connections each on average, within eight minutes.
const RETURNING: People = People {
    clients: 1920,
    rate: 80.0,
    looks: 8 * 60 * LOOKS,
    unlucky: 0.05,
    spread: 0.7,
    busy: 0.0,
    split: Split::Usual,
};

/// The same, dealt out otherwise.
const fn returning(split: Split) -> People {
    People { split, ..RETURNING }
}

/// Worse by just what a candidate may be worse by: half a point.
const MARGINAL: Whole = Whole {
    looks: HOUR / 2,
    candidate: BASE + 0.005,
    ..whole(&[Signal::EarlyReset], 1)
};

/// Simulates a case by so many releases.
pub fn run(case: Case, limit: f64, method: Method, runs: u64) -> Option<Row> {
    if case.is_serins() && method != Method::Serin {
        return None;
    }
    let (name, results) = match case {
        Case::Same(name, world) => (
            name,
            spread(runs, |seed| release(world, method, seed, HOUR)),
        ),
        Case::Bad(name, world) => (
            name,
            spread(runs, |seed| release(world, method, seed, LONG)),
        ),
        Case::Slower(name, times) => (name, spread(runs, |seed| slower(times, method, seed))),
        Case::NoWorse(name, world) => (name, spread(runs, |seed| no_worse(world, seed))),
        Case::Whole(name, whole) => {
            let harm = |verdict| matches!(verdict, Verdict::Harm(_));
            (
                name,
                spread(runs, |seed| End::of(whole::release(&whole, seed, harm))),
            )
        }
        Case::People(name, people) => (
            name,
            spread(runs, |seed| End::of(people::release(&people, seed))),
        ),
        Case::Margin(name, whole) => {
            let let_go = |verdict| verdict == Verdict::NoWorse;
            (
                name,
                spread(runs, |seed| End::of(whole::release(&whole, seed, let_go))),
            )
        }
    };
    let all = results.len();
    let (mut found, missed): (Vec<_>, Vec<_>) =
        results.into_iter().partition(|end| end.rolled_back);
    found.sort_unstable_by_key(|end| end.connections);
    let (median, rate) = if case.counts_false() {
        (None, Some(part(found.len(), all)))
    } else if found.len() <= missed.len() {
        // One that is missed has had more connections than any that is found.
        (Some(u64::MAX), None)
    } else {
        (Some(found.get(all / 2)?.connections), None)
    };
    Some(Row {
        case: name,
        method: method.name(),
        false_rollback: rate,
        median_connections: median,
        runs,
        limit: (method == Method::Serin).then_some(limit),
    })
}

/// How a release ended.
struct End {
    rolled_back: bool,
    connections: u64,
}

impl End {
    const fn of((rolled_back, connections): (bool, u64)) -> Self {
        Self {
            rolled_back,
            connections,
        }
    }
}

/// Half of the releases on each of two threads.
fn spread(runs: u64, release: impl Fn(u64) -> End + Sync) -> Vec<End> {
    let release = &release;
    let of = move |seeds: std::ops::Range<u64>| seeds.map(release).collect::<Vec<_>>();
    thread::scope(|scope| {
        let other = scope.spawn(move || of(runs / 2..runs));
        let mut all = of(0..runs / 2);
        all.extend(other.join().unwrap_or_default());
        all
    })
}

fn release(world: World, method: Method, seed: u64, looks: u32) -> End {
    let mut outcomes = Outcomes::new(world, seed);
    let mut bench = Bench::new(method, world.split);
    let rolled_back = (0..looks).any(|_| bench.look(&outcomes.next()));
    End {
        rolled_back,
        connections: bench.connections(),
    }
}

fn no_worse(world: World, seed: u64) -> End {
    let mut outcomes = Outcomes::new(world, seed);
    let mut bench = Bench::new(Method::Serin, world.split);
    let found = (0..LONG).any(|_| {
        bench.look(&outcomes.next());
        bench.is_no_worse()
    });
    End {
        rolled_back: found,
        connections: bench.connections(),
    }
}

/// Only Serin's judge and Kayenta's compare latencies; a threshold would have to be guessed.
fn slower(times: f64, method: Method, seed: u64) -> End {
    let mut latencies = Latencies::new(20.0, times, seed);
    let mut judge = Judge::new(Settings::default());
    let mut total: Option<Cohorts<Bins>> = None;
    let mut minute: Option<Cohorts<Bins>> = None;
    let mut means = [Vec::new(), Vec::new()];
    let mut rolled_back = false;
    for look in 0..HOUR {
        let new = latencies.next();
        total = Some(sum(total, &new));
        minute = Some(sum(minute, &new));
        rolled_back = match method {
            Method::Serin => {
                let counts = Counts::Values(total.clone().unwrap_or(new));
                let now_ms = u64::from(look) * 1000 / u64::from(LOOKS);
                // Each connection is of a client of its own.
                let dealt = Dealt::usual(counts.of_candidate());
                judge.look(&[(Signal::FirstByte, counts)].into(), dealt, now_ms);
                matches!(judge.verdict(), Verdict::Harm(_))
            }
            Method::MannWhitney if (look + 1).is_multiple_of(60 * LOOKS) => {
                let whole = minute.take().unwrap_or(new);
                means[0].extend(mean(&[&whole.candidate]));
                means[1].extend(mean(&[&whole.baseline[0], &whole.baseline[1]]));
                means[0].len() % 5 == 0 && mann_whitney(&means[0], &means[1]) > 2.326
            }
            Method::MannWhitney | Method::Threshold | Method::ZTest => false,
        };
        if rolled_back {
            break;
        }
    }
    End {
        rolled_back,
        connections: total.map_or(0, |total| total.candidate.iter().sum()),
    }
}

fn sum(total: Option<Cohorts<Bins>>, new: &Cohorts<Bins>) -> Cohorts<Bins> {
    let add = |a: &Bins, b: &Bins| a.iter().zip(b).map(|(a, b)| a + b).collect();
    total.map_or_else(|| new.clone(), |total| total.with(new, add))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
fn part(some: usize, all: usize) -> f64 {
    some as f64 / all as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a simulation, and microseconds"
)]
fn mean(bins: &[&Bins]) -> Option<f64> {
    let counted = bins.iter().flat_map(|bins| bins.iter().enumerate());
    let (count, sum) = counted.fold((0, 0.0), |(count, sum), (bin, &n)| {
        (count + n, sum + value(bin) as f64 * n as f64)
    });
    (count > 0).then(|| sum / count as f64)
}
