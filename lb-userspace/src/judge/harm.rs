//! Is the candidate worse? A test that stays valid however often one looks.
//!
//! A bet is placed before each block of outcomes: that the candidate's clients fail with probability
//! θc, the baseline's with θs. It pays
//!
//! ```text
//!       θc^fc (1-θc)^(nc-fc) · θs^fs (1-θs)^(ns-fs)
//!       ──────────────────────────────────────────── ,   θ0 = (nc θc + ns θs) / (nc + ns)
//!                 θ0^F (1-θ0)^(nc+ns-F)
//! ```
//!
//! which is 1 at most on average whenever both fail alike, at whatever rate, and be it another one in
//! each block (Turner, Ly and Grünwald, arXiv 2106.02693, theorem 1). So what a gambler who starts
//! with 1 has won at any time is evidence: by Ville's inequality, it comes ever to 1/α with
//! probability α at most if the candidate does no harm.
//!
//! Where a candidate may be worse by a tolerance ε, the null hypothesis is pc <= ps + ε, and the bet is
//! paid against the pair (p + ε, p) that is nearest to it in Kullback and Leibler's measure; without a
//! tolerance that is the one above. Its pay is at most 1 on average for every pair of the null: with
//! a and b for how far a pair lies from the nearest one, and k for the slopes there, it is
//! (1 + a kc)^nc (1 + b ks)^ns <= exp(nc a kc + ns b ks), and that exponent is not above 0 for any pair
//! of a convex set.
//!
//! That takes outcomes for independent ones, but clients are what is dealt at random: one that calls
//! all the time and never fails makes its cohort look better than it is. So failures, of which each
//! client has one at most, are bet on a second time, by whose they are: of clients of the same luck, each
//! is the candidate's with the probability π that it was dealt to it, whoever calls how often and
//! whatever befalls all. A bet on ρ times as many pays q/π for each of the candidate's and (1-q)/(1-π)
//! for each of the baseline's, where q = ρπ / (ρπ + 1 - π). The evidence is the lesser of both: by the
//! first, a candidate whose clients only call more often does no harm.
//!
//! Failures alone say little where the candidate's part is large: at a half, one of the candidate's own
//! can't pay more than twice the stake. There it tells much that clients of the baseline don't fail. So
//! part of the stake is bet on whose clients fail and whose don't, by the first outcome of each alone,
//! for that is one a client too: it pays θc/θ0 or θs/θ0 for one that fails and (1-θc)/(1-θ0) or
//! (1-θs)/(1-θ0) for one that does not, where θ0 = πθc + (1-π)θs. Whatever the outcomes are and however
//! they come, each is the candidate's with probability π, so that each factor is 1 on average: a
//! randomisation test (Fisher, The Design of Experiments, 1935) as a martingale (Ramdas, Grünwald, Vovk
//! and Shafer, arXiv 2210.01948). That holds where an outcome shows after as long in either pool, as that
//! of a call does. That a connection was not reset shows at its end: where the candidate's live longer,
//! its good outcomes would be missed, so that only failures are bet on. What both gamblers have together is evidence as well; this one's part
//! of the stake is π, for the larger that is the less failures alone tell, and it is fixed before a
//! step's first outcome.
//!
//! Several gamblers bet on harms of several sizes. After each block all pass a small part of what
//! they have around (Herbster and Warmuth's fixed share): the sum stays what it was, and who has lost
//! everything in a good hour can bet again when the harm comes late.

use serde::{Deserialize, Serialize};

use super::{Block, estimate::Estimate};

/// What gamblers bet on, and what part of the stake each has.
const BETS: [(Bet, f64); 6] = [
    (Bet::Nothing, 0.02),
    (Bet::Odds(1.5), 0.05),
    (Bet::Odds(2.0), 0.30),
    (Bet::Odds(5.0), 0.28),
    (Bet::Odds(25.0), 0.25),
    (Bet::Dead, 0.10),
];
/// What they pass around for each of the candidate's outcomes.
const PASSED: f64 = 2e-5;

/// What a gambler takes the candidate for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bet {
    /// As good as the baseline: keeps what it has.
    Nothing,
    /// Its odds to fail are so many times the baseline's.
    Odds(f64),
    /// It fails nine times of ten.
    Dead,
}

/// Halvings in the search for the nearest pair: to a part in 10^12.
const HALVINGS: u32 = 40;
/// How often a candidate fails that is bet to be dead.
const DEAD: f64 = 0.9;
/// No bet says that something is sure.
const MOST: f64 = 1.0 - 1e-5;

impl Bet {
    /// θc for a baseline's θs; nothing where it would not be worse.
    fn candidate(self, baseline: f64) -> Option<f64> {
        match self {
            Self::Nothing => None,
            Self::Odds(ratio) => {
                let odds = ratio * baseline / (1.0 - baseline);
                Some((odds / (1.0 + odds)).min(MOST))
            }
            Self::Dead => (baseline < DEAD).then_some(DEAD),
        }
    }
}

/// What each gambler has, as a natural logarithm.
type Wealth = [f64; BETS.len()];

/// The evidence that the candidate is worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Harm {
    /// Won by bets on how many fail.
    wealth: Wealth,
    /// Won by bets on whose clients fail; nothing where each client has but one outcome.
    #[serde(default)]
    dealt: Option<Wealth>,
    /// Won by bets on whose clients fail at first and whose don't; likewise.
    #[serde(default)]
    firsts: Option<Wealth>,
    /// The part of the stake that these bets have; unknown before the step's first outcome.
    #[serde(default)]
    staked: Option<f64>,
    /// What the baseline's rate is thought to be.
    baseline: Estimate,
    /// The same of its clients' first outcomes.
    #[serde(default)]
    first_baseline: Estimate,
    /// The tolerance: a difference of rates.
    tolerance: f64,
}

impl Default for Harm {
    fn default() -> Self {
        Self {
            wealth: stakes(0.0),
            dealt: None,
            firsts: None,
            staked: None,
            baseline: Estimate::default(),
            first_baseline: Estimate::default(),
            tolerance: 0.0,
        }
    }
}

impl Harm {
    /// Nothing seen yet; a candidate may be worse by so much. Each client has one outcome.
    pub fn beyond(tolerance: f64) -> Self {
        Self {
            tolerance,
            ..Self::default()
        }
    }

    /// Nothing seen yet. Each client fails once at most, however often it does not.
    pub fn of_failures() -> Self {
        Self {
            dealt: Some(stakes(0.0)),
            firsts: Some(stakes(0.0)),
            ..Self::default()
        }
    }

    /// The same where failures show first, and that others did not fail only later: no bets on whose
    /// clients don't.
    pub fn of_early_failures() -> Self {
        Self {
            firsts: None,
            ..Self::of_failures()
        }
    }

    /// Forgets all but what kind of a test it is.
    pub fn restart(&mut self) {
        *self = Self {
            dealt: self.dealt.map(|_| stakes(0.0)),
            firsts: self.firsts.map(|_| stakes(0.0)),
            ..Self::beyond(self.tolerance)
        };
    }

    /// Gives up what was won, in the same test; what was lost stays lost, or whoever begins anew whenever
    /// it suits would win in the end.
    pub fn begin_anew(&mut self) {
        let dealt = self.dealt.iter_mut().chain(&mut self.firsts);
        for wealth in [&mut self.wealth].into_iter().chain(dealt) {
            *wealth = stakes(sum(wealth).min(0.0));
        }
    }

    /// Takes a block into account, in which this part of the clients of both were dealt to the candidate.
    /// Its size must not have been chosen by its outcomes.
    pub fn observe(&mut self, block: &Block, part: f64) {
        let baseline = self.baseline.rate();
        let outcomes = (block.candidate.parts(), block.baseline.parts());
        if block.compares() {
            bet(&mut self.wealth, (baseline, self.tolerance), |candidate| {
                payoff(outcomes, (candidate, baseline), self.tolerance)
            });
            pass_around(&mut self.wealth, block.candidate.trials);
        }
        if 0.0 < part && part < 1.0 {
            self.observe_dealt(block, part);
        }
        self.baseline = self.baseline.after(block.baseline);
        self.first_baseline = self.first_baseline.after(block.baseline.clients());
    }

    /// Bets on whose clients these are.
    fn observe_dealt(&mut self, block: &Block, part: f64) {
        // What the baseline alone has met counts as well: that the candidate has met nothing is chance.
        let wealth = self.dealt.as_mut().filter(|_| block.baseline.trials > 0);
        if let Some(wealth) = wealth {
            let baseline = self.baseline.rate();
            let failures = (block.candidate.parts().0, block.baseline.parts().0);
            bet(wealth, (baseline, 0.0), |candidate| {
                whose(failures, candidate / baseline, part)
            });
            pass_around(wealth, block.candidate.trials);
        }
        if let Some(wealth) = &mut self.firsts {
            self.staked.get_or_insert(part);
            let baseline = self.first_baseline.rate();
            let clients = [block.candidate, block.baseline].map(|of| of.clients().parts());
            bet(wealth, (baseline, 0.0), |candidate| {
                assigned(clients, (candidate, baseline), part)
            });
            pass_around(wealth, block.candidate.firsts);
        }
    }

    /// The natural logarithm of the evidence: what all gamblers have together.
    pub fn log_e(&self) -> f64 {
        sum(&self.wealth).min(self.log_dealt().unwrap_or(f64::INFINITY))
    }

    /// The same of what is won by bets on whose clients these are.
    fn log_dealt(&self) -> Option<f64> {
        let dealt = sum(self.dealt.as_ref()?);
        let Some((firsts, staked)) = self.firsts.as_ref().zip(self.staked) else {
            return Some(dealt);
        };
        Some(sum(&[
            (1.0 - staked).ln() + dealt,
            staked.ln() + sum(firsts),
        ]))
    }
}

/// What gamblers begin with who have so much together.
fn stakes(log: f64) -> Wealth {
    BETS.map(|(_, part)| part.ln() + log)
}

/// Pays those whose bet is that the candidate is worse than a baseline by more than the tolerance.
fn bet(wealth: &mut Wealth, (baseline, tolerance): (f64, f64), pays: impl Fn(f64) -> f64) {
    let beyond = |rate: &f64| *rate > baseline + tolerance;
    for (wealth, (bet, _)) in wealth.iter_mut().zip(BETS) {
        *wealth += bet.candidate(baseline).filter(beyond).map_or(0.0, &pays);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 connections are not reached"
)]
fn pass_around(wealth: &mut Wealth, trials: u64) {
    let kept = trials as f64 * (-PASSED).ln_1p();
    let passed = (-kept.exp_m1()).ln() + sum(wealth);
    for (wealth, (_, part)) in wealth.iter_mut().zip(BETS) {
        *wealth = sum(&[*wealth + kept, passed + part.ln()]);
    }
}

/// The logarithm of what a bet pays that clients of the candidate fail so many times as often, for
/// failures of its own and of the baseline's; see above.
fn whose((candidate, baseline): (f64, f64), times: f64, part: f64) -> f64 {
    let bet = times * part / (times * part + 1.0 - part);
    weighed(candidate, bet / part) + weighed(baseline, (1.0 - bet) / (1.0 - part))
}

/// The logarithm of what a bet on these rates pays for clients that fail at first and that don't, of the
/// candidate and of the baseline, where this part of all was dealt to the candidate; see above.
fn assigned([(fc, oc), (fs, os)]: [(f64, f64); 2], bet: (f64, f64), part: f64) -> f64 {
    let all = part * bet.0 + (1.0 - part) * bet.1;
    weighed(fc, bet.0 / all)
        + weighed(oc, (1.0 - bet.0) / (1.0 - all))
        + weighed(fs, bet.1 / all)
        + weighed(os, (1.0 - bet.1) / (1.0 - all))
}

/// Candidate's connections that are needed until harm is found, on average, where so many of its own
/// and of the baseline's fail, the baseline having `ratio` for each of the candidate's, and the
/// evidence must come to `limit` (a natural logarithm), each connection being its client's first; nothing
/// where it is never found.
pub fn needed((candidate, baseline): (f64, f64), ratio: f64, limit: f64) -> Option<f64> {
    let outcomes = (
        (candidate, 1.0 - candidate),
        (baseline * ratio, (1.0 - baseline) * ratio),
    );
    let part = 1.0 / (1.0 + ratio);
    let by = |(bet, stake): (Bet, f64)| {
        let rates = (bet.candidate(baseline)?, baseline);
        let by_connections = payoff(outcomes, rates, 0.0);
        let failures = (candidate, baseline * ratio);
        let dealt = [
            (1.0 - part, whose(failures, rates.0 / baseline, part)),
            (part, assigned([outcomes.0, outcomes.1], rates, part)),
        ];
        let needed = dealt.map(|(staked, growth)| {
            let growth = growth.min(by_connections);
            (growth > 0.0).then(|| (limit - stake.ln() - staked.ln()) / growth)
        });
        needed.into_iter().flatten().min_by(f64::total_cmp)
    };
    BETS.into_iter().filter_map(by).min_by(f64::total_cmp)
}

/// The logarithm of what a bet on these rates pays for outcomes that went wrong and that did not, of
/// the candidate and of the baseline.
fn payoff(((fc, oc), (fs, os)): ((f64, f64), (f64, f64)), bet: (f64, f64), tolerance: f64) -> f64 {
    let near = nearest(bet, tolerance, (fc + oc, fs + os));
    weighed(fc, bet.0 / (near + tolerance))
        + weighed(oc, (1.0 - bet.0) / (1.0 - near - tolerance))
        + weighed(fs, bet.1 / near)
        + weighed(os, (1.0 - bet.1) / (1.0 - near))
}

/// The baseline's rate in the pair (p + margin, p) that is nearest to these two rates, for cohorts of
/// these sizes.
pub(super) fn nearest(
    (candidate, baseline): (f64, f64),
    margin: f64,
    (candidates, baselines): (f64, f64),
) -> f64 {
    if margin == 0.0 {
        return (candidates * candidate + baselines * baseline) / (candidates + baselines);
    }
    // The derivative of KL(rate, p) by p, which grows with p.
    let slope = |p: f64, rate: f64| (p - rate) / (p * (1.0 - p));
    let (mut low, mut high) = (0.0, 1.0 - margin);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        let of_candidate = candidates * slope(middle + margin, candidate);
        if of_candidate + baselines * slope(middle, baseline) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// So many times the logarithm; of what did not happen, nothing.
pub(super) fn weighed(times: f64, ratio: f64) -> f64 {
    if times > 0.0 { times * ratio.ln() } else { 0.0 }
}

/// Of what these are the natural logarithms of, the mean, again as one.
pub(super) fn mean(logs: impl Iterator<Item = f64>) -> f64 {
    let logs: Vec<f64> = logs.collect();
    sum(&logs) - f64::from(u32::try_from(logs.len()).unwrap_or(1)).ln()
}

/// The logarithm of a sum of numbers that are given by their logarithms.
pub(super) fn sum(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    let parts: f64 = logs.iter().map(|log| (log - most).exp()).sum();
    most + parts.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Tally;

    /// Of sixteen clients, one is the candidate's.
    const PART: f64 = 1.0 / 16.0;

    fn block(candidate: (u64, u64), baseline: (u64, u64)) -> Block {
        Block {
            candidate: Tally::new(candidate.0, candidate.1),
            baseline: Tally::new(baseline.0, baseline.1),
        }
    }

    /// The mean of what a bet pays for a block of these sizes, over all outcomes, where candidate and
    /// baseline fail with these probabilities.
    #[expect(clippy::cast_precision_loss, reason = "sizes of blocks are small")]
    fn mean_pay(
        (nc, ns): (u64, u64),
        bet: (f64, f64),
        tolerance: f64,
        (pc, ps): (f64, f64),
    ) -> f64 {
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
        let chance = |n: u64, k: u64, rate: f64| {
            choose(n, k) * rate.powf(k as f64) * (1.0 - rate).powf((n - k) as f64)
        };
        let mut mean = 0.0;
        for fc in 0..=nc {
            for fs in 0..=ns {
                let outcomes = block((nc, fc), (ns, fs));
                let outcomes = (outcomes.candidate.parts(), outcomes.baseline.parts());
                mean += chance(nc, fc, pc)
                    * chance(ns, fs, ps)
                    * payoff(outcomes, bet, tolerance).exp();
            }
        }
        mean
    }

    #[test]
    fn no_bet_wins_on_average_where_both_fail_alike() {
        for sizes in [(1, 1), (1, 15), (4, 3), (10, 20)] {
            for bet in [(0.9, 0.001), (0.04, 0.02), (0.5, 0.1), (0.011, 0.01)] {
                for rate in [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0] {
                    let mean = mean_pay(sizes, bet, 0.0, (rate, rate));
                    assert!(mean <= 1.0 + 1e-9, "{sizes:?} {bet:?} {rate}: {mean}");
                }
            }
        }
    }

    #[test]
    fn no_bet_wins_on_average_where_the_candidate_is_worse_by_what_it_may_be() {
        let tolerance = 0.03;
        for sizes in [(1, 1), (1, 15), (10, 20)] {
            for bet in [(0.9, 0.001), (0.2, 0.1), (0.7, 0.5)] {
                for rate in [0.0, 0.01, 0.1, 0.5, 0.9, 0.97] {
                    for less in [0.0, 0.5, 1.0] {
                        let pair = (rate + tolerance * less, rate);
                        let mean = mean_pay(sizes, bet, tolerance, pair);
                        assert!(mean <= 1.0 + 1e-6, "{sizes:?} {bet:?} {pair:?}: {mean}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_candidate_that_fails_always_is_found_by_its_first_connections() {
        let mut harm = Harm::default();
        harm.observe(&block((0, 0), (1000, 2)), PART);
        for _ in 0..4 {
            harm.observe(&block((1, 1), (15, 0)), PART);
        }
        assert!(harm.log_e() > 400_f64.ln(), "{harm:?}");
    }

    #[test]
    fn one_that_fails_as_often_is_not() {
        let mut harm = Harm::default();
        for _ in 0..1000 {
            harm.observe(&block((500, 1), (500, 1)), PART);
        }
        assert!(harm.log_e() < 20_f64.ln(), "{harm:?}");
    }

    #[test]
    fn who_begins_anew_keeps_what_was_lost_and_not_what_was_won() {
        let (won, lost) = (block((100, 30), (100, 0)), block((1000, 2), (1000, 2)));
        for (block, left) in [(won, 0.0), (lost, f64::NEG_INFINITY)] {
            let mut harm = Harm::default();
            harm.observe(&block, PART);
            harm.observe(&block, PART);
            let before = harm.log_e();
            harm.begin_anew();
            assert!((harm.log_e() - before.min(0.0)).abs() < 1e-9, "{before}");
            assert!(left <= harm.log_e() && harm.log_e() <= 0.0);
        }
    }

    #[test]
    fn harm_that_comes_late_is_found_all_the_same() {
        let mut harm = Harm::default();
        for _ in 0..1000 {
            harm.observe(&block((100, 0), (100, 1)), PART);
        }
        let before = harm.log_e();
        assert!(before < 0.0, "{before}");
        for _ in 0..20 {
            harm.observe(&block((1, 1), (1, 0)), PART);
        }
        assert!(harm.log_e() > 400_f64.ln(), "{}", harm.log_e());
    }

    #[test]
    fn what_was_in_both_cohorts_alike_is_no_harm() {
        let mut harm = Harm::default();
        for _ in 0..100 {
            harm.observe(&block((100, 0), (1500, 3)), PART);
        }
        // An outage.
        for _ in 0..240 {
            harm.observe(&block((100, 30), (1500, 450)), PART);
            assert!(harm.log_e() < 20_f64.ln(), "{harm:?}");
        }
    }

    /// A client that calls all the time and never fails hides how often the others of its cohort do.
    #[test]
    fn a_busy_client_of_the_baselines_makes_no_harm_of_failures_that_are_dealt_alike() {
        let [mut misled, mut harm] = [Harm::default(), Harm::of_failures()];
        for round in 0..1000 {
            let failed = u64::from(round % 2 == 0);
            let block = block((100, failed), (100_000, 15 * failed));
            misled.observe(&block, PART);
            harm.observe(&block, PART);
        }
        assert!(misled.log_e() > 400_f64.ln(), "{misled:?}");
        assert!(harm.log_e() < 20_f64.ln(), "{harm:?}");
    }

    #[test]
    fn nor_does_a_candidate_whose_clients_call_more_often() {
        let mut harm = Harm::of_failures();
        for _ in 0..1000 {
            harm.observe(&block((500, 1), (1500, 3)), PART);
        }
        assert!(harm.log_e() < 20_f64.ln(), "{harm:?}");
    }

    #[test]
    fn no_bet_on_whose_clients_fail_wins_on_average_where_they_are_dealt_at_random() {
        for part in [1.0 / 16.0, 0.25, 0.5, 0.9] {
            for times in [1.5, 5.0, 900.0] {
                let [won, lost] = [(1.0, 0.0), (0.0, 1.0)].map(|of| whose(of, times, part).exp());
                let mean = part * won + (1.0 - part) * lost;
                assert!((mean - 1.0).abs() < 1e-9, "{part} {times}: {mean}");
            }
        }
    }

    /// However the outcomes are, and be each client's another: only whose they are is chance.
    #[test]
    fn nor_does_one_on_whose_fail_and_whose_don_t() {
        for part in [1.0 / 16.0, 0.25, 0.5, 0.9] {
            for rates in [(0.9, 0.001), (0.04, 0.02), (0.5, 0.1)] {
                for outcome in [(1.0, 0.0), (0.0, 1.0)] {
                    let none = (0.0, 0.0);
                    let [own, other] = [[outcome, none], [none, outcome]]
                        .map(|clients| assigned(clients, rates, part).exp());
                    let mean = part * own + (1.0 - part) * other;
                    assert!((mean - 1.0).abs() < 1e-9, "{part} {rates:?}: {mean}");
                }
            }
        }
    }

    /// A block whose every outcome is its client's first.
    fn newcomers(candidate: (u64, u64), baseline: (u64, u64)) -> Block {
        let tally = |(trials, failures)| Tally::new(trials, failures).of_clients(trials, failures);
        Block {
            candidate: tally(candidate),
            baseline: tally(baseline),
        }
    }

    /// How many of its own fail until it is found, where so many of the baseline's don't beside each round
    /// of its own.
    fn found_after(mut harm: Harm, part: f64, (own, others): (u64, u64)) -> u64 {
        let mut failed = 0;
        while harm.log_e() < 400_f64.ln() {
            harm.observe(&newcomers((own, own), (others, 0)), part);
            failed += own;
            assert!(failed <= 100, "{part}: {}", harm.log_e());
        }
        failed
    }

    #[test]
    fn a_candidate_of_many_clients_is_found_by_those_of_the_baselines_that_do_not_fail() {
        for (part, round, expected) in [
            (0.25, (1, 3), (5, 6)),
            (0.5, (1, 1), (7, 11)),
            (0.9, (9, 1), (36, 72)),
        ] {
            let found = found_after(Harm::of_failures(), part, round);
            let by_failures = found_after(Harm::of_early_failures(), part, round);
            assert_eq!((found, by_failures), expected, "{part}");
        }
    }

    /// Whatever comes of it later.
    #[test]
    fn a_client_that_calls_again_and_again_is_bet_on_by_its_first_outcome_alone() {
        let mut harm = Harm::of_failures();
        for round in 0..1000 {
            let first = u64::from(round == 0);
            harm.observe(
                &Block {
                    candidate: Tally::new(1000, first).of_clients(first, first),
                    baseline: Tally::new(10, 0).of_clients(first, 0),
                },
                0.5,
            );
        }
        assert!(harm.log_e() < 3_f64.ln(), "{harm:?}");
    }

    #[test]
    fn failures_of_a_candidate_that_is_worse_are_found_by_both_bets() {
        let mut harm = Harm::of_failures();
        harm.observe(&block((0, 0), (1000, 2)), PART);
        for _ in 0..4 {
            harm.observe(&block((1, 1), (15, 0)), PART);
        }
        assert!(harm.log_e() > 400_f64.ln(), "{harm:?}");
    }

    #[test]
    fn the_connections_needed_are_about_those_that_are_used() {
        let needed = needed((0.05, 0.002), 15.0, 400_f64.ln()).expect("it is found");
        assert!((70.0..140.0).contains(&needed), "{needed}");
        assert_eq!(super::needed((0.002, 0.002), 15.0, 400_f64.ln()), None);
    }
}
