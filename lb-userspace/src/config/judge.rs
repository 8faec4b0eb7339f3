//! `[service.release.judge]`: how a release is judged by what the kernel sees of its connections.

use std::{collections::BTreeSet, ops::RangeInclusive};

use lb_common::{
    hash::BUCKETS,
    signal::breaker::{PATIENCE, SILENCE_NS},
};

use super::{
    model::Forward,
    raw::Section,
    setting::{self, SettingError},
};
use crate::{
    judge::{BASELINE_RATIO, BREAKER, CONNECTIONS, Settings, Signal, USUAL, false_trips, needed},
    release::engine::{Judging, OnInconclusive, Step},
    share::Share,
};

const POLICIES: [(&str, OnInconclusive); 4] = [
    ("hold", OnInconclusive::Hold),
    ("extend", OnInconclusive::Extend),
    ("abort", OnInconclusive::Abort),
    ("promote", OnInconclusive::Promote),
];
/// Fewer tell nothing, and more are a day's.
const CLIENTS: RangeInclusive<u32> = 1..=10_000_000;
/// In parts per million: one false alarm in ten releases, or in a million.
const FALSE_ALARM: RangeInclusive<u32> = 1..=100_000;

/// Judges that can't judge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JudgeFault {
    /// Nothing to look at.
    #[error("has no signal; add one to `signals`, such as \"connect\", or leave the key out")]
    NoSignal,
    /// Nothing that it could see.
    #[error(
        "has only signals that are not seen with forward = \"{0}\", where what servers send passes the \
         edge by; add \"connect\" or \"handshake\", or write forward = \"nat\""
    )]
    NothingSeen(Forward),
    /// A rate that is none.
    #[error(
        "has false_alarm = \"{0}\", which is to lie between 0.0001% and 10%; \"1%\" is the usual one"
    )]
    FalseAlarm(Share),
    /// Steps that wait for a judge that there is not.
    #[error(
        "has a step with hold = \"evidence\" and no judge; add [service.release.judge], or give the \
         step a time"
    )]
    NoJudge,
}

/// How a release is judged, if it is.
pub(super) fn read(release: &mut Section, forward: Option<Forward>) -> Option<Judging> {
    release.table("judge", |section| read_judge(section, forward))
}

fn read_judge(section: &mut Section, forward: Option<Forward>) -> Judging {
    let usual = Settings::default();
    let listed = section.contains("signals");
    let signals = section.settings("signals", signal);
    let false_alarm = section.setting("false_alarm", |text: &String| {
        text.parse::<Share>().map_err(|_| SettingError::Share)
    });
    let min_clients = section.setting("min_clients", |number: &i64| {
        setting::number(*number, CLIENTS)
    });
    let policy = section.setting("on_inconclusive", |word: &String| {
        setting::word(word, &POLICIES, &[])
    });
    let signals: BTreeSet<Signal> = signals.into_iter().flatten().flatten().collect();
    if listed && signals.is_empty() {
        section.refuse(JudgeFault::NoSignal.into());
    }
    if let Some(forward) = forward
        && !signals.is_empty()
        && !signals
            .iter()
            .any(|signal| signal.is_seen(forward.translates()))
    {
        section.refuse(JudgeFault::NothingSeen(forward).into());
    }
    if let Some(share) = false_alarm.filter(|share| !FALSE_ALARM.contains(&share.ppm)) {
        section.refuse(JudgeFault::FalseAlarm(share).into());
    }
    let alarm = false_alarm.map(|share| f64::from(share.ppm) / 1e6);
    Judging {
        settings: Settings {
            signals: if listed {
                signals.into_iter().collect()
            } else {
                usual.signals.clone()
            },
            false_alarm: alarm.unwrap_or(usual.false_alarm),
            min_clients: min_clients.map_or(usual.min_clients, u64::from),
            ..usual
        },
        on_inconclusive: policy.unwrap_or_default(),
    }
}

/// How a past release is to be judged again, as somebody types it; what is not given stays as it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rejudged<'a> {
    /// With commas between.
    pub signals: Option<&'a str>,
    /// Like "1%".
    pub false_alarm: Option<&'a str>,
    /// As in the file.
    pub min_clients: Option<i64>,
    /// As in the file.
    pub on_inconclusive: Option<&'a str>,
}

/// A judge like this one, but for what is given; the message names what is wrong with that, and the remedy.
pub fn rejudged(
    judging: &Judging,
    given: &Rejudged<'_>,
    forward: Forward,
) -> Result<Judging, String> {
    let mut other = judging.clone();
    let settings = &mut other.settings;
    if let Some(text) = given.signals {
        settings.signals = signals(text, forward)?;
    }
    if let Some(text) = given.false_alarm {
        let named = |error: &dyn std::fmt::Display| format!("false_alarm `{text}`: {error}");
        let share: Share = text.parse().map_err(|_| named(&SettingError::Share))?;
        if !FALSE_ALARM.contains(&share.ppm) {
            return Err(named(
                &"out of bounds; choose 0.0001% to 10%, of which 1% is the usual one",
            ));
        }
        settings.false_alarm = f64::from(share.ppm) / 1e6;
    }
    if let Some(number) = given.min_clients {
        let clients = setting::number(number, CLIENTS);
        let clients = clients.map_err(|error| format!("min_clients `{number}`: {error}"))?;
        settings.min_clients = clients.into();
    }
    if let Some(text) = given.on_inconclusive {
        let policy = setting::word(text, &POLICIES, &[]);
        other.on_inconclusive =
            policy.map_err(|error| format!("on_inconclusive `{text}`: {error}"))?;
    }
    Ok(other)
}

fn signals(text: &str, forward: Forward) -> Result<Vec<Signal>, String> {
    let mut signals = BTreeSet::new();
    for name in text.split(',').map(str::trim) {
        let named = |error: &dyn std::fmt::Display| format!("signals: `{name}`: {error}");
        let found = signal(name).map_err(|error| named(&error))?;
        if !found.is_seen(forward.translates()) {
            return Err(named(&format!(
                "not seen with forward = \"{forward}\", so nothing is kept of it; leave it out"
            )));
        }
        signals.insert(found);
    }
    Ok(signals.into_iter().collect())
}

/// Failure rates that a candidate is told to be found by, where the active pool has [`USUAL`].
const HARMS: [f64; 3] = [0.05, 0.01, 0.004];
/// Rates of connections without an answer that false trips of the breaker are told of.
const UNANSWERED: [f64; 2] = [USUAL, 0.005];

/// What a judge can't see where packets are forwarded so, in a sentence; nothing if it sees all.
pub fn unseen(forward: Forward) -> Option<String> {
    (!forward.translates()).then(|| {
        format!(
            "forward = \"{forward}\": what servers send is not seen, so that `first-byte` can't be \
             judged, resets are seen by clients' alone, a connection that the candidate refuses is \
             not seen at all unless its client repeats the SYN, and there is no breaker"
        )
    })
}

/// What it looks at, and how soon it finds what in which step.
pub(super) fn outline(judging: &Judging, plan: &[Step], forward: Forward) -> String {
    let settings = visible(&judging.settings, forward);
    let signals: Vec<_> = settings.signals.iter().map(Signal::to_string).collect();
    // Of the mean of all steps, one has to come to that many times as much.
    let steps = f64::from(u32::try_from(plan.len().max(1)).unwrap_or(u32::MAX));
    let limit = settings.harm_limit() + steps.ln();
    let mut told = format!(
        "    judge: {}; a false alarm in {:.0} releases; where {}% of the active pool's connections \
         fail, a candidate whose fail is found after so many of its own\n",
        signals.join(", "),
        1.0 / settings.false_alarm,
        USUAL * 100.0,
    );
    for (number, step) in (1..).zip(plan) {
        told += &outline_step(number, step.share_ppm, limit);
    }
    told.extend(unseen(forward).map(|unseen| format!("    judge: {unseen}\n")));
    if forward.translates() {
        told += &outline_breaker();
    }
    told
}

/// How often the breaker trips by chance.
fn outline_breaker() -> String {
    let rates = UNANSWERED.map(|rate| {
        let connections = CONNECTIONS / false_trips(rate, BREAKER, CONNECTIONS);
        format!(
            "{}% after {:.0} million connections",
            rate * 100.0,
            connections / 1e6
        )
    });
    format!(
        "    breaker: trips as {BREAKER} clients call in a row without an answer in {} ms, and in \
         {PATIENCE} times as long as the active pool's slowest answers take; by chance, where so many \
         get none: {}\n",
        SILENCE_NS / 1_000_000,
        rates.join(", ")
    )
}

/// How many connections harms of several sizes take to be found in a step with this share; nothing for
/// one that is not judged.
fn outline_step(number: u32, share_ppm: u32, limit: f64) -> String {
    let Some(ratio) = ratio(share_ppm) else {
        return String::new();
    };
    let found = HARMS.map(|rate| {
        let needed = needed((rate, USUAL), ratio, limit);
        let needed = needed.map_or_else(|| "none".to_owned(), |needed| format!("{needed:.0}"));
        format!("{}% after {needed}", rate * 100.0)
    });
    format!("      step {number}: {}\n", found.join(", "))
}

/// Clients of the baseline for each one of the candidate at this share: as many as wanted, or as there
/// are; nothing where either pool has all.
fn ratio(share_ppm: u32) -> Option<f64> {
    let others = BUCKETS
        .checked_sub(share_ppm)
        .filter(|&others| others > 0)?;
    let all = f64::from(others) / f64::from(share_ppm);
    (share_ppm > 0).then(|| all.min(BASELINE_RATIO.into()))
}

/// The settings of a judge that sees what can be seen where packets are forwarded so.
pub fn visible(settings: &Settings, forward: Forward) -> Settings {
    let signals = settings.signals.iter().copied();
    Settings {
        signals: signals
            .filter(|signal| signal.is_seen(forward.translates()))
            .collect(),
        ..settings.clone()
    }
}

fn signal(text: &str) -> Result<Signal, SettingError> {
    let found = Signal::ALL
        .into_iter()
        .find(|signal| signal.to_string() == text);
    let names = Signal::ALL.map(|signal| signal.to_string());
    found.ok_or_else(|| SettingError::Word(setting::choice(names.iter().map(String::as_str))))
}

#[cfg(test)]
mod tests {
    use super::super::{
        Config,
        samples::{refuses, shop},
    };
    use super::*;

    fn with(step: &str, judge: &str) -> String {
        format!(
            "{}[service.release]\nsteps = [{{ share = \"5%\", {step} }}]\n{judge}\n",
            shop("")
        )
    }

    fn read(judge: &str) -> Option<Judging> {
        let config = Config::parse(&with("hold = \"5m\"", judge)).expect("valid");
        config.services[0].release.clone().expect("given").judge
    }

    #[test]
    fn a_release_without_a_judge_is_not_judged() {
        assert_eq!(read(""), None);
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let judging = read("[service.release.judge]").expect("judged");
        assert_eq!(judging.settings, Settings::default());
        assert_eq!(judging.on_inconclusive, OnInconclusive::Hold);
    }

    #[test]
    fn everything_can_be_said() {
        let judging = read(
            "[service.release.judge]\nsignals = [\"reset\", \"bytes\"]\nfalse_alarm = \"0.1%\"\n\
             min_clients = 7\non_inconclusive = \"abort\"",
        );
        let judging = judging.expect("judged");
        assert_eq!(judging.settings.signals, [Signal::Reset, Signal::Bytes]);
        assert!((judging.settings.false_alarm - 0.001).abs() < 1e-9);
        assert_eq!(judging.settings.min_clients, 7);
        assert_eq!(judging.on_inconclusive, OnInconclusive::Abort);
    }

    #[test]
    fn what_can_not_be_is_refused_with_the_remedy() {
        let judge = |line: &str| with("hold = \"5m\"", &format!("[service.release.judge]\n{line}"));
        refuses(&judge("signals = []"), "has no signal");
        refuses(&judge("signals = [\"latency\"]"), "`connect`, `reset`");
        refuses(&judge("false_alarm = \"50%\""), "between 0.0001% and 10%");
        refuses(&judge("min_clients = 0"), "min_clients");
        refuses(&judge("on_inconclusive = \"guess\""), "`hold`, `extend`");
    }

    #[test]
    fn a_step_until_evidence_needs_a_judge_and_may_have_a_limit() {
        let step = "hold = \"evidence\", at_most = \"30m\"";
        let judged = Config::parse(&with(step, "[service.release.judge]")).expect("valid");
        let plan = judged.services[0].release.clone().expect("given");
        assert!(plan.steps[0].evidence);
        assert_eq!(plan.steps[0].hold.as_secs(), 1800);
        refuses(&with(step, ""), "no judge; add [service.release.judge]");
        let without = with("hold = \"evidence\"", "[service.release.judge]");
        refuses(&without, "has no limit; add at_most");
    }

    #[test]
    fn check_tells_how_soon_a_harm_is_found() {
        let step = "hold = \"evidence\", at_most = \"30m\"";
        let config = Config::parse(&with(step, "[service.release.judge]")).expect("valid");
        let told = super::super::outline(&config);
        assert!(
            told.contains("5%, until it is no worse, or for 30m\n"),
            "{told}"
        );
        assert!(
            told.contains("promotion after 0s at the earliest"),
            "{told}"
        );
        let judge = "judge: connect, early-reset, handshake, first-byte; a false alarm in 100 releases; \
                     where 0.2% of the active pool's connections fail, a candidate whose fail is \
                     found after so many of its own\n      step 1: 5% after ";
        assert!(told.contains(judge), "{told}");
        let breaker = "breaker: trips as 4 clients call in a row without an answer in 50 ms, and in 4 \
                       times as long as the active pool's slowest answers take; by chance, where so \
                       many get none: 0.2% after 125 million connections, 0.5% after 8 million";
        assert!(told.contains(breaker), "{told}");
    }

    #[test]
    fn check_tells_it_of_each_step_at_the_ratio_that_it_has() {
        let at = |share_ppm| ratio(share_ppm).expect("judged");
        for (share_ppm, expected) in [(10_000, 15.0), (250_000, 3.0), (500_000, 1.0)] {
            assert!((at(share_ppm) - expected).abs() < 1e-9, "{share_ppm}");
        }
        assert!(ratio(0).is_none() && ratio(BUCKETS).is_none());
        let text = with("hold = \"5m\"", "[service.release.judge]").replace(
            "steps = [{ share = \"5%\", hold = \"5m\" }]",
            "steps = [{ share = \"5%\", hold = \"5m\" }, { share = \"50%\", hold = \"5m\" }]",
        );
        let told = super::super::outline(&Config::parse(&text).expect("valid"));
        let after = |step: &str| -> f64 {
            let line = told.lines().find(|line| line.contains(step));
            let line = line.unwrap_or_else(|| panic!("{step}: {told}"));
            let (_, rest) = line.split_once("1% after ").expect("a harm of 1%");
            let (number, _) = rest.split_once(',').expect("more");
            number.parse().expect("a number")
        };
        let [few, many] = ["step 1: 5%", "step 2: 5%"].map(after);
        assert!(many > 1.5 * few, "{few} {many}");
    }

    #[test]
    fn what_is_not_seen_is_said_and_a_judge_that_sees_nothing_is_refused() {
        let dsr = |judge: &str| {
            with("hold = \"5m\"", judge).replacen(
                "name = \"shop\"",
                "name = \"shop\"\nforward = \"l2\"",
                1,
            )
        };
        let blind = dsr("[service.release.judge]\nsignals = [\"first-byte\"]");
        refuses(
            &blind,
            "has only signals that are not seen with forward = \"l2\", where what servers send passes \
             the edge by; add \"connect\" or \"handshake\", or write forward = \"nat\"",
        );
        let seen = dsr("[service.release.judge]\nsignals = [\"connect\", \"first-byte\"]");
        let told = super::super::outline(&Config::parse(&seen).expect("valid"));
        assert!(told.contains("judge: connect; a false alarm"), "{told}");
        assert!(
            told.contains("that the candidate refuses is not seen"),
            "{told}"
        );
        let nat = with("hold = \"5m\"", "[service.release.judge]");
        let told = super::super::outline(&Config::parse(&nat).expect("valid"));
        assert!(!told.contains("not seen"), "{told}");
    }

    #[test]
    fn a_past_release_is_judged_by_what_is_given_and_else_as_it_was() {
        let was = Judging {
            settings: Settings {
                steps: 3,
                ..Settings::default()
            },
            on_inconclusive: OnInconclusive::Abort,
        };
        let given = Rejudged {
            signals: Some("reset, connect"),
            false_alarm: Some("0.1%"),
            ..Rejudged::default()
        };
        let other = rejudged(&was, &given, Forward::Nat).expect("it can be judged so");
        let expected = Settings {
            signals: vec![Signal::Connect, Signal::Reset],
            false_alarm: 0.001,
            ..was.settings.clone()
        };
        assert_eq!(other.settings, expected);
        assert_eq!(other.on_inconclusive, OnInconclusive::Abort);
    }

    #[test]
    fn what_no_judge_can_go_by_is_named_with_the_remedy() {
        let refused = |given: Rejudged<'_>, forward| {
            let was = Judging {
                settings: Settings::default(),
                on_inconclusive: OnInconclusive::Hold,
            };
            rejudged(&was, &given, forward).expect_err("it can't be judged so")
        };
        let given = Rejudged::default();
        for (given, forward, named) in [
            (
                Rejudged {
                    signals: Some("connect,resets"),
                    ..given
                },
                Forward::Nat,
                "signals: `resets`: unknown word; write `connect`",
            ),
            (
                Rejudged {
                    signals: Some("first-byte"),
                    ..given
                },
                Forward::L2,
                "signals: `first-byte`: not seen with forward = \"l2\"",
            ),
            (
                Rejudged {
                    signals: Some(""),
                    ..given
                },
                Forward::Nat,
                "signals: ``: unknown word",
            ),
            (
                Rejudged {
                    false_alarm: Some("50%"),
                    ..given
                },
                Forward::Nat,
                "false_alarm `50%`: out of bounds; choose 0.0001% to 10%",
            ),
            (
                Rejudged {
                    false_alarm: Some("seldom"),
                    ..given
                },
                Forward::Nat,
                "false_alarm `seldom`: no share",
            ),
            (
                Rejudged {
                    min_clients: Some(0),
                    ..given
                },
                Forward::Nat,
                "min_clients `0`: out of bounds",
            ),
            (
                Rejudged {
                    on_inconclusive: Some("wait"),
                    ..given
                },
                Forward::Nat,
                "on_inconclusive `wait`: unknown word; write `hold`",
            ),
        ] {
            let told = refused(given, forward);
            assert!(told.starts_with(named), "{told}");
        }
    }
}
