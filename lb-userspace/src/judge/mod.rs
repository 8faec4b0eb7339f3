//! The judge: is the candidate worse than the active pool, by what the kernel has seen of both?
//!
//! Clients are dealt to the pools at random, by a salted hash, so that what is counted on both sides
//! is a controlled experiment. Each signal is tested sequentially: the evidence may be looked at as
//! often as one likes, and the first look at which it suffices decides. Pure: time and counters come
//! in as values.

mod breaker;
mod cohorts;
mod course;
mod estimate;
mod evidence;
mod harm;
mod no_worse;
mod quantile;
mod replay;
mod signal;
mod summary;
mod tally;
mod tape;
mod trial;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::evidence::Limits;
pub use self::{
    breaker::{BREAKER, CONNECTIONS, USUAL, false_trips},
    cohorts::Cohorts,
    course::{Counts, Course},
    evidence::{Compared, Evidence, percent},
    harm::needed,
    quantile::{Bins, Quantile, Side, Slack, value},
    replay::{Replay, Told},
    signal::{Kind, Signal},
    summary::{Said, SignalSummary, Summary},
    tally::{Block, Tally},
    tape::{Place, Tape},
    trial::Trial,
};

/// Clients of the baseline for each one of the candidate, where there are so many. With equal
/// cohorts the same verdict takes 2.5 times as many of the candidate's connections, and those are
/// the ones that a bad candidate harms.
pub const BASELINE_RATIO: u32 = 15;
/// Probability of a false "no worse", for each signal.
const MISSED: f64 = 0.05;
/// Probability that a release's baseline seems, by any of its signals and by chance, to have halves that
/// differ.
const FALSE_APART: f64 = 0.001;

/// How a release is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What it is judged by.
    pub signals: Vec<Signal>,
    /// Probability that a release that does no harm is ever said to do some, in parts of one; the
    /// signals share it.
    pub false_alarm: f64,
    /// Clients of the candidate that must have been seen in a step before it is said to be no worse.
    pub min_clients: u64,
    /// How many steps of the release are judged; each gets its part of the false alarms.
    #[serde(default = "one")]
    pub steps: usize,
}

const fn one() -> usize {
    1
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            signals: vec![
                Signal::Connect,
                Signal::EarlyReset,
                Signal::Handshake,
                Signal::FirstByte,
            ],
            false_alarm: 0.01,
            min_clients: 100,
            steps: one(),
        }
    }
}

impl Settings {
    /// What the evidence of one signal must come to before it says harm, as a natural logarithm.
    #[expect(clippy::cast_precision_loss, reason = "there are seven signals")]
    pub fn harm_limit(&self) -> f64 {
        (self.signals.len() as f64 / self.false_alarm).ln()
    }

    /// The same of the evidence that the baseline's own halves differ, before a signal tells nothing.
    #[expect(clippy::cast_precision_loss, reason = "there are seven signals")]
    pub fn apart_limit(&self) -> f64 {
        (self.signals.len() as f64 / FALSE_APART).ln()
    }
}

/// What the evidence comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The candidate is worse, by this signal first.
    Harm(Signal),
    /// By all signals it is no worse than by their margins.
    NoWorse,
    /// Neither, as yet.
    Undecided,
    /// Too few of its connections were seen to say.
    Starved,
    /// Clients that nothing tells apart differ by this signal, so that it tells nothing.
    Unsound(Signal),
}

/// One release before its judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    settings: Settings,
    courses: Vec<Course>,
    looked_ms: Option<u64>,
    /// Harm, once found, stays.
    found: Option<Signal>,
    /// Connections that were judged before the present step.
    before: u64,
    clients: Clients,
}

/// How clients are dealt out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dealt {
    /// How many of the candidate's were counted, each once a step; that only grows.
    pub clients: u64,
    /// The candidate's part of all clients that are compared: the probability that one of them was
    /// dealt to it.
    pub part: f64,
}

impl Dealt {
    /// Where the baseline has as many clients as it should.
    pub fn usual(clients: u64) -> Self {
        Self {
            clients,
            part: 1.0 / (1.0 + f64::from(BASELINE_RATIO)),
        }
    }
}

/// Clients of the candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Clients {
    /// The counter at the last look.
    last: Option<u64>,
    /// How many in the present step.
    in_step: u64,
}

impl Judge {
    /// Nothing seen yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            courses: {
                let signals = settings.signals.iter();
                signals
                    .map(|&signal| Course::new(signal, settings.steps))
                    .collect()
            },
            settings,
            looked_ms: None,
            found: None,
            before: 0,
            clients: Clients::default(),
        }
    }

    /// How it judges.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes in what the counters say, at a time of a clock that never goes back. Whether it has judged
    /// anything by it: what has come, or what has waited for long enough.
    pub fn look(&mut self, counts: &BTreeMap<Signal, Counts>, dealt: Dealt, now_ms: u64) -> bool {
        let last = self.clients.last.replace(dealt.clients);
        let last = last.unwrap_or(dealt.clients);
        self.clients.in_step += dealt.clients.saturating_sub(last);
        let elapsed_ms = now_ms.saturating_sub(self.looked_ms.unwrap_or(now_ms));
        self.looked_ms = Some(now_ms);
        let mut has_judged = false;
        for course in &mut self.courses {
            if let Some(counts) = counts.get(&course.signal) {
                has_judged |= course.look(counts, dealt.part, elapsed_ms);
            }
        }
        self.found = self.found.or_else(|| self.harm());
        has_judged
    }

    /// Takes note of what the counters say, and judges nothing: clients were dealt out anew since the last
    /// look, so that what has come meanwhile is partly of the draw before, by another part of all clients.
    pub fn pass_over(&mut self, counts: &BTreeMap<Signal, Counts>, clients: u64, now_ms: u64) {
        self.clients.last = Some(clients);
        self.looked_ms = Some(now_ms);
        for course in &mut self.courses {
            if let Some(counts) = counts.get(&course.signal) {
                course.pass_over(counts);
            }
        }
    }

    /// Another step of the release begins. Harm that was found stays; that the candidate is no worse must
    /// be shown anew.
    pub fn next_step(&mut self) {
        if self.judged() > self.before {
            self.before = self.judged();
            self.clients.in_step = 0;
            self.courses.iter_mut().for_each(Course::next_step);
        }
    }

    /// The present step begins anew, since clients were dealt out anew: what was seen of it says nothing
    /// of what comes. Harm that was found stays.
    pub fn begin_step_anew(&mut self) {
        self.before = self.judged();
        self.clients.in_step = 0;
        self.courses.iter_mut().for_each(Course::begin_step_anew);
    }

    /// What the evidence comes to.
    pub fn verdict(&self) -> Verdict {
        if let Some(signal) = self.found {
            return Verdict::Harm(signal);
        }
        let apart = self.settings.apart_limit();
        if let Some(course) = self.courses.iter().find(|course| course.apart() >= apart) {
            return Verdict::Unsound(course.signal);
        }
        // Connections that there is nothing to compare with are not judged.
        let seen = self.clients.in_step.min(self.judged() - self.before);
        if seen < self.settings.min_clients {
            return Verdict::Starved;
        }
        let limit = (1.0 / MISSED).ln();
        if self.courses.iter().all(|course| course.no_worse() >= limit) {
            return Verdict::NoWorse;
        }
        Verdict::Undecided
    }

    /// The numbers behind it, by signal.
    pub fn evidence(&self) -> Vec<Evidence> {
        let limits = Limits {
            harm: self.settings.harm_limit(),
            no_worse: (1.0 / MISSED).ln(),
            apart: self.settings.apart_limit(),
        };
        let courses = self.courses.iter();
        courses
            .map(|course| Evidence::of(course, &limits))
            .collect()
    }

    /// Clients of the candidate that were seen in the present step.
    pub const fn clients_in_step(&self) -> u64 {
        self.clients.in_step
    }

    /// Connections of the candidate that were judged by the signal that most were judged by.
    pub fn judged(&self) -> u64 {
        let trials = self.courses.iter().flat_map(Course::trials);
        let judged = trials.map(|(_, trial)| trial.totals().candidate.trials);
        judged.max().unwrap_or(0)
    }

    fn harm(&self) -> Option<Signal> {
        let limit = self.settings.harm_limit();
        let apart = self.settings.apart_limit();
        let sound = |course: &&Course| course.apart() < apart;
        let mut harmful = self.courses.iter().filter(sound);
        let found = harmful.find(|course| course.harm() >= limit);
        found.map(|course| course.signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counters that grow by these outcomes at each look, four times a second.
    #[derive(Clone)]
    struct Clock {
        judge: Judge,
        total: Cohorts<Tally>,
        now_ms: u64,
    }

    impl Clock {
        fn new(settings: Settings) -> Self {
            let mut clock = Self {
                judge: Judge::new(settings),
                total: Cohorts::default(),
                now_ms: 0,
            };
            clock.pass((0, 0), [(0, 0), (0, 0)]);
            clock
        }

        fn pass(&mut self, candidate: (u64, u64), baseline: [(u64, u64); 2]) {
            let tally = |(trials, failures)| Tally::new(trials, failures);
            self.total = self.total.plus(&Cohorts {
                candidate: tally(candidate),
                baseline: baseline.map(tally),
            });
            self.now_ms += 250;
            let counts = [(Signal::Connect, Counts::Outcomes(self.total))];
            let clients = self.total.candidate.trials;
            self.judge
                .look(&counts.into(), Dealt::usual(clients), self.now_ms);
        }
    }

    fn by_connect() -> Settings {
        Settings {
            signals: vec![Signal::Connect],
            ..Settings::default()
        }
    }

    #[test]
    fn what_was_counted_before_the_first_look_is_another_releases() {
        let mut judge = Judge::new(by_connect());
        let dead = Cohorts {
            candidate: Tally::new(1000, 1000),
            baseline: [Tally::new(7000, 0); 2],
        };
        let counts = [(Signal::Connect, Counts::Outcomes(dead))].into();
        judge.look(&counts, Dealt::usual(1000), 0);
        judge.look(&counts, Dealt::usual(1000), 250);
        assert_eq!((judge.verdict(), judge.judged()), (Verdict::Starved, 0));
    }

    #[test]
    fn a_candidate_that_answers_nobody_is_found_and_stays_found() {
        let mut clock = Clock::new(by_connect());
        let mut looks = 0;
        while clock.judge.verdict() == Verdict::Starved {
            clock.pass((1, 1), [(7, 0), (8, 0)]);
            looks += 1;
        }
        assert!(looks <= 5, "after {looks}");
        assert_eq!(clock.judge.verdict(), Verdict::Harm(Signal::Connect));
        for _ in 0..1000 {
            clock.pass((100, 0), [(700, 0), (800, 0)]);
        }
        assert_eq!(clock.judge.verdict(), Verdict::Harm(Signal::Connect));
    }

    #[test]
    fn a_good_one_is_starved_then_undecided_then_no_worse() {
        let mut clock = Clock::new(by_connect());
        let mut seen = Vec::new();
        for _ in 0..400 {
            clock.pass((5, 0), [(37, 0), (38, 0)]);
            let verdict = clock.judge.verdict();
            if seen.last() != Some(&verdict) {
                seen.push(verdict);
            }
        }
        let whole = [Verdict::Starved, Verdict::Undecided, Verdict::NoWorse];
        assert_eq!(seen, whole);
    }

    #[test]
    fn each_step_is_shown_to_be_no_worse_anew_and_harm_is_sought_in_all() {
        let mut clock = Clock::new(by_connect());
        for _ in 0..400 {
            clock.pass((5, 0), [(37, 0), (38, 0)]);
        }
        assert_eq!(clock.judge.verdict(), Verdict::NoWorse);
        clock.judge.next_step();
        assert_eq!(clock.judge.verdict(), Verdict::Starved);
        for _ in 0..400 {
            clock.pass((5, 0), [(37, 0), (38, 0)]);
        }
        assert_eq!(clock.judge.verdict(), Verdict::NoWorse);
        clock.judge.next_step();
        for _ in 0..40 {
            clock.pass((5, 2), [(37, 0), (38, 0)]);
        }
        assert_eq!(clock.judge.verdict(), Verdict::Harm(Signal::Connect));
    }

    /// Buckets are nested: whoever is in the first step is in all others.
    #[test]
    fn one_client_that_fails_in_every_step_does_not_add_up_to_harm() {
        let settings = Settings {
            steps: 6,
            ..by_connect()
        };
        let mut clock = Clock::new(settings);
        for _ in 0..6 {
            for look in 0..4000 {
                clock.pass((5, u64::from(look == 3000)), [(37, 0), (38, 0)]);
            }
            assert_ne!(clock.judge.verdict(), Verdict::Harm(Signal::Connect));
            clock.judge.next_step();
        }
    }

    #[test]
    fn a_step_that_begins_anew_must_show_anew_that_it_is_no_worse() {
        let mut clock = Clock::new(by_connect());
        for _ in 0..400 {
            clock.pass((5, 0), [(37, 0), (38, 0)]);
        }
        assert_eq!(clock.judge.verdict(), Verdict::NoWorse);
        clock.judge.begin_step_anew();
        assert_eq!(clock.judge.verdict(), Verdict::Starved);
        for _ in 0..40 {
            clock.pass((5, 2), [(37, 0), (38, 0)]);
        }
        let harm = Verdict::Harm(Signal::Connect);
        assert_eq!(clock.judge.verdict(), harm);
        clock.judge.begin_step_anew();
        assert_eq!(clock.judge.verdict(), harm, "it stays found");
    }

    #[test]
    fn however_often_a_step_begins_anew_a_client_that_fails_each_time_is_no_harm() {
        let mut clock = Clock::new(by_connect());
        for _ in 0..100 {
            for look in 0..400 {
                clock.pass((5, u64::from(look == 300)), [(37, 0), (38, 0)]);
            }
            assert_ne!(clock.judge.verdict(), Verdict::Harm(Signal::Connect));
            clock.judge.begin_step_anew();
        }
    }

    /// The rate of false alarms is one of a whole release: neither its steps nor its signals, nor the two
    /// directions, nor a test's quantiles add to it.
    #[test]
    fn halves_that_differ_by_chance_in_one_step_of_many_are_no_alarm() {
        let settings = |steps, signals| Settings {
            steps,
            signals: Signal::ALL[..signals].to_vec(),
            ..Settings::default()
        };
        let apart = |steps: usize, signals: usize| {
            let mut clock = Clock::new(settings(steps, signals));
            // Odds of 1600 to 1 in one of two directions.
            for _ in 0..12 {
                clock.pass((5, 0), [(37, 1), (38, 0)]);
            }
            let evidence = &clock.judge.evidence()[0];
            evidence.apart - evidence.apart_limit
        };
        let alone = apart(1, 1);
        let [ten_steps, seven_signals] = [apart(10, 1), apart(1, 7)].map(|of| alone - of);
        assert!((ten_steps - 1.0).abs() < 0.05, "{ten_steps}");
        assert!(
            (seven_signals - 7_f64.log10()).abs() < 0.05,
            "{seven_signals}"
        );
    }

    /// Between the last look at a draw and the next one's first, some have come of both.
    #[test]
    fn what_came_while_clients_were_dealt_out_anew_is_evidence_of_neither_draw() {
        let mut clock = Clock::new(by_connect());
        for _ in 0..400 {
            clock.pass((5, 0), [(37, 0), (38, 0)]);
        }
        // What waits for one of the candidate's to compare it with is of before as well.
        clock.pass((0, 0), [(0, 0), (1000, 1000)]);
        let (judged, clients) = (clock.judge.judged(), clock.judge.clients_in_step());
        let over = clock.total.plus(&Cohorts {
            candidate: Tally::new(1000, 1000),
            baseline: [Tally::new(0, 0); 2],
        });
        (clock.total, clock.now_ms) = (over, clock.now_ms + 250);
        let counts = [(Signal::Connect, Counts::Outcomes(over))].into();
        let all = over.candidate.trials;
        clock.judge.pass_over(&counts, all, clock.now_ms);
        assert_eq!((judged, clients), (2000, 2000));
        clock.pass((5, 0), [(37, 0), (38, 0)]);
        assert_eq!(clock.judge.judged(), 2005);
        assert_eq!(clock.judge.clients_in_step(), 2005);
        let compared = &clock.judge.evidence()[0].compared[0];
        assert_eq!(compared.candidate, Tally::new(2005, 0));
        assert_eq!(compared.baseline, Tally::new(401 * 75, 0));
    }

    #[test]
    fn connections_with_nothing_to_compare_them_with_are_not_judged() {
        let mut clock = Clock::new(by_connect());
        for _ in 0..400 {
            clock.pass((50, 0), [(0, 0), (0, 0)]);
        }
        assert_eq!(clock.judge.verdict(), Verdict::Starved);
    }

    #[test]
    fn halves_of_the_baseline_that_differ_make_a_signal_worthless() {
        let mut clock = Clock::new(by_connect());
        for _ in 0..400 {
            clock.pass((5, 1), [(37, 10), (38, 0)]);
        }
        assert_eq!(clock.judge.verdict(), Verdict::Unsound(Signal::Connect));
    }

    #[test]
    fn nothing_that_was_counted_is_no_verdict() {
        let mut clock = Clock::new(by_connect());
        for _ in 0..100 {
            clock.pass((0, 0), [(0, 0), (0, 0)]);
        }
        assert_eq!(clock.judge.verdict(), Verdict::Starved);
    }

    #[test]
    fn a_judge_goes_on_from_what_was_kept_of_it() {
        let mut clock = Clock::new(by_connect());
        for _ in 0..40 {
            clock.pass((5, 1), [(37, 1), (38, 0)]);
        }
        let text = serde_json::to_string(&clock.judge).expect("it can be kept");
        let mut kept = Clock {
            judge: serde_json::from_str(&text).expect("it can be read"),
            ..clock.clone()
        };
        for clock in [&mut clock, &mut kept] {
            clock.pass((5, 0), [(37, 0), (38, 1)]);
        }
        let [a, b] = [&clock, &kept].map(|clock| clock.judge.evidence()[0].harm);
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        assert_eq!(clock.judge.judged(), kept.judge.judged());
    }
}
