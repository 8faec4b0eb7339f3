//! `[[service.release.gate]]`: what is asked before a release may go on.

mod asked;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use super::{
    raw::Section,
    setting::{self, SettingError},
    shape::Codes,
};
use crate::release::{
    condition::NoCondition,
    engine::{Gate, Point, Policy, Probe},
};

/// The most gates of a release.
const GATES: usize = 64;
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
const USUAL: Duration = Duration::from_secs(30);
const FALL: RangeInclusive<u32> = 1..=100;
/// The keys that say when.
const POINTS: [&str; 3] = ["before", "during", "after"];
/// What a gate that nobody asks does not have.
const ASKED: [&str; 5] = [
    "timeout",
    "interval",
    "fall",
    "on_failure",
    "on_inconclusive",
];

/// A gate that can't be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateFault {
    /// More than anybody would follow.
    #[error("has {0} gates; {GATES} are the most, so leave some out")]
    Many(usize),
    /// Nothing is asked.
    #[error(
        "asks nothing; write exec = [\"/path/to/check\"], http = \"https://...\", prometheus = {{ \
         url = \"...\", query = \"...\", condition = \"< 0.01\" }} or approval = true"
    )]
    NoProbe,
    /// Two things are asked.
    #[error("asks {0}; keep one, and make another gate of the other")]
    ManyProbes(String),
    /// It is never asked.
    #[error(
        "is never asked; write before = \"promote\" (or \"start\", or a step's number), during = a \
         step's number, or after = \"promote\""
    )]
    NoPoint,
    /// It is asked at two points.
    #[error("is asked {0}; keep one, and make another gate of the other")]
    ManyPoints(String),
    /// A person is asked where nobody waits for one.
    #[error("is an approval, which is waited for before something; write before = \"promote\"")]
    Unasked,
    /// A key of another kind of gate.
    #[error("sets `{key}`, which is for {kinds} only; remove it")]
    Unused {
        /// The key.
        key: &'static str,
        /// The gates that have it.
        kinds: &'static str,
    },
}

/// A value of a gate that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// No step of this release.
    #[error("no step of this release, which has {steps}; write {choice}")]
    NoStep {
        /// How many it has.
        steps: usize,
        /// What may be written.
        choice: String,
    },
    /// No point in a release after which something is asked.
    #[error("nothing that a gate comes after; write \"promote\"")]
    After,
    /// A command that depends on where it is started.
    #[error("a command without a whole path, and no shell looks for it; write it from the root")]
    Relative,
    /// A text that no command takes.
    #[error("not what a command can be given; use up to 8192 bytes, and none of them zero")]
    Argument,
    /// No program.
    #[error("no command; write the program's path and its arguments, each by itself")]
    NoCommand,
    /// No user.
    #[error("no name of a user; write one such as \"nobody\"")]
    User,
    /// No URL.
    #[error("no URL; write it whole, as \"https://shop.example.net/smoke\"")]
    Url,
    /// A password that everybody could read.
    #[error("a URL with a user in it, which everybody would see; leave that out")]
    Credentials,
    /// An empty or endless query.
    #[error("no query; write up to 8192 bytes of PromQL")]
    Query,
    /// No condition.
    #[error(transparent)]
    Condition(#[from] NoCondition),
}

/// The gates of a release, whose steps may be unknown since they have problems of their own;
/// nothing only where a problem has been reported.
pub(super) fn read(release: &mut Section, steps: Option<usize>) -> Option<Vec<Gate>> {
    let mut names = BTreeSet::new();
    let gates = release.tables("gate", "gate", |section| {
        let name = section.claim_name(&mut names, "gate");
        read_gate(section, name, steps)
    })?;
    if gates.len() > GATES {
        release.refuse(GateFault::Many(gates.len()).into());
    }
    gates.into_iter().collect()
}

fn read_gate(section: &mut Section, name: Option<String>, steps: Option<usize>) -> Option<Gate> {
    let point = read_point(section, steps);
    let probe = asked::read(section);
    if probe == Some(Probe::Approval) {
        if point.is_some_and(|point| !matches!(point, Point::Before(_))) {
            section.refuse(GateFault::Unasked.into());
        }
        let kinds = "gates that are asked by themselves";
        for key in ASKED {
            fits(section, key, kinds, false);
        }
    }
    let timeout = read_time(section, "timeout", &TIMEOUT);
    let interval = read_time(section, "interval", &INTERVAL);
    let fall = section.contains("fall");
    let number = section.setting("fall", |number: &i64| {
        u32::try_from(*number)
            .ok()
            .filter(|number| FALL.contains(number))
            .ok_or(SettingError::Number(
                (*FALL.start()).into(),
                (*FALL.end()).into(),
            ))
    });
    let on_failure = read_policy(section, "on_failure", Policy::Abort);
    let on_inconclusive = read_policy(section, "on_inconclusive", Policy::Hold);
    Some(Gate {
        name: name?,
        point: point?,
        probe: probe?,
        timeout: timeout?,
        interval: interval?,
        fall: if fall { number? } else { 1 },
        on_failure: on_failure?,
        on_inconclusive: on_inconclusive?,
    })
}

fn read_time(
    section: &mut Section,
    key: &'static str,
    bounds: &RangeInclusive<Duration>,
) -> Option<Duration> {
    if !section.contains(key) {
        // Asked for all the same, so that it counts as known.
        let _absent = section.value::<String>(key);
        return Some(USUAL);
    }
    section.setting(key, |text: &String| setting::time(text, bounds))
}

/// A failure is never passed over: that would be no gate.
fn read_policy(section: &mut Section, key: &'static str, usual: Policy) -> Option<Policy> {
    let all = [
        ("hold", Policy::Hold),
        ("abort", Policy::Abort),
        ("pass", Policy::Pass),
    ];
    let words = if key == "on_failure" { &all[..2] } else { &all };
    let absent = !section.contains(key);
    let policy = section.setting(key, |word: &String| setting::word(word, words, &[]));
    policy.or(absent.then_some(usual))
}

fn read_point(section: &mut Section, steps: Option<usize>) -> Option<Point> {
    let named: Vec<_> = POINTS
        .into_iter()
        .filter(|key| section.contains(key))
        .collect();
    match named[..] {
        [] => section.refuse(GateFault::NoPoint.into()),
        [_] => {}
        [..] => section.refuse(GateFault::ManyPoints(both(&named)).into()),
    }
    let before = section.setting("before", |text: &Codes| before(&text.0, steps));
    let during = section.setting("during", |text: &Codes| {
        step(&text.0, steps, "").map(Point::During)
    });
    let after = section.setting("after", |text: &String| match text.as_str() {
        "promote" | "cutover" => Ok(Point::After),
        _ => Err(GateError::After),
    });
    before.or(during).or(after).filter(|_| named.len() == 1)
}

fn before(text: &str, steps: Option<usize>) -> Result<Point, GateError> {
    match text {
        "start" => Ok(Point::Before(0)),
        // Of a release whose steps have problems, no plan is made.
        "promote" | "cutover" => Ok(Point::Before(steps.unwrap_or(0))),
        number => step(number, steps, "\"start\" or \"promote\"").map(Point::Before),
    }
}

/// A step by its number from 1, counted from 0.
fn step(text: &str, steps: Option<usize>, words: &str) -> Result<usize, GateError> {
    let number = text.parse::<usize>().ok().filter(|&number| number > 0);
    let number = number.filter(|&number| steps.is_none_or(|steps| number <= steps));
    number.map(|number| number - 1).ok_or_else(|| {
        let steps = steps.unwrap_or(0);
        let numbers = match steps {
            0 => String::new(),
            1 => "1".to_owned(),
            steps => format!("a number from 1 to {steps}"),
        };
        let choice = match (numbers.as_str(), words) {
            ("", "") => "after = \"promote\" instead".to_owned(),
            ("", words) => words.to_owned(),
            (numbers, "") => numbers.to_owned(),
            (numbers, words) => format!("{numbers}, {words}"),
        };
        GateError::NoStep { steps, choice }
    })
}

fn fits(section: &Section, key: &'static str, kinds: &'static str, fits: bool) {
    if section.contains(key) && !fits {
        section.refuse(GateFault::Unused { key, kinds }.into());
    }
}

/// Several names: "`a` and `b`".
fn both(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(" and ")
}
