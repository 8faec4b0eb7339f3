//! Ways to judge a release: Serin's, and what is in use elsewhere.

use lb_userspace::judge::{Cohorts, Counts, Dealt, Judge, Settings, Signal, Tally, Verdict};

use super::world::{LOOKS, Seen, Split};

/// A way to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Serin's judge, with its usual settings.
    Serin,
    /// As Flagger does by default: each minute the candidate's success rate must be 99%; five
    /// minutes in which it is not end the release.
    Threshold,
    /// Two proportions compared each second by a z-test of what was seen so far, at 1%.
    ZTest,
    /// As Kayenta does: each five minutes, the rates of all minutes so far are compared by Mann and
    /// Whitney's test, at 1%.
    MannWhitney,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Serin, Self::Threshold, Self::ZTest, Self::MannWhitney];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serin => "serin",
            Self::Threshold => "threshold",
            Self::ZTest => "z-test",
            Self::MannWhitney => "mann-whitney",
        }
    }
}

/// A judge at work on one release.
pub struct Bench {
    method: Method,
    split: Split,
    judge: Judge,
    total: Seen<Cohorts<Tally>>,
    minute: Cohorts<Tally>,
    /// Rates of each minute, of the candidate and of the baseline.
    minutes: [Vec<f64>; 2],
    failed: u32,
    look: u32,
}

/// The signal that simulated failures are of.
const SIGNAL: Signal = Signal::Connect;
/// One-sided, 1%.
const Z: f64 = 2.326;

impl Bench {
    /// Nothing seen yet.
    pub fn new(method: Method, split: Split) -> Self {
        let mut bench = Self {
            method,
            split,
            judge: Judge::new(Settings {
                steps: split.steps(),
                ..Settings::default()
            }),
            total: Seen {
                by_all: Cohorts::default(),
                by_serin: Cohorts::default(),
            },
            minute: Cohorts::default(),
            minutes: [Vec::new(), Vec::new()],
            failed: 0,
            look: 0,
        };
        bench.ask(split.part(0));
        bench
    }

    /// Takes in what came since the last look; true if it rolls back.
    pub fn look(&mut self, seen: &Seen<Cohorts<Tally>>) -> bool {
        let part = self.split.part(self.look);
        if self.split.turns(self.look) {
            self.judge.next_step();
        }
        self.look += 1;
        self.total.by_all = self.total.by_all.plus(&seen.by_all);
        self.total.by_serin = self.total.by_serin.plus(&seen.by_serin);
        self.minute = self.minute.plus(&seen.by_all);
        let second = self.look.is_multiple_of(LOOKS);
        let minute = self.look.is_multiple_of(LOOKS * 60);
        match self.method {
            Method::Serin => matches!(self.ask(part), Verdict::Harm(_)),
            Method::Threshold => minute && self.is_below_threshold(),
            Method::ZTest => second && self.z() > Z,
            Method::MannWhitney => minute && self.ranks(),
        }
    }

    /// Whether Serin's judge says that the candidate is no worse, by the one signal that is fed.
    pub fn is_no_worse(&self) -> bool {
        let evidence = self.judge.evidence();
        let fed = evidence.iter().find(|evidence| evidence.signal == SIGNAL);
        fed.is_some_and(|evidence| evidence.no_worse >= evidence.no_worse_limit)
    }

    /// Connections of the candidate so far.
    pub const fn connections(&self) -> u64 {
        self.total.by_all.candidate.trials
    }

    fn ask(&mut self, part: f64) -> Verdict {
        let now_ms = u64::from(self.look) * 1000 / u64::from(LOOKS);
        let counts = [(SIGNAL, Counts::Outcomes(self.total.by_serin))];
        // Each connection is of a client of its own.
        let dealt = Dealt {
            clients: self.total.by_serin.candidate.trials,
            part,
        };
        self.judge.look(&counts.into(), dealt, now_ms);
        self.judge.verdict()
    }

    fn is_below_threshold(&mut self) -> bool {
        let minute = std::mem::take(&mut self.minute);
        if minute.candidate.rate().is_some_and(|failed| failed > 0.01) {
            self.failed += 1;
        }
        self.failed >= 5
    }

    fn z(&self) -> f64 {
        let (candidate, baseline) = (self.total.by_all.candidate, self.total.by_all.whole());
        let (Some(ours), Some(theirs)) = (candidate.rate(), baseline.rate()) else {
            return 0.0;
        };
        let pooled = candidate.plus(baseline).rate().unwrap_or(0.0);
        let parts = 1.0 / float(candidate.trials) + 1.0 / float(baseline.trials);
        let deviation = (pooled * (1.0 - pooled) * parts).sqrt();
        if candidate.failures < 5 || deviation == 0.0 {
            return 0.0;
        }
        (ours - theirs) / deviation
    }

    fn ranks(&mut self) -> bool {
        let minute = std::mem::take(&mut self.minute);
        let rates = [minute.candidate.rate(), minute.whole().rate()];
        for (minutes, rate) in self.minutes.iter_mut().zip(rates) {
            minutes.extend(rate);
        }
        let [candidate, baseline] = &self.minutes;
        candidate.len() % 5 == 0 && mann_whitney(candidate, baseline) > Z
    }
}

/// How far the first numbers lie above the second, in standard deviations of chance: Mann and
/// Whitney's U by its normal approximation, ties counted as halves.
pub fn mann_whitney(ours: &[f64], theirs: &[f64]) -> f64 {
    let (n, m) = (count(ours), count(theirs));
    if n < 5.0 || m < 5.0 {
        return 0.0;
    }
    let above = |a: f64, b: f64| match a.total_cmp(&b) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let pairs = ours
        .iter()
        .flat_map(|&a| theirs.iter().map(move |&b| above(a, b)));
    let u: f64 = pairs.sum();
    let mut all: Vec<f64> = ours.iter().chain(theirs).copied().collect();
    all.sort_by(f64::total_cmp);
    let ties = all.chunk_by(|a, b| a.total_cmp(b).is_eq()).map(|equal| {
        let t = count(equal);
        t * t * t - t
    });
    let total = n + m;
    let spread = total + 1.0 - ties.sum::<f64>() / (total * (total - 1.0));
    let deviation = (n * m / 12.0 * spread).sqrt();
    if deviation > 0.0 {
        (u - n * m / 2.0) / deviation
    } else {
        0.0
    }
}

fn count(values: &[f64]) -> f64 {
    float(values.len() as u64)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 connections are not reached"
)]
const fn float(number: u64) -> f64 {
    number as f64
}
