//! What a gate asks: a command, a URL, Prometheus or a person.

use std::ops::RangeInclusive;

use hyper::Uri;

use super::{
    super::{authority, model::Statuses, raw::Section, setting, shape::Codes},
    GateError, GateFault, both, fits,
};
use crate::release::{condition::Condition, engine::Probe};

/// Longest argument of a command, URL and query, in bytes.
const TEXT_BYTES: usize = 8192;
/// Longest name of a user: `LOGIN_NAME_MAX` of glibc.
const USER_BYTES: usize = 256;
/// Whom a command runs as.
const NOBODY: &str = "nobody";
/// A redirection says that the answer is elsewhere, and so says nothing.
const GOOD: RangeInclusive<u16> = 200..=299;
/// The keys that say what is asked.
const PROBES: [&str; 4] = ["exec", "http", "prometheus", "approval"];

/// What is asked; nothing only where a problem has been reported.
pub(super) fn read(section: &mut Section) -> Option<Probe> {
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
