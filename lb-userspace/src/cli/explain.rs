//! `serin explain`: what a release was judged by.

use std::fmt::Write as _;

use crate::{
    api::judged::Judged,
    judge::{Tally, Verdict},
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
    text += "  numbers are odds against chance, to 1; A/A: between halves of the same pool, where 1000 \
             would make a signal worthless\n";
    text + &backends(judged)
}

/// Backends side by side.
fn backends(judged: &Judged) -> String {
    if judged.backends.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "  {:<15}  {:<15}  {:>22}  {:>19}\n",
        "backend", "pool", "unanswered or refused", "reset within 1 s"
    );
    for backend in &judged.backends {
        let of = |tally: Tally| format!("{} of {}", tally.failures, tally.trials);
        _ = writeln!(
            text,
            "  {:<15}  {:<15}  {:>22}  {:>19}",
            backend.name,
            backend.pool,
            of(backend.connect),
            of(backend.early_reset),
        );
    }
    text
}

fn verdict(judged: &Judged) -> String {
    let seen = judged.judged;
    match judged.verdict {
        Verdict::Harm(signal) => format!("harm, by {signal}, after {seen} connections"),
        Verdict::NoWorse => format!("no worse, after {seen} connections"),
        Verdict::Undecided => format!("no harm found so far, in {seen} connections"),
        Verdict::Starved => format!("can't tell yet, after {seen} connections"),
        Verdict::Unsound(signal) => {
            format!("can't tell: {signal} differs between halves of the same pool")
        }
    }
}

/// Evidence as odds, given its common logarithm.
fn odds(log: f64) -> String {
    match log {
        log if log < -2.0 => "<0.01".to_owned(),
        log if log < 1.0 => format!("{:.2}", 10_f64.powf(log)),
        log if log < 6.0 => format!("{:.0}", 10_f64.powf(log)),
        log => format!("1e{log:.0}"),
    }
}
