//! `serin explain`: what a release was judged by.

use std::fmt::Write as _;

use crate::{
    api::judged::Judged,
    judge::{Kind, Tally, Verdict},
};

/// The evidence in lines, for people.
pub fn text(judged: &Judged) -> String {
    let Judged {
        service,
        release,
        candidate,
        active,
        ..
    } = judged;
    let mut text = format!(
        "{service}: release {release}, `{candidate}` against `{active}`: {}\n",
        verdict(judged)
    );
    for note in &judged.notes {
        _ = writeln!(text, "  note: {note}");
    }
    _ = writeln!(
        text,
        "  {:<15}  {:>17}  {:>17}  {:>8}  what was seen",
        "signal", "harm (limit)", "no worse (limit)", "A/A"
    );
    for signal in &judged.signals {
        let evidence = &signal.evidence;
        let pair = |value: f64, limit: f64| format!("{} ({})", odds(value), odds(limit));
        _ = writeln!(
            text,
            "  {:<15}  {:>17}  {:>17}  {:>8}  {}",
            evidence.signal,
            pair(evidence.harm, evidence.harm_limit),
            pair(evidence.no_worse, evidence.no_worse_limit),
            odds(evidence.apart),
            signal.sentence,
        );
    }
    let apart = judged.signals.first();
    let apart = apart.map_or(0.0, |signal| signal.evidence.apart_limit);
    _ = writeln!(
        text,
        "  numbers are odds against chance, to 1; A/A: between halves of the same pool, where {} would \
         make a signal worthless",
        odds(apart)
    );
    text + &backends(judged)
}

/// Backends side by side.
fn backends(judged: &Judged) -> String {
    if judged.backends.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "  {:<15}  {:<15}  {:>22}  {:>19}  {:>8}\n",
        "backend", "pool", "unanswered or refused", "reset within 1 s", "live now"
    );
    for backend in &judged.backends {
        let of = |tally: Tally| format!("{} of {}", tally.failures, tally.trials);
        _ = writeln!(
            text,
            "  {:<15}  {:<15}  {:>22}  {:>19}  {:>8}",
            backend.name,
            backend.pool,
            of(backend.connect),
            of(backend.early_reset),
            backend.live,
        );
    }
    text
}

fn verdict(judged: &Judged) -> String {
    let seen = judged.judged;
    match judged.verdict {
        Verdict::Harm(signal) => {
            let found = judged.signals.iter().map(|signal| &signal.evidence);
            let mut found = found.filter(|evidence| evidence.signal == signal);
            let failed = found.next().and_then(|evidence| evidence.worst());
            let failed = failed.map_or(0, |worst| worst.candidate.failures);
            let how = match signal.kind() {
                Kind::Failures => "failed",
                Kind::Small => "took too long",
                Kind::Same => "were unlike the others",
            };
            format!("harm, by {signal}, after {seen} connections, {failed} of which {how}")
        }
        Verdict::NoWorse => format!("no worse, after {seen} connections"),
        Verdict::Undecided => format!("no harm found so far, in {seen} connections"),
        Verdict::Starved => format!("can't tell yet, after {seen} connections"),
        Verdict::Unsound(signal) => {
            format!("can't tell: {signal} differs between halves of the same pool")
        }
    }
}

/// Evidence as odds, given its common logarithm.
pub(super) fn odds(log: f64) -> String {
    match log {
        log if log < -2.0 => "<0.01".to_owned(),
        log if log < 1.0 => format!("{:.2}", 10_f64.powf(log)),
        log if log < 6.0 => format!("{:.0}", 10_f64.powf(log)),
        log => format!("1e{log:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn harm_is_told_with_the_number_of_connections_that_failed() {
        let signal = json!({
            "signal": "first-byte", "harm": 2.7, "harm_limit": 2.6, "no_worse": 0.0,
            "no_worse_limit": 1.3, "apart": 0.1, "apart_limit": 3.6, "sentence": "it is slow",
            "compared": [
                { "quantile": 0.5, "beyond": ["above", 90], "harm": 0.2,
                  "candidate": { "trials": 200, "failures": 100 },
                  "baseline": { "trials": 2000, "failures": 1000 } },
                { "quantile": 0.9, "beyond": ["above", 99], "harm": 2.9,
                  "candidate": { "trials": 200, "failures": 61 },
                  "baseline": { "trials": 2000, "failures": 200 } },
            ]
        });
        let judged: Judged = serde_json::from_value(json!({
            "service": "shop", "release": 3, "candidate": "v2", "active": "v1",
            "verdict": { "harm": "first-byte" }, "judged": 200, "signals": [signal],
            "backends": [{
                "name": "g1", "pool": "v2", "live": 17,
                "connect": { "trials": 200, "failures": 0 },
                "early_reset": { "trials": 183, "failures": 1 },
            }],
            "notes": []
        }))
        .expect("evidence");
        let told = text(&judged);
        let head = "harm, by first-byte, after 200 connections, 61 of which took too long\n";
        assert!(told.contains(head), "{told}");
        assert!(told.contains("where 3981 would make"), "{told}");
        let backend = told.lines().last().expect("lines");
        assert!(
            backend.ends_with("0 of 200             1 of 183        17"),
            "{told}"
        );
    }
}
