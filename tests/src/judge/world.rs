//! Releases that never were: clients dealt at random, and what becomes of their connections.

use lb_common::signal::histogram::{self, BINS, ROWS};
use lb_userspace::judge::{BASELINE_RATIO, Bins, Cohorts, Tally};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rand_distr::{Binomial, Distribution as _, LogNormal, Poisson};

/// Looks a second, as the daemon takes them.
pub const LOOKS: u32 = 4;
/// The median latency of the active pool, in microseconds.
const MEDIAN_US: f64 = 20_000.0;

/// What a release is like.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Connections of the candidate a second.
    pub rate: f64,
    /// The part of the active pool's connections that fail.
    pub base: f64,
    /// The part of the candidate's.
    pub candidate: f64,
    /// What befalls both.
    pub weather: Weather,
    /// How clients are dealt out.
    pub split: Split,
}

/// Which part of the clients that are compared is the candidate's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// As many of the active pool's as are wanted: a sixteenth.
    Usual,
    /// This part.
    Part(f64),
    /// A sixteenth, and from this look on a half: another step, in which all are dealt out anew.
    Ramp(u32),
}

impl Split {
    /// The part at a look.
    pub fn part(self, look: u32) -> f64 {
        let usual = 1.0 / (1.0 + f64::from(BASELINE_RATIO));
        match self {
            Self::Usual => usual,
            Self::Part(part) => part,
            Self::Ramp(at) if look < at => usual,
            Self::Ramp(_) => 0.5,
        }
    }

    /// Whether another step begins by a look.
    pub fn turns(self, look: u32) -> bool {
        self == Self::Ramp(look)
    }

    /// How many there are.
    pub const fn steps(self) -> usize {
        match self {
            Self::Usual | Self::Part(_) => 1,
            Self::Ramp(_) => 2,
        }
    }
}

/// What befalls both pools alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Fair,
    /// A client that fails does so 5 to 20 times in a row.
    Clustered,
    /// In one minute 30% of all connections fail.
    Outage,
    /// The failures grow to eight times what they were.
    Drift,
}

/// What comes of the same connections.
#[derive(Clone, Copy, Debug)]
pub struct Seen<T> {
    /// As servers and proxies count: each connection.
    pub by_all: T,
    /// As Serin's packet path counts: each client fails but once.
    pub by_serin: T,
}

/// Outcomes, look by look.
pub struct Outcomes {
    world: World,
    rng: SmallRng,
    look: u32,
}

impl Outcomes {
    /// The same for the same seed.
    pub fn new(world: World, seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self {
            world,
            rng,
            look: 0,
        }
    }

    /// What came since the last look.
    pub fn next(&mut self) -> Seen<Cohorts<Tally>> {
        let second = self.look / LOOKS;
        let World {
            rate,
            base,
            candidate,
            weather,
            split,
        } = self.world;
        let part = split.part(self.look);
        self.look += 1;
        let weather = |part: f64| match weather {
            Weather::Outage if (600..660).contains(&second) => part.max(0.3),
            Weather::Fair | Weather::Clustered | Weather::Outage => part,
            Weather::Drift => part * (1.0 + 7.0 * f64::from(second) / 3600.0),
        };
        let (base, candidate) = (weather(base), weather(candidate));
        let rate = rate / f64::from(LOOKS);
        let half = rate * (1.0 - part) / part / 2.0;
        let candidate = self.tally(rate, candidate);
        let [even, odd] = [self.tally(half, base), self.tally(half, base)];
        let cohorts = |of: fn(Seen<Tally>) -> Tally| Cohorts {
            candidate: of(candidate),
            baseline: [of(even), of(odd)],
        };
        Seen {
            by_all: cohorts(|seen| seen.by_all),
            by_serin: cohorts(|seen| seen.by_serin),
        }
    }

    fn tally(&mut self, mean: f64, failing: f64) -> Seen<Tally> {
        let trials = poisson(mean, &mut self.rng);
        let failures = Binomial::new(trials, failing).map_or(0, |b| b.sample(&mut self.rng));
        if self.world.weather == Weather::Clustered {
            return self.clustered(trials - failures, failures);
        }
        Seen {
            by_all: Tally::new(trials, failures),
            by_serin: once_each(trials, failures),
        }
    }

    /// The same part of connections fails, but each failure is one of a client that fails again and
    /// again: of these, the packet path counts the first, and the others not at all.
    fn clustered(&mut self, fine: u64, failures: u64) -> Seen<Tally> {
        const MEAN: f64 = 12.5;
        let clients = Binomial::new(failures, 1.0 / MEAN);
        let clients = clients.map_or(0, |b| b.sample(&mut self.rng));
        let all: u64 = (0..clients).map(|_| self.rng.random_range(5..=20)).sum();
        Seen {
            by_all: Tally::new(fine + all, all),
            by_serin: once_each(fine + clients, clients),
        }
    }
}

/// Outcomes of as many clients.
fn once_each(trials: u64, failures: u64) -> Tally {
    Tally::new(trials, failures).of_clients(trials, failures)
}

/// Latencies, look by look: lognormal, σ 0.5, median 20 ms.
pub struct Latencies {
    rng: SmallRng,
    rate: f64,
    slower: f64,
}

impl Latencies {
    /// The candidate's are so many times the active pool's.
    pub fn new(rate: f64, slower: f64, seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self { rng, rate, slower }
    }

    /// What came since the last look.
    pub fn next(&mut self) -> Cohorts<Bins> {
        let rate = self.rate / f64::from(LOOKS);
        let half = rate * f64::from(BASELINE_RATIO) / 2.0;
        Cohorts {
            candidate: self.bins(rate, self.slower),
            baseline: [self.bins(half, 1.0), self.bins(half, 1.0)],
        }
    }

    fn bins(&mut self, mean: f64, times: f64) -> Bins {
        let mut bins = vec![0; ROWS as usize * BINS];
        let values = LogNormal::new(0.0, 0.5).ok();
        for _ in 0..poisson(mean, &mut self.rng) {
            let value = values.map_or(1.0, |values| values.sample(&mut self.rng));
            bins[place(value * times)] += 1;
        }
        bins
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "microseconds"
)]
/// The bin of so many times the usual latency.
pub fn place(value: f64) -> usize {
    let bin = histogram::bin((value * MEDIAN_US) as u64);
    bin.row as usize * BINS + bin.place as usize
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count"
)]
/// A number of what comes at random, so many on average.
pub fn poisson(mean: f64, rng: &mut SmallRng) -> u64 {
    Poisson::new(mean).map_or(0, |poisson| poisson.sample(rng) as u64)
}
