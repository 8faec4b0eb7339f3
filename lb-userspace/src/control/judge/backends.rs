//! Whose failures they are: one backend's, or the version's.

use crate::{api::judged::BackendEvidence, judge::Tally};

/// So rarely does chance deal failures like that to one of a pool's backends.
const CHANCE: f64 = 0.001;

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
            live: 0,
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
}
