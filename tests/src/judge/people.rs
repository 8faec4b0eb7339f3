//! Releases whose clients come again and again, each as often, as luckily and from as far away as ever:
//! only who gets which version is chance.

use lb_common::signal::histogram::{BINS, ROWS};
use lb_userspace::judge::{
    BASELINE_RATIO, Bins, Cohorts, Counts, Dealt, Judge, Settings, Signal, Tally, Verdict,
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rand_distr::{Distribution as _, LogNormal, Pareto};

use super::world::{LOOKS, place, poisson};

/// Who comes. Both versions are the same.
#[derive(Clone, Copy, Debug)]
pub struct People {
    /// How many there are, of both cohorts.
    pub clients: u32,
    /// Connections a second, of all of them. A few make most of these: Pareto, with the exponent 1.2.
    pub rate: f64,
    /// How long it takes, in looks.
    pub looks: u32,
    /// The part of clients who fail one time of ten; the others fail one time of two thousand.
    pub unlucky: f64,
    /// How far apart clients are from each other: σ of the factor that all latencies of a client have.
    pub spread: f64,
    /// The part of all connections that one client makes, who never fails.
    pub busy: f64,
}

/// One of them.
struct Person {
    /// The cohort: the candidate's, or one of the halves.
    cohort: usize,
    fails: f64,
    factor: f64,
    /// What it can't tell a second time.
    failed: bool,
    timed: bool,
    seen: bool,
}

const UNLUCKY: f64 = 0.1;
const LUCKY: f64 = 0.0005;
/// Of one client's latencies.
const JITTER: f64 = 0.2;
const COHORTS: usize = 3;

/// What the packet path counts of them.
#[derive(Default)]
struct Counted {
    outcomes: [Tally; COHORTS],
    times: [Bins; COHORTS],
    clients: u64,
}

/// Whether a release is taken back, and after how many connections of the candidate's.
pub fn release(people: &People, seed: u64) -> (bool, u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut persons, turns) = gather(people, &mut rng);
    let mut judge = Judge::new(Settings {
        signals: vec![Signal::EarlyReset, Signal::FirstByte],
        ..Settings::default()
    });
    let mut counted = Counted {
        times: [(); COHORTS].map(|()| vec![0; ROWS as usize * BINS]),
        ..Counted::default()
    };
    for look in 0..people.looks {
        let counts = [
            (
                Signal::EarlyReset,
                Counts::Outcomes(cohorts(&counted.outcomes)),
            ),
            (Signal::FirstByte, Counts::Values(cohorts(&counted.times))),
        ];
        let now_ms = u64::from(look) * 1000 / u64::from(LOOKS);
        judge.look(&counts.into(), Dealt::usual(counted.clients), now_ms);
        if matches!(judge.verdict(), Verdict::Harm(_)) {
            return (true, judge.judged());
        }
        for _ in 0..poisson(people.rate / f64::from(LOOKS), &mut rng) {
            let turn: f64 = rng.random_range(0.0..turns.last().copied().unwrap_or(1.0));
            let next = turns.partition_point(|&end| end <= turn);
            if let Some(person) = persons.get_mut(next) {
                counted.connection(person, &mut rng);
            }
        }
    }
    (false, judge.judged())
}

/// All of them, and where each one's part of the connections ends.
fn gather(people: &People, rng: &mut SmallRng) -> (Vec<Person>, Vec<f64>) {
    let often = Pareto::new(1.0, 1.2).expect("a distribution");
    let far = LogNormal::new(0.0, people.spread).expect("a distribution");
    let mut persons = Vec::new();
    let mut parts = Vec::new();
    for _ in 0..people.clients {
        let fails = if rng.random_bool(people.unlucky) {
            UNLUCKY
        } else {
            LUCKY
        };
        persons.push(Person::new(fails, far.sample(rng), rng));
        // Nobody is busier than a thousand others.
        parts.push(f64::min(often.sample(rng), 1000.0));
    }
    if people.busy > 0.0 {
        let others: f64 = parts.iter().sum();
        persons.push(Person::new(0.0, 1.0, rng));
        parts.push(others * people.busy / (1.0 - people.busy));
    }
    let ends = parts.iter().scan(0.0, |end, part| {
        *end += part;
        Some(*end)
    });
    let ends = ends.collect();
    (persons, ends)
}

impl Person {
    fn new(fails: f64, factor: f64, rng: &mut SmallRng) -> Self {
        let cohort = if rng.random_ratio(1, 1 + BASELINE_RATIO) {
            0
        } else {
            rng.random_range(1..COHORTS)
        };
        Self {
            cohort,
            fails,
            factor,
            failed: false,
            timed: false,
            seen: false,
        }
    }
}

impl Counted {
    /// As the packet path counts: who has failed is no trial any more, and gives one time.
    fn connection(&mut self, person: &mut Person, rng: &mut SmallRng) {
        let cohort = person.cohort;
        if !std::mem::replace(&mut person.seen, true) && cohort == 0 {
            self.clients += 1;
        }
        if !person.failed {
            person.failed = rng.random_bool(person.fails);
            let tally = Tally::new(1, u64::from(person.failed));
            self.outcomes[cohort] = self.outcomes[cohort].plus(tally);
        }
        if !std::mem::replace(&mut person.timed, true) {
            let jitter = LogNormal::new(0.0, JITTER).expect("a distribution");
            self.times[cohort][place(person.factor * jitter.sample(rng))] += 1;
        }
    }
}

fn cohorts<T: Clone>(of: &[T; COHORTS]) -> Cohorts<T> {
    let [candidate, even, odd] = of.clone();
    Cohorts {
        candidate,
        baseline: [even, odd],
    }
}
