//! `serin explain --replay`: a past release, judged again.

use std::{fmt::Write as _, time::Duration};

use clap::Args;

use super::{
    explain::odds,
    order::{escape, resource},
};
use crate::{
    api::{
        client::{Client, ClientError},
        replayed::{End, Replayed, Side},
    },
    judge::{Evidence, Signal, Verdict, percent},
    release::engine::OnInconclusive,
};

/// Which release, and how it is judged.
#[derive(Debug, Args)]
pub struct Replay {
    /// Judge a past release again, of this number or the last one; alone, or with other settings
    #[arg(long = "replay", value_name = "RELEASE", num_args = 0..=1)]
    release: Option<Vec<u64>>,
    /// With commas between: connect, early-reset, ...
    #[arg(long, requires = "release")]
    signals: Option<String>,
    /// Like 1%
    #[arg(long, requires = "release")]
    false_alarm: Option<String>,
    /// In each step, before the candidate is called no worse
    #[arg(long, requires = "release", allow_negative_numbers = true)]
    min_clients: Option<i64>,
    /// hold, extend, abort or promote
    #[arg(long, requires = "release")]
    on_inconclusive: Option<String>,
}

impl Replay {
    /// Asks for it; nothing if it is not wanted.
    pub async fn ask(
        self,
        client: &Client,
        service: &str,
    ) -> Option<Result<Replayed, ClientError>> {
        let release = self.release?;
        let given = [
            ("release", release.first().map(u64::to_string)),
            ("signals", self.signals),
            ("false_alarm", self.false_alarm),
            ("min_clients", self.min_clients.map(|n| n.to_string())),
            ("on_inconclusive", self.on_inconclusive),
        ];
        let given = given.into_iter().filter_map(|(key, value)| {
            let value = value?;
            Some(format!("{key}={}", escape(&value)))
        });
        let query = given.collect::<Vec<_>>().join("&");
        let path = resource(service, &format!("/replay?{query}"));
        Some(client.get(&path).await)
    }
}

/// Both verdicts side by side, for people.
pub fn text(replayed: &Replayed) -> String {
    let Replayed {
        service,
        release,
        candidate,
        active,
        looks,
        was,
        would_be,
        ..
    } = replayed;
    let mut text = format!(
        "{service}: release {release}, `{candidate}` against `{active}`, judged again by what {looks} \
         looks had seen\n"
    );
    let mut row = |name: &str, of: &dyn Fn(&Side) -> String| {
        _ = writeln!(text, "  {name:<15}  {:<32}  {}", of(was), of(would_be));
    };
    row("", &|side| {
        let was = std::ptr::eq(side, was);
        if was {
            "as it was"
        } else {
            "as it would have been"
        }
        .to_owned()
    });
    row("signals", &|side| names(&side.signals));
    row("false_alarm", &|side| percent(side.false_alarm));
    row("min_clients", &|side| side.min_clients.to_string());
    row("on_inconclusive", &|side| policy(side).to_owned());
    row("verdict", &verdict);
    row("after", &after);
    row("end", &end);
    for signal in Signal::ALL {
        let of = |side: &Side| {
            let mut told = side.evidence.iter().map(|told| &told.evidence);
            told.find(|evidence| evidence.signal == signal).map(harm)
        };
        if of(was).or_else(|| of(would_be)).is_some() {
            let name = signal.to_string();
            row(&name, &|side| of(side).unwrap_or_else(|| "-".to_owned()));
        }
    }
    if let Some(breaker) = &replayed.breaker {
        _ = writeln!(text, "  note: {breaker}; it asks no settings");
    }
    if replayed.looks_gone > 0 {
        let gone = replayed.looks_gone;
        _ = writeln!(text, "  note: the first {gone} looks are not kept");
    }
    text + "  numbers of signals are the odds against chance that the candidate is worse, to 1 (limit)\n"
}

fn names(signals: &[Signal]) -> String {
    let names: Vec<_> = signals.iter().map(Signal::to_string).collect();
    names.join(", ")
}

const fn policy(side: &Side) -> &'static str {
    match side.on_inconclusive {
        OnInconclusive::Hold => "hold",
        OnInconclusive::Extend => "extend",
        OnInconclusive::Abort => "abort",
        OnInconclusive::Promote => "promote",
    }
}

fn verdict(side: &Side) -> String {
    match side.told.verdict {
        Verdict::Harm(signal) => format!("harm, by {signal}"),
        Verdict::NoWorse => "no worse".to_owned(),
        Verdict::Undecided => "no harm found".to_owned(),
        Verdict::Starved => "can't tell: too little was seen".to_owned(),
        Verdict::Unsound(signal) => format!("can't tell: {signal} is worth nothing"),
    }
}

fn after(side: &Side) -> String {
    let after = humantime::format_duration(Duration::from_millis(side.told.after_ms));
    format!("{after}, {} connections", side.told.judged)
}

fn end(side: &Side) -> String {
    let step = side.end_step;
    match side.end {
        End::TakenBack => format!("taken back in step {step}"),
        End::Waits => format!("waits for a person in step {step}"),
        End::GoesOn => format!("goes on after step {step}"),
    }
}

fn harm(evidence: &Evidence) -> String {
    format!("{} ({})", odds(evidence.harm), odds(evidence.harm_limit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn side(signals: &[&str], verdict: &serde_json::Value, end: &str) -> serde_json::Value {
        let evidence: Vec<_> = signals
            .iter()
            .map(|signal| {
                json!({
                    "signal": signal, "harm": 3.1, "harm_limit": 2.6, "no_worse": 0.0,
                    "no_worse_limit": 1.3, "apart": 0.1, "apart_limit": 3.6, "compared": [],
                    "sentence": "it is worse"
                })
            })
            .collect();
        json!({
            "signals": signals, "false_alarm": 0.01, "min_clients": 100, "on_inconclusive": "hold",
            "verdict": verdict, "after_ms": 286, "judged": 102, "step": 0, "by_evidence": false,
            "evidence": evidence,
            "end": end, "end_step": 1
        })
    }

    #[test]
    fn both_ways_to_judge_stand_side_by_side() {
        let harm = json!({ "harm": "reset" });
        let replayed = json!({
            "service": "shop", "release": 3, "candidate": "v2", "active": "v1", "looks": 2,
            "breaker": null, "was": side(&["reset"], &harm, "taken-back"),
            "would_be": side(&["connect"], &json!("starved"), "waits")
        });
        let replayed: Replayed = serde_json::from_value(replayed).expect("an answer");
        let told = text(&replayed);
        for line in [
            "                   as it was                         as it would have been\n",
            "  signals          reset                             connect\n",
            "  verdict          harm, by reset                    can't tell: too little was seen\n",
            "  after            286ms, 102 connections ",
            "  end              taken back in step 1              waits for a person in step 1\n",
            "  reset            1259 (398)                        -\n",
        ] {
            assert!(told.contains(line), "{told}");
        }
        assert!(!told.contains("note"), "{told}");
        let long = Replayed {
            looks_gone: 7,
            ..replayed
        };
        let told = text(&long);
        assert!(
            told.contains("note: the first 7 looks are not kept\n"),
            "{told}"
        );
    }
}
