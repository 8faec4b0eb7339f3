//! All metrics: their names, units and meaning. The unit is the end of the name.

/// One metric. OpenMetrics adds `_total` to the names of counters.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Without `_total`.
    pub name: &'static str,
    /// What it is, without a full stop.
    pub help: &'static str,
    /// What may be done with it.
    pub kind: Kind,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How values are distributed.
    Histogram,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $constant:ident $kind:ident $name:literal $labels:tt $help:literal;)*) => {
        $(
            pub(super) static $constant: Metric = Metric {
                name: $name,
                help: $help,
                kind: Kind::$kind,
                labels: &$labels,
            };
        )*

        /// In the order in which they are told.
        pub static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    BUILD Gauge "serin_build_info" ["version"] "Always 1: the version of the daemon";
    PACKETS Counter "serin_packets" ["reason"] "Packets that the program has met, by the reason with which they left it";
    FLOW_EVENTS Counter "serin_flow_events" ["event"] "What happened to entries of the flow table";
    RUNS Counter "serin_program_runs" [] "Runs of the program, while kernel.bpf_stats_enabled is 1";
    RUN_TIME Counter "serin_program_run_seconds" [] "Time that those took; divided by the runs, the time a packet spends in the kernel's program";
    INTERFACE Gauge "serin_interface_attached" ["interface"] "1 if the program is on the interface, else 0";
    EVENTS Counter "serin_events" ["service", "event"] "Events of a service's release since the daemon started";
    TOGGLE Gauge "serin_toggle_on" ["toggle"] "1 if the toggle is on, else 0";
    NOTIFY_DELIVERED Counter "serin_notify_delivered" ["target"] "Entries that a webhook has taken";
    NOTIFY_LOST Counter "serin_notify_lost" ["target"] "Entries that a webhook has refused for good, or that the log no longer had";
    NOTIFY_PENDING Gauge "serin_notify_pending" ["target"] "Entries that wait for a webhook";
    POOL_DROPPED Counter "serin_pool_dropped_packets" ["service", "pool"] "Packets dropped since the pool had no backend";
    POOL_DEAD Gauge "serin_pool_dead" ["service", "pool"] "1 if all backends that would serve are down, else 0";
    ACTIVE Gauge "serin_pool_active" ["service", "pool"] "1 for the active pool, else 0";
    BACKEND_CONNECTIONS Counter "serin_backend_connections" ["service", "pool", "backend"] "TCP connections started (SYNs)";
    BACKEND_PACKETS Counter "serin_backend_packets" ["service", "pool", "backend", "direction"] "Packets forwarded: to a backend, and back from it (nat only)";
    BACKEND_BYTES Counter "serin_backend_bytes" ["service", "pool", "backend", "direction"] "Their bytes, from the Ethernet header on";
    UP Gauge "serin_backend_up" ["service", "pool", "backend"] "1 if its checks say that it is up, 0 if down; without checks there is no series";
    READY Gauge "serin_backend_ready" ["service", "pool", "backend"] "1 if its operator wants it to serve, 0 if it is in drain or maint";
    WEIGHT Gauge "serin_backend_weight" ["service", "pool", "backend"] "The weight that is asked of it";
    EFFECTIVE Gauge "serin_backend_effective_weight" ["service", "pool", "backend"] "The weight by which it has slots";
    AUDIENCE_CONNECTIONS Counter "serin_audience_connections" ["service", "audience"] "TCP connections started (SYNs) by an audience's clients";
    AUDIENCE_PACKETS Counter "serin_audience_packets" ["service", "audience"] "Packets from an audience's clients";
    CUT Counter "serin_service_cut_connections" ["service"] "Connections cut at the end of a drain's deadline";
    ORPHANED Counter "serin_service_orphaned_connections" ["service"] "Connections whose pin was removed since they were silent for longer than the drain";
    SETTLED Gauge "serin_service_settled" ["service"] "1 if no change is under way, else 0";
    SHARE Gauge "serin_release_share_ratio" ["service"] "The candidate's part of clients that is asked for, 0 to 1";
    MEASURED Gauge "serin_release_measured_share_ratio" ["service"] "The candidate's part of connections since the last change, 0 to 1; no series while there are none";
    RELEASE Gauge "serin_release_number" ["service"] "Number of the release that goes by a plan, or of the last that did";
    STEP Gauge "serin_release_step" ["service"] "The step that the release is at, from 1; 0 if none is under way";
    STEPS Gauge "serin_release_steps" ["service"] "How many steps the release has before the promotion";
    STATE Gauge "serin_release_state" ["service", "state"] "Always 1: the state of the release, or how the last one has ended";
    TRIALS Counter "serin_signal_trials" ["service", "cohort", "signal"] "Measured connections of which a signal was decided, while the release is judged";
    FAILURES Counter "serin_signal_failures" ["service", "cohort", "signal"] "Those of them that have failed by it; a client counts once a step";
    HANDSHAKE Histogram "serin_handshake_seconds" ["service", "cohort"] "From the SYN to its answer (nat) or to the client's next segment, of measured connections";
    FIRST_BYTE Histogram "serin_first_byte_seconds" ["service", "cohort"] "From the client's first payload to the server's (nat), of measured connections";
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// As docs/metrics.md has it.
    fn reference() -> String {
        let mut text = "# Metrics\n\nWhat `/metrics` tells, at the socket and at `api.http`. The unit is the \
                        end of the name.\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n"
            .to_owned();
        for metric in ALL {
            let (end, kind) = match metric.kind {
                Kind::Counter => ("_total", "counter"),
                Kind::Gauge => ("", "gauge"),
                Kind::Histogram => ("", "histogram"),
            };
            let labels = metric.labels.join(", ");
            let Metric { name, help, .. } = metric;
            let _never_fails = writeln!(text, "| `{name}{end}` | {kind} | {labels} | {help} |");
        }
        text
    }

    #[test]
    fn the_reference_is_what_is_told() {
        let written = include_str!("../../docs/metrics.md");
        let expected = reference();
        assert!(
            written == expected,
            "docs/metrics.md should be:\n{expected}"
        );
    }
}
