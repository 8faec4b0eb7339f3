//! `[[service.release.gate]]`: what is asked before a release may go on.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use hyper::Uri;

use super::{
    authority,
    model::Statuses,
    raw::Section,
    setting::{self, SettingError},
    shape::Codes,
};
use crate::release::{
    condition::{Condition, NoCondition},
    engine::{Gate, Point, Policy, Probe},
};

/// The most gates of a release.
const GATES: usize = 64;
/// Longest argument of a command, URL and query, in bytes.
const TEXT_BYTES: usize = 8192;
/// Longest name of a user: `LOGIN_NAME_MAX` of glibc.
const USER_BYTES: usize = 256;
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
const USUAL: Duration = Duration::from_secs(30);
const FALL: RangeInclusive<u32> = 1..=100;
/// Whom a command runs as.
const NOBODY: &str = "nobody";
/// A redirection says that the answer is elsewhere, and so says nothing.
const GOOD: RangeInclusive<u16> = 200..=299;
/// The keys that say what is asked.
const PROBES: [&str; 4] = ["exec", "http", "prometheus", "approval"];
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
    let probe = read_probe(section);
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

fn read_probe(section: &mut Section) -> Option<Probe> {
    let named = PROBES.map(|key| section.contains(key).then_some(key));
    let [exec_there, http_there, ..] = named.map(|key| key.is_some());
    let approval = section
        .value::<bool>("approval")
        .map(toml::Spanned::into_inner);
    // `approval = false` says what goes without saying.
    let named = named.into_iter().flatten();
    let named: Vec<_> = named
        .filter(|&key| key != "approval" || approval != Some(false))
        .collect();
    match named[..] {
        [] => section.refuse(GateFault::NoProbe.into()),
        [_] => {}
        [..] => section.refuse(GateFault::ManyProbes(both(&named)).into()),
    }
    fits(section, "user", "gates with `exec`", exec_there);
    fits(section, "status", "gates with `http`", http_there);
    fits(
        section,
        "ca",
        "gates with `http` (in `prometheus`, it stands beside `url`)",
        http_there,
    );
    let exec = read_exec(section);
    let http = read_http(section);
    let prometheus = section.table("prometheus", read_prometheus).flatten();
    let approval = approval
        .filter(|&approval| approval)
        .map(|_| Probe::Approval);
    exec.or(http)
        .or(prometheus)
        .or(approval)
        .filter(|_| named.len() == 1)
}

fn read_exec(section: &mut Section) -> Option<Probe> {
    let there = section.contains("exec");
    let user_there = section.contains("user");
    let user = section.setting("user", |name: &String| user(name));
    let words = section.settings("exec", argument).filter(|_| there)?;
    let Some(first) = words.first() else {
        section.refuse_value(
            "exec",
            &toml::Spanned::new(0..0, "[]".to_owned()),
            GateError::NoCommand,
        );
        return None;
    };
    if let Some(program) = first.as_ref().filter(|program| !program.starts_with('/')) {
        let shown = toml::Spanned::new(0..0, program.clone());
        section.refuse_value("exec", &shown, GateError::Relative);
        return None;
    }
    Some(Probe::Exec {
        command: words.into_iter().collect::<Option<_>>()?,
        user: if user_there { user? } else { NOBODY.to_owned() },
    })
}

fn argument(text: &str) -> Result<String, GateError> {
    if text.len() > TEXT_BYTES || text.contains('\0') {
        return Err(GateError::Argument);
    }
    Ok(text.to_owned())
}

fn user(name: &str) -> Result<String, GateError> {
    let allowed = |c: char| c.is_ascii_graphic() && !":/,".contains(c);
    if name.is_empty() || name.len() > USER_BYTES || !name.chars().all(allowed) {
        return Err(GateError::User);
    }
    Ok(name.to_owned())
}

fn read_http(section: &mut Section) -> Option<Probe> {
    let given = section.contains("status");
    let status = section.setting("status", |codes: &Codes| setting::statuses(&codes.0));
    let url = section.setting("http", |text: &String| url(text));
    let ca = authority::read(section, url.as_deref());
    let url = url?;
    let Statuses(status) = if given { status? } else { Statuses(vec![GOOD]) };
    let status = status.into_iter().map(RangeInclusive::into_inner).collect();
    Some(Probe::Http { url, status, ca })
}

fn read_prometheus(section: &mut Section) -> Option<Probe> {
    section.require("url", "\"http://127.0.0.1:9090\"");
    section.require("query", "one in PromQL");
    section.require("condition", "\"< 0.01\"");
    // The API's path comes behind it.
    let base = |text: &String| url(text).and_then(|url| plain(url).ok_or(GateError::Url));
    let url = section.setting("url", base);
    let ca = authority::read(section, url.as_deref());
    let query = section.setting("query", |text: &String| {
        let fits = !text.trim().is_empty() && text.len() <= TEXT_BYTES;
        fits.then(|| text.clone()).ok_or(GateError::Query)
    });
    let condition = section.setting("condition", |text: &String| {
        text.parse::<Condition>().map_err(GateError::from)
    });
    Some(Probe::Prometheus {
        url: url?,
        query: query?,
        condition: condition?.to_string(),
        ca,
    })
}

/// A whole URL that a client without a browser can ask.
fn url(text: &str) -> Result<String, GateError> {
    let parsed: Uri = text.parse().map_err(|_| GateError::Url)?;
    let scheme = matches!(parsed.scheme_str(), Some("http" | "https"));
    let authority = parsed.authority().ok_or(GateError::Url)?;
    if authority.as_str().contains('@') {
        return Err(GateError::Credentials);
    }
    // The parser cuts a fragment off.
    let whole = scheme && text.len() <= TEXT_BYTES && !text.contains('#');
    if !whole || setting::host(authority.as_str()).is_err() {
        return Err(GateError::Url);
    }
    Ok(text.to_owned())
}

fn plain(url: String) -> Option<String> {
    (!url.contains('?')).then_some(url)
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

#[cfg(test)]
mod tests {
    use super::super::{
        Config,
        samples::{problems, refuses, shop},
    };
    use super::*;

    const EXEC: &str = "exec = [\"/bin/true\"]";

    /// A release of two steps with these gates.
    fn with(gates: &[&str]) -> String {
        let release = "[service.release]\nsteps = [{ share = \"1%\", hold = \"5m\" }, { share = \
                       \"25%\", hold = \"5m\" }]\n";
        let gates = gates
            .iter()
            .map(|gate| format!("[[service.release.gate]]\n{gate}\n"));
        format!("{}{release}{}", shop(""), gates.collect::<String>())
    }

    fn gate(lines: &str) -> Gate {
        let text = with(&[&format!("name = \"smoke\"\n{lines}")]);
        let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let plan = config.services[0].release.clone().expect("given");
        plan.gates[0].clone()
    }

    #[test]
    fn a_gate_is_read_with_what_goes_without_saying() {
        let expected = Gate {
            name: "smoke".to_owned(),
            point: Point::Before(2),
            probe: Probe::Exec {
                command: vec!["/bin/true".to_owned()],
                user: "nobody".to_owned(),
            },
            timeout: Duration::from_secs(30),
            interval: Duration::from_secs(30),
            fall: 1,
            on_failure: Policy::Abort,
            on_inconclusive: Policy::Hold,
        };
        assert_eq!(gate(&format!("before = \"promote\"\n{EXEC}")), expected);
    }

    #[test]
    fn every_key_of_a_gate_is_read() {
        let read = gate(
            "during = 2\nexec = [\"/bin/x\", \"a b\"]\nuser = \"www-data\"\ntimeout = \
             \"2m\"\ninterval = \"1s\"\nfall = 3\non_failure = \"hold\"\non_inconclusive = \
             \"pass\"",
        );
        let expected = Gate {
            name: "smoke".to_owned(),
            point: Point::During(1),
            probe: Probe::Exec {
                command: vec!["/bin/x".to_owned(), "a b".to_owned()],
                user: "www-data".to_owned(),
            },
            timeout: Duration::from_mins(2),
            interval: Duration::from_secs(1),
            fall: 3,
            on_failure: Policy::Hold,
            on_inconclusive: Policy::Pass,
        };
        assert_eq!(read, expected);
        let probe = |lines: &str| gate(&format!("before = 1\n{lines}")).probe;
        let http = |status: &[(u16, u16)]| Probe::Http {
            url: "https://shop.example.net:8443/smoke?x=1".to_owned(),
            status: status.to_vec(),
            ca: None,
        };
        let url = "http = \"https://shop.example.net:8443/smoke?x=1\"";
        assert_eq!(probe(url), http(&[(200, 299)]));
        let statuses = format!("{url}\nstatus = \"204, 300-302\"");
        assert_eq!(probe(&statuses), http(&[(204, 204), (300, 302)]));
        let prometheus = "prometheus = { url = \"http://[::1]:9090\", query = \"up\", condition = \
                          \"<0.010\" }";
        let expected = Probe::Prometheus {
            url: "http://[::1]:9090".to_owned(),
            query: "up".to_owned(),
            condition: "< 0.01".to_owned(),
            ca: None,
        };
        assert_eq!(probe(prometheus), expected);
        assert_eq!(probe("approval = true"), Probe::Approval);
    }

    #[test]
    fn a_gate_that_asks_over_tls_may_name_who_vouches_for_its_server() {
        let ca = |lines: &str| match gate(&format!("before = 1\n{lines}")).probe {
            Probe::Http { ca, .. } | Probe::Prometheus { ca, .. } => ca,
            Probe::Exec { .. } | Probe::Approval => panic!("{lines} asks no URL"),
        };
        let http = "http = \"https://a/\"\nca = \"/ca.pem\"";
        let prometheus = "prometheus = { url = \"https://a\", query = \"up\", condition = \"< 1\", ca = \
                          \"/ca.pem\" }";
        for lines in [http, prometheus] {
            assert_eq!(ca(lines).as_deref(), Some("/ca.pem".as_ref()), "{lines}");
            let clear = with(&[&format!("name = \"smoke\"\nbefore = 1\n{lines}")]);
            refuses(
                &clear.replace("https://a", "http://a"),
                "names a `ca`, but a URL without TLS; write https://, or leave `ca` out",
            );
        }
        let relative = with(&["name = \"smoke\"\nbefore = 1\nhttp = \"https://a/\"\nca = \"x\""]);
        refuses(&relative, "sets `ca` to `x`");
        let unused = with(&[&format!(
            "name = \"smoke\"\nbefore = 1\n{EXEC}\nca = \"/ca.pem\""
        )]);
        refuses(&unused, "sets `ca`, which is for gates with `http`");
    }

    #[test]
    fn points_are_named_by_number_or_by_word() {
        for (line, expected) in [
            ("before = \"start\"", Point::Before(0)),
            ("before = 1", Point::Before(0)),
            ("before = 2", Point::Before(1)),
            ("before = \"2\"", Point::Before(1)),
            ("before = \"promote\"", Point::Before(2)),
            ("before = \"cutover\"", Point::Before(2)),
            ("during = 1", Point::During(0)),
            ("after = \"promote\"", Point::After),
            ("after = \"cutover\"", Point::After),
        ] {
            assert_eq!(gate(&format!("{line}\n{EXEC}")).point, expected, "{line}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of all that is refused")]
    fn gates_that_can_not_be_are_refused_with_the_remedy() {
        let promote = "before = \"promote\"";
        let all = [
            (
                format!("{EXEC}\nbefore = 3"),
                "`before` to `3`: no step of this release, which has 2; write a number from 1 to 2, \"start\" or \"promote\"",
            ),
            (format!("{EXEC}\nbefore = 0"), "`before` to `0`: no step"),
            (
                format!("{EXEC}\nbefore = \"prmote\""),
                "`before` to `prmote`: no step",
            ),
            (
                format!("{EXEC}\nduring = 3"),
                "`during` to `3`: no step of this release, which has 2; write a number from 1 to 2",
            ),
            (
                format!("{EXEC}\nafter = \"1\""),
                "`after` to `1`: nothing that a gate comes after; write \"promote\"",
            ),
            (
                EXEC.to_owned(),
                "gate `smoke` is never asked; write before = \"promote\"",
            ),
            (
                format!("{EXEC}\n{promote}\nduring = 1"),
                "gate `smoke` is asked `before` and `during`; keep one",
            ),
            (
                promote.to_owned(),
                "gate `smoke` asks nothing; write exec = ",
            ),
            (
                format!("{promote}\napproval = false"),
                "gate `smoke` asks nothing",
            ),
            (
                format!("{promote}\n{EXEC}\nhttp = \"http://x/\""),
                "gate `smoke` asks `exec` and `http`; keep one",
            ),
            (
                format!("{promote}\nexec = [\"smoke\"]"),
                "`exec` to `smoke`: a command without a whole path",
            ),
            (
                format!("{promote}\nexec = []"),
                "`exec` to `[]`: no command; write the program's path",
            ),
            (
                format!("{promote}\nexec = [\"/x\", \"a\\u0000\"]"),
                "not what a command can be given",
            ),
            (
                format!("{promote}\nexec = \"/x\""),
                "gives `exec` a string; it takes an array of strings",
            ),
            (
                format!("{promote}\n{EXEC}\nuser = \"a b\""),
                "`user` to `a b`: no name of a user",
            ),
            (
                format!("{promote}\nhttp = \"shop/smoke\""),
                "`http` to `shop/smoke`: no URL; write it whole",
            ),
            (
                format!("{promote}\nhttp = \"ftp://shop/\""),
                "`http` to `ftp://shop/`: no URL",
            ),
            (
                format!("{promote}\nhttp = \"http://me:word@shop/\""),
                "a URL with a user in it",
            ),
            (format!("{promote}\nhttp = \"http://shop/#x\""), "no URL"),
            (
                format!("{promote}\nhttp = \"http://shop/\"\nstatus = 99"),
                "`status` to `99`: no HTTP statuses",
            ),
            (
                format!("{promote}\nhttp = \"http://shop/\"\nuser = \"me\""),
                "gate `smoke` sets `user`, which is for gates with `exec` only",
            ),
            (
                format!("{promote}\n{EXEC}\nstatus = 200"),
                "gate `smoke` sets `status`, which is for gates with `http` only",
            ),
            (
                format!("{promote}\nprometheus = {{}}"),
                "gate `smoke`: prometheus has no `url`; add",
            ),
            (
                format!(
                    "{promote}\nprometheus = {{ url = \"http://p\", query = \"up\", condition = \"1\" }}"
                ),
                "prometheus sets `condition` to `1`: no condition; write <, <=,",
            ),
            (
                format!(
                    "{promote}\nprometheus = {{ url = \"http://p\", query = \" \", condition = \"< 1\" }}"
                ),
                "`query` to ` `: no query",
            ),
            (
                format!(
                    "{promote}\nprometheus = {{ url = \"p:9090\", query = \"up\", condition = \"< 1\" }}"
                ),
                "`url` to `p:9090`: no URL",
            ),
            (
                format!(
                    "{promote}\nprometheus = {{ url = \"http://p/?a\", query = \"up\", condition = \"< 1\" }}"
                ),
                "`url` to `http://p/?a`: no URL",
            ),
            (
                format!(
                    "{promote}\nprometheus = {{ url = \"http://p\", qery = \"up\", condition = \"< 1\" }}"
                ),
                "unknown key `qery`; did you mean `query`?",
            ),
            (
                "after = \"promote\"\napproval = true".to_owned(),
                "is an approval, which is waited for before something",
            ),
            (
                format!("{promote}\napproval = true\ninterval = \"1s\""),
                "sets `interval`, which is for gates that are asked by themselves only",
            ),
            (
                format!("{promote}\n{EXEC}\ntimeout = \"0s\""),
                "`timeout` to `0s`: out of bounds",
            ),
            (
                format!("{promote}\n{EXEC}\ninterval = \"2d\""),
                "`interval` to `2d`: out of bounds",
            ),
            (
                format!("{promote}\n{EXEC}\nfall = 0"),
                "`fall` to `0`: out of bounds; choose a number from 1 to 100",
            ),
            (
                format!("{promote}\n{EXEC}\non_failure = \"pass\""),
                "`on_failure` to `pass`: unknown word; write `hold` or `abort`",
            ),
            (
                format!("{promote}\n{EXEC}\non_inconclusive = \"ask\""),
                "`on_inconclusive` to `ask`: unknown word",
            ),
            (
                format!("{promote}\nhttps = \"https://x/\""),
                "unknown key `https`; did you mean `http`?",
            ),
            (
                format!("{promote}\n{EXEC}\nintervall = \"9s\""),
                "unknown key `intervall`; did you mean `interval`?",
            ),
        ];
        for (lines, expected) in all {
            let said = problems(&with(&[&format!("name = \"smoke\"\n{lines}")]));
            assert!(
                said.contains(expected),
                "expected: {expected}\nproblems: {said}"
            );
            assert!(
                said.contains("service `shop`: release: gate `smoke`"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_name_stands_for_one_gate_and_there_are_not_too_many() {
        let smoke = format!("name = \"smoke\"\nbefore = 1\n{EXEC}");
        refuses(
            &with(&[&smoke, &smoke]),
            "gate `smoke` has the name of an earlier gate; rename",
        );
        refuses(
            &with(&[&format!("before = 1\n{EXEC}")]),
            "release: gate 1 has no `name`; add",
        );
        let many: Vec<_> = (0..65)
            .map(|n| smoke.replace("smoke", &format!("s{n}")))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        refuses(&with(&many), "release has 65 gates; 64 are the most");
        assert_eq!(problems(&with(&many[..64])), "");
    }

    #[test]
    fn steps_with_problems_do_not_make_gates_wrong_as_well() {
        let text = with(&[&format!("name = \"smoke\"\nbefore = 2\n{EXEC}")]);
        let said = problems(&text.replace("\"25%\"", "\"25\""));
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
