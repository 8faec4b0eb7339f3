//! What the judge knows of a release: counts that the packet path takes of measured connections.
//!
//! A connection is measured if its SYN was seen while the record of its service said so, and if its
//! client is of a [cohort](cohort). All that is decided of it is decided at an event (an answer, a
//! reset, an end), as a trial that failed or did not: one addition to one word, so that in no interval
//! there are more failures than trials.

pub mod breaker;
pub mod client;
pub mod histogram;
mod segment;
mod watched;

use bytemuck::{Pod, Zeroable};

pub use self::{
    breaker::Breaker,
    client::Told,
    histogram::Histogram,
    segment::Segment,
    watched::{Call, Clock, Kind, Watched},
};
use crate::flow::FlowKey;

/// Clients that are compared: by their bucket, and so drawn at random.
pub mod cohort {
    /// Those whom the share sends to the candidate.
    pub const CANDIDATE: u32 = 0;
    /// Those at the far end of the active pool's, with an even bucket.
    pub const EVEN: u32 = 1;
    /// The same with an odd bucket. Nothing but chance tells these from the even ones.
    pub const ODD: u32 = 2;
    /// How many there are.
    pub const COUNT: u32 = 3;
    /// No cohort: a client that nothing is measured of.
    pub const NONE: u32 = 3;
}

/// What is decided of a connection; the number is its place in a [`Tally`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// It was refused, its SYN was sent again before an answer, or had none for
    /// [`ANSWER_NS`](watched::ANSWER_NS), where answers can be seen.
    Connect = 0,
    /// It was reset by the server, or by the client in the first second; decided at its end.
    Reset,
    /// The same, decided within the first second: one that is seen later has not failed.
    ResetEarly,
    /// A segment of it was seen again; decided at its end, or after many packets.
    Retransmission,
}

/// How many signals there are.
pub const SIGNALS: usize = 4;
/// In [`Decided`]: bits from a trial to its failure, as many as signals.
const TO_FAILURE: u32 = 4;
/// In [`Decided`]: bits from a trial to whether it is its client's first of that signal.
const TO_FIRST: u32 = 16;
/// In [`Decided`]: the trials.
const TRIALS: u32 = 0xf;

impl Signal {
    /// All signals, by their number.
    pub const ALL: [Self; SIGNALS] = [
        Self::Connect,
        Self::Reset,
        Self::ResetEarly,
        Self::Retransmission,
    ];
}

/// What a packet has decided of its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Trials in the lowest bits, by [`Signal`]; failures above them; then the constants; then those
    /// trials that are their client's first.
    bits: u32,
    /// Of [`Self::HANDSHAKE`] or [`Self::FIRST_BYTE`], nanoseconds.
    pub sample_ns: u64,
}

impl Decided {
    /// The connection lives.
    pub const OPENED: u32 = 1 << 8;
    /// A connection that lived does no more.
    pub const ENDED: u32 = 1 << 9;
    /// There is nothing more to see of it.
    pub const OVER: u32 = 1 << 10;
    /// The handshake has taken so long.
    pub const HANDSHAKE: u32 = 1 << 11;
    /// From the client's first payload to the server's it has taken so long.
    pub const FIRST_BYTE: u32 = 1 << 12;
    /// Its bytes are known.
    pub const BYTES: u32 = 1 << 13;
    /// Its client has told nothing before.
    pub const NEWCOMER: u32 = 1 << 14;
    /// Values, of which there are histograms.
    const SAMPLES: u32 = Self::HANDSHAKE | Self::FIRST_BYTE | Self::BYTES;
    /// That there is nothing of for anybody to count once.
    const LIFE: u32 = Self::OPENED | Self::ENDED | Self::OVER;

    /// Nothing at all.
    pub const NOTHING: Self = Self {
        bits: 0,
        sample_ns: 0,
    };

    /// From [`Self::bits`], without a sample.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self { bits, sample_ns: 0 }
    }

    /// All but the sample.
    #[inline(always)]
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// Whether that is all.
    #[inline(always)]
    pub const fn is_nothing(&self) -> bool {
        self.bits == 0
    }

    /// Whether `flag` is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.bits & flag != 0
    }

    /// With `flags` set as well.
    #[inline(always)]
    #[must_use]
    pub const fn with(mut self, flags: u32) -> Self {
        self.bits |= flags;
        self
    }

    /// With a trial of `signal`.
    #[inline(always)]
    #[must_use]
    pub const fn trial(mut self, signal: Signal, failed: bool) -> Self {
        self.bits |= 1 << signal as u32 | (failed as u32) << (signal as u32 + TO_FAILURE);
        self
    }

    /// Whether `signal` is decided.
    #[inline(always)]
    pub const fn decides(&self, signal: Signal) -> bool {
        self.bits & 1 << signal as u32 != 0
    }

    /// What it adds to a pair of [`Tally::pairs`]; 0 if `signal` is not decided.
    #[inline(always)]
    pub const fn step(&self, signal: Signal) -> u64 {
        let trials = self.bits >> signal as u32 & 1;
        let failures = self.bits >> (signal as u32 + TO_FAILURE) & 1;
        (trials as u64) << 32 | failures as u64
    }

    /// What it adds to a pair of [`Tally::firsts`]; 0 unless it is its client's first trial of `signal`.
    #[inline(always)]
    pub const fn first_step(&self, signal: Signal) -> u64 {
        let first = self.bits >> (signal as u32 + TO_FIRST) & 1;
        let failed = self.bits >> (signal as u32 + TO_FAILURE) & first;
        (first as u64) << 32 | failed as u64
    }

    /// 1 if `flag` is set, else 0.
    #[inline(always)]
    pub const fn times(&self, flag: u32) -> u64 {
        (self.bits >> flag.trailing_zeros() & 1) as u64
    }

    /// Whether `signal` has failed.
    #[inline(always)]
    pub const fn fails(&self, signal: Signal) -> bool {
        self.failures() & 1 << signal as u32 != 0
    }

    /// A bit for each signal that has failed.
    #[inline(always)]
    pub const fn failures(&self) -> u32 {
        self.bits >> TO_FAILURE & 0xf
    }

    /// The same of a connection that began in an earlier draw: it is no evidence, but it lives, and ends.
    #[inline(always)]
    #[must_use]
    pub const fn of_earlier(mut self) -> Self {
        self.bits &= Self::LIFE;
        self
    }

    /// Whether it is evidence of anything.
    #[inline(always)]
    pub const fn is_evidence(&self) -> bool {
        self.bits & !Self::LIFE != 0
    }

    /// What its client can't tell a second time: the signals that have failed, values, and what has had
    /// its first trial.
    #[inline(always)]
    pub const fn spent(&self) -> u32 {
        self.failures() | self.bits & Self::SAMPLES | (self.bits & TRIALS) << TO_FIRST
    }

    /// Without what a client has told already, by [`Self::spent`]; trials that are its first are told as
    /// such. A signal that it has failed is no trial of its any more either: else those that go well would
    /// hide that others don't.
    #[inline(always)]
    #[must_use]
    pub const fn without(mut self, spent: u32) -> Self {
        let signals = spent & TRIALS;
        self.bits &= !(signals | signals << TO_FAILURE | spent & Self::SAMPLES);
        self.bits |= (self.bits & TRIALS & !(spent >> TO_FIRST)) << TO_FIRST;
        self
    }
}

/// Counts of a cohort, or of a backend. They only grow, and readers take differences.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tally {
    /// By [`Signal`]: trials in the upper half, failures in the lower. One word, so that one addition
    /// counts both. The upper half wraps.
    pub pairs: [u64; SIGNALS],
    /// Connections that came to live.
    pub opened: u64,
    /// Connections that lived and whose end was seen.
    pub ended: u64,
    /// Clients, each once a draw.
    pub clients: u64,
    /// The same as `pairs` of the first trial of each client alone, in each draw.
    pub firsts: [u64; SIGNALS],
}

const _: () = assert!(size_of::<Tally>() == 88);

/// Trials of one signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// How many.
    pub trials: u32,
    /// How many of them failed.
    pub failures: u32,
}

impl Pair {
    #[expect(clippy::cast_possible_truncation, reason = "each half is meant")]
    const fn of(word: u64) -> Self {
        Self {
            trials: (word >> 32) as u32,
            failures: word as u32,
        }
    }
}

impl Tally {
    /// All trials so far.
    pub fn pair(&self, signal: Signal) -> Pair {
        self.pair_since(signal, &Self::default())
    }

    /// Trials since `before`; fewer than 2^32.
    pub const fn pair_since(&self, signal: Signal, before: &Self) -> Pair {
        Pair::of(self.pairs[signal as usize].wrapping_sub(before.pairs[signal as usize]))
    }

    /// All clients' first trials so far.
    pub const fn first(&self, signal: Signal) -> Pair {
        Pair::of(self.firsts[signal as usize])
    }

    /// Connections that live, unless their end was missed.
    pub const fn live(&self) -> u64 {
        self.opened.saturating_sub(self.ended)
    }
}

/// What the program that looks for calls without an answer is asked about: one connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Asked {
    /// The connection.
    pub key: FlowKey,
    /// The service of its listener.
    pub service: u32,
    /// 1 if it has IPv6, else 0.
    pub v6: u32,
}

const _: () = assert!(size_of::<Asked>() == 32);

/// Index of a cohort's tally.
#[inline(always)]
pub const fn tally_index(service: u32, cohort: u32) -> u32 {
    service * cohort::COUNT + cohort
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_its_own_trials_however_often_they_have_wrapped() {
        let mut tally = Tally::default();
        tally.pairs[0] = u64::from(u32::MAX) << 32 | 7;
        let before = tally;
        for failed in [false, true, false] {
            let decided = Decided::NOTHING.trial(Signal::Connect, failed);
            tally.pairs[0] = tally.pairs[0].wrapping_add(decided.step(Signal::Connect));
        }
        let pair = tally.pair_since(Signal::Connect, &before);
        assert_eq!((pair.trials, pair.failures), (3, 1));
    }

    #[test]
    fn a_client_has_one_first_trial_of_each_signal_be_it_a_failure_or_not() {
        let fine = Decided::NOTHING.trial(Signal::Connect, false);
        let both = Decided::NOTHING
            .trial(Signal::Connect, true)
            .trial(Signal::Reset, true);
        let mut spent = 0;
        let mut told = |decided: Decided| {
            let told = decided.without(spent);
            spent |= told.spent();
            [Signal::Connect, Signal::Reset].map(|of| (told.step(of), told.first_step(of)))
        };
        assert_eq!(told(fine), [(1 << 32, 1 << 32), (0, 0)]);
        assert_eq!(told(fine), [(1 << 32, 0), (0, 0)]);
        assert_eq!(told(both), [(1 << 32 | 1, 0), (1 << 32 | 1, 1 << 32 | 1)]);
        assert_eq!(told(both), [(0, 0), (0, 0)]);
    }

    #[test]
    fn a_signal_that_is_left_out_is_neither_a_trial_nor_a_failure() {
        let decided = Decided::NOTHING
            .trial(Signal::Reset, true)
            .trial(Signal::ResetEarly, true)
            .trial(Signal::Retransmission, false)
            .with(Decided::ENDED);
        assert_eq!(decided.failures(), 0b0110);
        let left = decided.without(1 << Signal::Reset as u32);
        assert!(!left.decides(Signal::Reset) && !left.fails(Signal::Reset));
        assert!(left.fails(Signal::ResetEarly) && left.decides(Signal::Retransmission));
        assert!(left.has(Decided::ENDED));
        let steps = [Signal::Reset, Signal::ResetEarly, Signal::Retransmission];
        assert_eq!(steps.map(|of| left.step(of)), [0, 1 << 32 | 1, 1 << 32]);
        let times = [Decided::ENDED, Decided::OPENED].map(|of| left.times(of));
        assert_eq!(times, [1, 0]);
    }
}
