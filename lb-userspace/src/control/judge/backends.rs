//! Whose failures they are: one backend's, or the version's.

use std::collections::BTreeMap;

use lb_common::signal::{self, SIGNALS};
use serde::{Deserialize, Serialize};

use crate::{api::judged::BackendEvidence, judge::Tally, state::ServiceState};

/// So rarely does chance deal failures like that to one of a pool's backends.
const CHANCE: f64 = 0.001;

/// What the kernel's counters said of each backend when a release began, by its id: they only grow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct Beginning(BTreeMap<u16, [u64; SIGNALS]>);

impl Beginning {
    /// As counted now.
    pub(super) fn at(counts: &BTreeMap<u16, signal::Tally>) -> Self {
        Self(counts.iter().map(|(&id, now)| (id, now.pairs)).collect())
    }

    /// What has come since, by backends that have not left.
    pub(super) fn since(
        &self,
        state: &ServiceState,
        counts: &BTreeMap<u16, signal::Tally>,
    ) -> Vec<BackendEvidence> {
        let backends = state
            .backends
            .iter()
            .filter(|(_, backend)| !backend.leaving);
        let counted = backends.filter_map(|(id, backend)| {
            let before = signal::Tally {
                pairs: self.0.get(id).copied().unwrap_or_default(),
                ..signal::Tally::default()
            };
            let now = counts.get(id)?;
            let of = |signal| {
                let (then, pair) = (before.pair(signal), now.pair(signal));
                // Counters begin anew with new maps, and with another backend of the same id.
                let anew = pair.trials < then.trials || pair.failures < then.failures;
                let pair = if anew {
                    pair
                } else {
                    now.pair_since(signal, &before)
                };
                Tally::new(pair.trials.into(), pair.failures.into())
            };
            Some(BackendEvidence {
                name: backend.name.clone(),
                pool: backend.pool.clone(),
                connect: of(signal::Signal::Connect),
                early_reset: of(signal::Signal::ResetEarly),
            })
        });
        counted.collect()
    }
}

/// Backends of a pool that fail more often than its others, each in a sentence.
pub(super) fn apart(pool: &str, backends: &[BackendEvidence]) -> Vec<String> {
    let members: Vec<_> = backends.iter().filter(|of| of.pool == pool).collect();
    let by = |what: &str, tally: fn(&BackendEvidence) -> Tally| {
        let whole = members.iter().map(|of| tally(of));
        let whole = whole.fold(Tally::default(), Tally::plus);
        let told = members.iter().filter_map(|of| {
            let (own, others) = (tally(of), whole.since(tally(of)));
            stands_out(own, others).then(|| {
                format!(
                    "`{}` stands out in `{pool}`: {what} {} of its {} connections, and {} of the \
                     {} of the others",
                    of.name, own.failures, own.trials, others.failures, others.trials
                )
            })
        });
        told.collect::<Vec<_>>()
    };
    let mut told = by("unanswered or refused were", |of| of.connect);
    told.extend(by("reset within a second were", |of| of.early_reset));
    told
}

/// Whether one backend has more of its pool's failures than chance would deal to it: Chernoff's bound
/// of the binomial's tail, exp(-F KL(f/F, n/N)).
#[expect(clippy::cast_precision_loss, reason = "counts of a release")]
fn stands_out(own: Tally, others: Tally) -> bool {
    let all = own.plus(others);
    if own.failures == 0 || others.trials == 0 {
        return false;
    }
    let (failures, trials) = (all.failures as f64, all.trials as f64);
    let got = own.failures as f64 / failures;
    let fair = own.trials as f64 / trials;
    let part = |got: f64, fair: f64| {
        if got > 0.0 {
            got * (got / fair).ln()
        } else {
            0.0
        }
    };
    let divergence = part(got, fair) + part(1.0 - got, 1.0 - fair);
    got > fair && (-failures * divergence).exp() < CHANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(name: &str, early_reset: (u64, u64)) -> BackendEvidence {
        BackendEvidence {
            name: name.to_owned(),
            pool: "green".to_owned(),
            connect: Tally::new(early_reset.0, 0),
            early_reset: Tally::new(early_reset.0, early_reset.1),
        }
    }

    #[test]
    fn one_bad_backend_is_told_from_a_bad_version() {
        let one = [
            backend("g1", (100, 30)),
            backend("g2", (110, 0)),
            backend("g3", (90, 1)),
        ];
        assert_eq!(
            apart("green", &one),
            [
                "`g1` stands out in `green`: reset within a second were 30 of its 100 connections, \
                 and 1 of the 200 of the others"
            ]
        );
        let all = [
            backend("g1", (100, 30)),
            backend("g2", (110, 20)),
            backend("g3", (90, 25)),
        ];
        assert_eq!(apart("green", &all), Vec::<String>::new());
        assert_eq!(apart("green", &one[..1]), Vec::<String>::new(), "alone");
    }

    #[test]
    fn what_was_counted_before_a_release_is_not_its_own() {
        let pairs = [5 << 32 | 2, 0, 1 << 32, 0];
        let counted = |pairs| signal::Tally {
            pairs,
            ..signal::Tally::default()
        };
        let beginning = Beginning::at(&BTreeMap::from([(1, counted(pairs))]));
        let pair = counted([9 << 32 | 3, 0, 4 << 32 | 1, 0]);
        let since = pair.pair_since(signal::Signal::Connect, &counted(beginning.0[&1]));
        assert_eq!((since.trials, since.failures), (4, 1));
    }
}
