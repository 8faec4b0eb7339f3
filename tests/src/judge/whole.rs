//! Whole releases before Serin's judge: all its signals at once, in several steps.

use std::collections::BTreeMap;

use lb_userspace::judge::{Bins, Cohorts, Counts, Dealt, Judge, Settings, Signal, Tally, Verdict};

use super::{
    sum,
    world::{LOOKS, Latencies, Outcomes, Split, Weather, World},
};

/// What a release is judged by, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// By what; each has outcomes of its own.
    pub signals: &'static [Signal],
    /// In how many steps, each as long as the others.
    pub steps: u32,
    /// How long it takes, in looks.
    pub looks: u32,
    /// Connections of the candidate a second.
    pub rate: f64,
    /// The part of the active pool's connections that fail.
    pub base: f64,
    /// The part of the candidate's.
    pub candidate: f64,
}

/// The counters of one signal.
enum Counted {
    Outcomes(Outcomes, Cohorts<Tally>),
    Values(Latencies, Option<Cohorts<Bins>>),
}

impl Counted {
    fn new(signal: Signal, whole: &Whole, seed: u64) -> Self {
        let latency = matches!(signal, Signal::Handshake | Signal::FirstByte);
        if latency {
            return Self::Values(Latencies::new(whole.rate, 1.0, seed), None);
        }
        let world = World {
            rate: whole.rate,
            base: whole.base,
            candidate: whole.candidate,
            weather: Weather::Fair,
            split: Split::Usual,
        };
        Self::Outcomes(Outcomes::new(world, seed), Cohorts::default())
    }

    fn next(&mut self) -> Counts {
        match self {
            Self::Outcomes(outcomes, total) => {
                *total = total.plus(&outcomes.next().by_serin);
                Counts::Outcomes(*total)
            }
            Self::Values(latencies, total) => {
                let new = latencies.next();
                let all = sum(total.take(), &new);
                *total = Some(all.clone());
                Counts::Values(all)
            }
        }
    }
}

/// A release whose every step is looked at to its end: whether a look has said `wanted`, and how many
/// connections the candidate had by then.
pub fn release(whole: &Whole, seed: u64, wanted: fn(Verdict) -> bool) -> (bool, u64) {
    let settings = Settings {
        signals: whole.signals.to_vec(),
        steps: whole.steps as usize,
        ..Settings::default()
    };
    let mut judge = Judge::new(settings);
    let of = |(number, &signal): (u64, &Signal)| {
        let seed = seed << 8 | number;
        (signal, Counted::new(signal, whole, seed))
    };
    let mut counted: Vec<_> = (0..).zip(whole.signals).map(of).collect();
    let step = whole.looks / whole.steps;
    for look in 0..whole.looks {
        if look > 0 && look.is_multiple_of(step) {
            judge.next_step();
        }
        let counts = counted.iter_mut();
        let counts: BTreeMap<_, _> = counts
            .map(|(signal, counted)| (*signal, counted.next()))
            .collect();
        // Each connection is of a client of its own.
        let clients = counts.values().map(Counts::of_candidate).max();
        let now_ms = u64::from(look) * 1000 / u64::from(LOOKS);
        judge.look(&counts, Dealt::usual(clients.unwrap_or_default()), now_ms);
        if wanted(judge.verdict()) {
            return (true, judge.judged());
        }
    }
    (false, judge.judged())
}
