//! Of one service.

use lb_common::signal::{
    self, Histogram, cohort,
    histogram::{Bin, ROWS, lowest, middle},
};

use super::{Labels, Page, Value, names};
use crate::{
    api::model::{BackendStatus, PoolStatus, Status, Traffic},
    dataplane::signals::{Cohort, Signals},
    journal::Happened,
    state::Admin,
};

/// What is known of a service.
#[derive(Clone, Debug)]
pub struct Service {
    /// What `serin status` says.
    pub status: Status,
    /// What was counted of measured connections, if its release is judged.
    pub signals: Option<Signals>,
    /// What has happened to it, as the log has it, since the daemon started.
    pub events: Vec<(Happened, u64)>,
}

/// Cohorts by number; both halves of the baseline are what the judge compares with.
const COHORTS: [(&str, &[u32]); 2] = [
    ("candidate", &[cohort::CANDIDATE]),
    ("baseline", &[cohort::EVEN, cohort::ODD]),
];
const SIGNALS: [(&str, signal::Signal); 4] = [
    ("connect", signal::Signal::Connect),
    ("reset", signal::Signal::Reset),
    ("early-reset", signal::Signal::ResetEarly),
    ("retransmission", signal::Signal::Retransmission),
];
const MICROSECOND: f64 = 1e-6;

impl Page {
    /// Adds what is known of a service.
    pub fn add_service(&mut self, service: &Service) {
        let status = &service.status;
        self.add_state(status);
        self.add_release(status);
        for (event, count) in &service.events {
            let labels = vec![of(status), ("event", event.to_string())];
            self.count(&names::EVENTS, labels, *count);
        }
        for pool in &status.pools {
            self.add_pool(&status.service, pool);
        }
        for audience in &status.audiences {
            let labels = || vec![of(status), ("audience", audience.name.clone())];
            self.count(&names::AUDIENCE_CONNECTIONS, labels(), audience.connections);
            self.count(&names::AUDIENCE_PACKETS, labels(), audience.packets);
        }
        if let Some(signals) = &service.signals {
            self.add_signals(status, signals);
        }
    }

    fn add_state(&mut self, status: &Status) {
        let labels = || vec![of(status)];
        self.count(&names::CUT, labels(), status.cut);
        self.count(&names::ORPHANED, labels(), status.orphaned);
        self.count(&names::SETTLED, labels(), status.settled.into());
        self.number(&names::SHARE, labels(), ratio(status.share_ppm));
        if let Some(ppm) = status.measured.share_ppm {
            self.number(&names::MEASURED, labels(), ratio(ppm));
        }
    }

    fn add_release(&mut self, status: &Status) {
        let Some(release) = &status.release else {
            return;
        };
        let labels = || vec![of(status)];
        let step = release.step.unwrap_or(0);
        self.count(&names::RELEASE, labels(), release.number);
        self.count(&names::STEP, labels(), step as u64);
        self.count(&names::STEPS, labels(), release.steps as u64);
        let state = vec![of(status), ("state", release.state.clone())];
        self.count(&names::STATE, state, 1);
    }

    fn add_pool(&mut self, service: &str, pool: &PoolStatus) {
        let labels = || vec![("service", service.to_owned()), ("pool", pool.name.clone())];
        self.count(&names::POOL_DROPPED, labels(), pool.dropped);
        self.count(&names::POOL_DEAD, labels(), pool.dead.into());
        let active = pool.role == "active";
        self.count(&names::ACTIVE, labels(), active.into());
        for backend in &pool.backends {
            let labels = || {
                let mut labels = labels();
                labels.push(("backend", backend.name.clone()));
                labels
            };
            self.add_backend(labels, backend);
        }
    }

    fn add_backend(&mut self, labels: impl Fn() -> Labels, backend: &BackendStatus) {
        if backend.health != "unchecked" {
            let up = backend.health == "up";
            self.count(&names::UP, labels(), up.into());
        }
        let ready = backend.state == Admin::Ready && !backend.leaving;
        self.count(&names::READY, labels(), ready.into());
        self.count(&names::WEIGHT, labels(), backend.weight.into());
        self.number(&names::EFFECTIVE, labels(), backend.effective_weight);
        self.add_traffic(labels, &backend.traffic);
    }

    /// By backend alone: what a pool has served would fall with each backend that leaves it.
    fn add_traffic(&mut self, labels: impl Fn() -> Labels, traffic: &Traffic) {
        let way = |direction: &str| {
            let mut labels = labels();
            labels.push(("direction", direction.to_owned()));
            labels
        };
        self.count(&names::BACKEND_CONNECTIONS, labels(), traffic.connections);
        self.count(&names::BACKEND_PACKETS, way("request"), traffic.packets);
        self.count(&names::BACKEND_PACKETS, way("reply"), traffic.reply_packets);
        self.count(&names::BACKEND_BYTES, way("request"), traffic.bytes);
        self.count(&names::BACKEND_BYTES, way("reply"), traffic.reply_bytes);
    }

    fn add_signals(&mut self, status: &Status, signals: &Signals) {
        for (name, numbers) in COHORTS {
            let cohorts: Vec<&Cohort> = numbers
                .iter()
                .map(|&number| &signals.cohorts[number as usize])
                .collect();
            let labels = || vec![of(status), ("cohort", name.to_owned())];
            for (signal, kind) in SIGNALS {
                let labels = || {
                    let mut labels = labels();
                    labels.push(("signal", signal.to_owned()));
                    labels
                };
                let pairs = || cohorts.iter().map(|cohort| cohort.tally.pair(kind));
                let trials = pairs().map(|pair| u64::from(pair.trials)).sum();
                let failures = pairs().map(|pair| u64::from(pair.failures)).sum();
                self.count(&names::TRIALS, labels(), trials);
                self.count(&names::FAILURES, labels(), failures);
            }
            for (metric, histogram) in [
                (&names::HANDSHAKE, Histogram::Handshake),
                (&names::FIRST_BYTE, Histogram::FirstByte),
            ] {
                self.add(metric, labels(), distribution(&cohorts, histogram));
            }
        }
    }
}

fn of(status: &Status) -> (&'static str, String) {
    ("service", status.service.clone())
}

fn ratio(ppm: u32) -> f64 {
    f64::from(ppm) / 1e6
}

/// A bucket for each power of two of microseconds; the sum is of the bins' middles, and so exact to 6%.
fn distribution(cohorts: &[&Cohort], histogram: Histogram) -> Value {
    let mut buckets = Vec::new();
    let (mut sum, mut count) = (0.0, 0);
    for row in 0..ROWS {
        let mut here = 0;
        for cohort in cohorts {
            for (place, &hits) in (0..).zip(&cohort.histogram(histogram)[row as usize]) {
                here += u64::from(hits);
                sum += f64::from(hits) * middle(Bin { row, place }) * MICROSECOND;
            }
        }
        count += here;
        let next = Bin {
            row: row + 1,
            place: 0,
        };
        buckets.push((end(lowest(next)), here));
    }
    if let Some(last) = buckets.last_mut() {
        // The encoder's word for one without an end: whatever is longer is counted there as well.
        last.0 = f64::MAX;
    }
    Value::Histogram {
        sum,
        count,
        buckets,
    }
}

/// Where a bucket ends, in seconds.
#[expect(clippy::cast_precision_loss, reason = "values have 27 bits")]
fn end(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_has_all_values_and_ends_without_an_end() {
        let mut cohort = Cohort::default();
        let rows = &mut cohort.histograms[Histogram::Handshake as usize];
        rows[0][3] = 2;
        rows[8][0] = 1;
        rows[ROWS as usize - 1][7] = 4;
        let found = distribution(&[&cohort, &cohort], Histogram::Handshake);
        let Value::Histogram {
            sum,
            count,
            buckets,
        } = found
        else {
            panic!("no histogram");
        };
        assert_eq!(count, 14);
        assert_eq!(buckets[0], (8e-6, 4));
        assert_eq!(buckets[8], (2048e-6, 2));
        assert_eq!(buckets[ROWS as usize - 1], (f64::MAX, 8));
        assert_eq!(buckets.iter().map(|bucket| bucket.1).sum::<u64>(), count);
        let longest = middle(Bin {
            row: ROWS - 1,
            place: 7,
        });
        let least = 8.0 * longest / 1e6;
        assert!(sum > least && sum < least + 0.01, "{sum}");
    }
}
