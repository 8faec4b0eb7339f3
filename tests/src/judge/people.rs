//! Releases whose clients come again and again, each as often, as luckily and from as far away as ever:
//! only who gets which version is chance.

use lb_common::signal::histogram::{BINS, ROWS};
use lb_userspace::judge::{Bins, Cohorts, Counts, Dealt, Judge, Settings, Signal, Tally, Verdict};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rand_distr::{Distribution as _, LogNormal, Pareto};

use super::world::{LOOKS, Split, place, poisson};

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
    /// How they are dealt out.
    pub split: Split,
}

/// One of them.
struct Person {
    /// Where its bucket is, of all from 0 to 1: the candidate's come first.
    bucket: f64,
    /// The half of the baseline that it is of, if it is the baseline's.
    half: usize,
    fails: f64,
    factor: f64,
    told: Told,
}

/// What a client can't tell a second time.
#[derive(Default)]
struct Told {
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
        steps: people.split.steps(),
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
        // What is counted here came before this look.
        let dealt = Dealt {
            clients: counted.clients,
            part: people.split.part(look.saturating_sub(1)),
        };
        judge.look(&counts.into(), dealt, now_ms);
        if matches!(judge.verdict(), Verdict::Harm(_)) {
            return (true, judge.judged());
        }
        if people.split.turns(look) {
            judge.next_step();
            for person in &mut persons {
                person.told = Told::default();
            }
        }
        let part = people.split.part(look);
        for _ in 0..poisson(people.rate / f64::from(LOOKS), &mut rng) {
            let turn: f64 = rng.random_range(0.0..turns.last().copied().unwrap_or(1.0));
            let next = turns.partition_point(|&end| end <= turn);
            if let Some(person) = persons.get_mut(next) {
                counted.connection(person, part, &mut rng);
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
        Self {
            bucket: rng.random(),
            half: rng.random_range(1..COHORTS),
            fails,
            factor,
            told: Told::default(),
        }
    }

    /// The cohort: the candidate's, or one of the halves.
    fn cohort(&self, part: f64) -> usize {
        if self.bucket < part { 0 } else { self.half }
    }
}

impl Counted {
    /// As the packet path counts: who has failed is no trial any more, and gives one time.
    fn connection(&mut self, person: &mut Person, part: f64, rng: &mut SmallRng) {
        let cohort = person.cohort(part);
        let told = &mut person.told;
        let first = u64::from(!std::mem::replace(&mut told.seen, true));
        if cohort == 0 {
            self.clients += first;
        }
        if !told.failed {
            told.failed = rng.random_bool(person.fails);
            let failed = u64::from(told.failed);
            let tally = Tally::new(1, failed).of_clients(first, failed * first);
            self.outcomes[cohort] = self.outcomes[cohort].plus(tally);
        }
        if !std::mem::replace(&mut told.timed, true) {
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
