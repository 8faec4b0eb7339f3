//! What had been counted before a release.

use std::collections::BTreeMap;

use lb_common::signal::{self, SIGNALS};
use serde::{Deserialize, Serialize};

use crate::{
    api::{judged::BackendEvidence, stream::Latency},
    dataplane::signals::Signals,
    judge::Tally,
    state::ServiceState,
};

/// What the kernel's counters said when a release began: they only grow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Beginning {
    /// Of each backend, by its id.
    #[serde(default)]
    backends: BTreeMap<u16, [u64; SIGNALS]>,
    /// Of each backend, by its id: connections that had come to live, and those that had ended.
    #[serde(default)]
    lives: BTreeMap<u16, [u64; 2]>,
    /// How long clients had waited.
    #[serde(default)]
    latency: Latency,
}

impl Beginning {
    /// As counted now.
    pub fn at(counts: &BTreeMap<u16, signal::Tally>, signals: &Signals) -> Self {
        Self {
            backends: counts.iter().map(|(&id, now)| (id, now.pairs)).collect(),
            lives: counts
                .iter()
                .map(|(&id, now)| (id, [now.opened, now.ended]))
                .collect(),
            latency: signals.into(),
        }
    }

    /// How long clients have waited since.
    pub fn waited(&self, signals: &Signals) -> Latency {
        Latency::from(signals).since(&self.latency)
    }

    /// Connections that have come to live since and have not ended, by backend.
    pub fn live(&self, counts: &BTreeMap<u16, signal::Tally>) -> BTreeMap<u16, u64> {
        let live = |(&id, now): (&u16, &signal::Tally)| {
            let [opened, ended] = self.lives.get(&id).copied().unwrap_or_default();
            let before = signal::Tally {
                opened,
                ended,
                ..signal::Tally::default()
            };
            (id, live(now, &before))
        };
        counts.iter().map(live).collect()
    }

    /// What has come since, by backends that have not left.
    pub fn since(
        &self,
        state: &ServiceState,
        counts: &BTreeMap<u16, signal::Tally>,
    ) -> Vec<BackendEvidence> {
        let backends = state
            .backends
            .iter()
            .filter(|(_, backend)| !backend.leaving);
        let counted = backends.filter_map(|(id, backend)| {
            let [opened, ended] = self.lives.get(id).copied().unwrap_or_default();
            let before = signal::Tally {
                pairs: self.backends.get(id).copied().unwrap_or_default(),
                opened,
                ended,
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
                live: live(now, &before),
            })
        });
        counted.collect()
    }
}

/// Connections that have come to live since, and have not ended.
fn live(now: &signal::Tally, before: &signal::Tally) -> u64 {
    let anew = now.opened < before.opened || now.ended < before.ended;
    let (opened, ended) = if anew {
        (0, 0)
    } else {
        (before.opened, before.ended)
    };
    (now.opened - opened).saturating_sub(now.ended - ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_live_that_have_come_since_and_have_not_ended() {
        let tally = |opened, ended| signal::Tally {
            opened,
            ended,
            ..signal::Tally::default()
        };
        for (before, now, expected) in [
            ((10, 4), (15, 5), 4),
            // Of before, six have ended.
            ((10, 4), (11, 10), 0),
            // Another backend of the same id.
            ((10, 4), (3, 1), 2),
        ] {
            let [before, now] = [before, now].map(|(opened, ended)| tally(opened, ended));
            assert_eq!(live(&now, &before), expected, "{now:?} since {before:?}");
        }
    }

    #[test]
    fn what_was_counted_before_a_release_is_not_its_own() {
        let pairs = [5 << 32 | 2, 0, 1 << 32, 0];
        let counted = |pairs| signal::Tally {
            pairs,
            ..signal::Tally::default()
        };
        let beginning = Beginning::at(&BTreeMap::from([(1, counted(pairs))]), &Signals::default());
        let pair = counted([9 << 32 | 3, 0, 4 << 32 | 1, 0]);
        let since = pair.pair_since(signal::Signal::Connect, &counted(beginning.backends[&1]));
        assert_eq!((since.trials, since.failures), (4, 1));
    }
}
