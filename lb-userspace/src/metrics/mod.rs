//! What a Prometheus is told, in the words that it takes: OpenMetrics 1.0 where it asks for that, else
//! its own older text format.
//!
//! All numbers are read when they are asked for. A series is there for each service, pool, backend,
//! audience, toggle and target of the configuration, and for each reason: nothing that a client sends
//! makes another.

mod classic;
mod names;
mod node;
mod service;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, text::encode},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};

pub use self::{
    names::{ALL, Kind, Metric},
    node::Host,
    service::Service,
};

/// Media type of [`Page::open_metrics`].
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Media type of [`Page::classic`].
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All samples of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page(Vec<Sample>);

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    metric: &'static Metric,
    labels: Labels,
    value: Value,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(f64),
    Histogram {
        sum: f64,
        count: u64,
        /// Upper ends, each with how many are in its bucket.
        buckets: Vec<(f64, u64)>,
    },
}

impl Page {
    /// In the format of OpenMetrics.
    pub fn open_metrics(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Nothing is refused by a string.
        let _written = encode(&mut text, &registry);
        text
    }

    /// In the format of before OpenMetrics.
    pub fn classic(self) -> String {
        classic::text(&self.open_metrics())
    }

    #[expect(clippy::cast_precision_loss, reason = "exact to 2^53")]
    fn count(&mut self, metric: &'static Metric, labels: Labels, value: u64) {
        self.number(metric, labels, value as f64);
    }

    fn number(&mut self, metric: &'static Metric, labels: Labels, value: f64) {
        self.add(metric, labels, Value::Number(value));
    }

    fn add(&mut self, metric: &'static Metric, mut labels: Labels, value: Value) {
        for (_, label) in &mut labels {
            *label = escape(label);
        }
        self.0.push(Sample {
            metric,
            labels,
            value,
        });
    }
}

/// As the text formats have it (OpenMetrics 1.0, "Escaping"); the encoder does not.
fn escape(label: &str) -> String {
    let escaped = label.replace('\\', "\\\\").replace('"', "\\\"");
    escaped.replace('\n', "\\n")
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in ALL {
            let mut samples = self.0.iter().filter(|sample| sample.metric == *metric);
            let Some(first) = samples.next() else {
                continue;
            };
            let kind = metric.kind.into();
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for sample in std::iter::once(first).chain(samples) {
                if sample.labels.is_empty() {
                    sample.encode(&mut family)?;
                } else {
                    sample.encode(&mut family.encode_family(&sample.labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Sample {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match (&self.value, self.metric.kind) {
            (Value::Number(value), Kind::Counter) => {
                encoder.encode_counter(value, None::<&Exemplar<Labels, f64>>)
            }
            (Value::Number(value), Kind::Gauge | Kind::Histogram) => encoder.encode_gauge(value),
            (
                Value::Histogram {
                    sum,
                    count,
                    buckets,
                },
                _,
            ) => encoder.encode_histogram::<Labels>(*sum, *count, buckets, None),
        }
    }
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter,
            Kind::Gauge => Self::Gauge,
            Kind::Histogram => Self::Histogram,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = Page::default();
        page.count(&names::PACKETS, vec![("reason", "tx".to_owned())], 7);
        page.number(&names::UP, vec![("backend", "a\"b\\\n".to_owned())], 1.0);
        let value = Value::Histogram {
            sum: 0.5,
            count: 3,
            buckets: vec![(0.1, 1), (f64::MAX, 2)],
        };
        page.add(&names::HANDSHAKE, Vec::new(), value);
        page
    }

    #[test]
    fn open_metrics_are_told_by_family_and_end() {
        let text = page().open_metrics();
        for line in [
            "# TYPE serin_packets counter",
            "serin_packets_total{reason=\"tx\"} 7.0",
            "serin_backend_up{backend=\"a\\\"b\\\\\\n\"} 1.0",
            "serin_handshake_seconds_bucket{le=\"+Inf\"} 3",
            "serin_handshake_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_older_format_names_counters_whole_and_has_no_end() {
        let text = page().classic();
        assert!(
            text.contains("# TYPE serin_packets_total counter\n"),
            "{text}"
        );
        assert!(text.contains("# HELP serin_packets_total "), "{text}");
        assert!(!text.contains("# EOF"), "{text}");
    }

    #[test]
    fn names_are_unique_and_as_the_field_writes_them() {
        for (at, metric) in ALL.iter().enumerate() {
            assert!(metric.name.starts_with("serin_"), "{}", metric.name);
            assert!(
                !metric.name.ends_with("_total"),
                "{}: it is added",
                metric.name
            );
            let twice = ALL[..at].iter().any(|other| other.name == metric.name);
            assert!(!twice, "{}", metric.name);
            assert!(
                metric.help.ends_with(|end: char| end != '.'),
                "{}",
                metric.name
            );
        }
    }
}
