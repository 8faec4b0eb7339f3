//! `[[notify]]`: who is told of what happens.

use std::collections::BTreeSet;

use hyper::Uri;
use serde::{
    Deserialize as _,
    de::{IntoDeserializer as _, value},
};

use super::{
    authority,
    errors::Fault,
    model::{Notify, NotifyFormat, Service},
    raw::Section,
    setting::{self, SettingError},
};
use crate::journal::Happened;

const FORMATS: &[(&str, NotifyFormat)] = &[
    ("cloudevents", NotifyFormat::CloudEvents),
    ("slack", NotifyFormat::Slack),
];

/// All of them, in the order of the file.
pub(super) fn read_all(root: &mut Section, services: &[Service]) -> Vec<Notify> {
    let mut names = BTreeSet::new();
    let all = root.tables("notify", "notify", |section| {
        read(section, services, &mut names)
    });
    all.into_iter().flatten().flatten().collect()
}

fn read(
    section: &mut Section,
    services: &[Service],
    names: &mut BTreeSet<String>,
) -> Option<Notify> {
    section.require("url", "one such as \"https://hooks.example.net/serin\"");
    let uri = section.setting("url", |text: &String| url(text));
    let own = section.setting("name", |text: &String| setting::name(text));
    let events = section.settings("events", event);
    let of = section.settings("services", |text| service(text, services));
    let secret_file = section.setting("secret_file", |text: &String| setting::path(text));
    let shown = uri.as_ref().map(ToString::to_string);
    let ca = authority::read(section, shown.as_deref());
    let format = section.setting("format", |text: &String| setting::word(text, FORMATS, &[]));
    let url = uri?;
    let is_named = own.is_some();
    let name = own.unwrap_or_else(|| url.authority().map(ToString::to_string).unwrap_or_default());
    if !names.insert(name.clone()) {
        section.refuse(if is_named {
            Fault::NameTaken("[[notify]]")
        } else {
            Fault::SameHost(name.clone())
        });
    }
    Some(Notify {
        name,
        url,
        events: events.into_iter().flatten().flatten().collect(),
        services: of.into_iter().flatten().flatten().collect(),
        secret_file,
        ca,
        format: format.unwrap_or(NotifyFormat::CloudEvents),
    })
}

fn url(text: &str) -> Result<Uri, SettingError> {
    let url: Uri = text.parse().map_err(|_| SettingError::Url)?;
    let scheme = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority().filter(|_| scheme && !text.contains('#'));
    let host = authority.and_then(|authority| setting::host(authority.as_str()).ok());
    host.map(|_| url).ok_or(SettingError::Url)
}

/// By the words that the log has, which serde knows.
fn event(text: &str) -> Result<Happened, SettingError> {
    Happened::deserialize(text.into_deserializer()).map_err(|error: value::Error| {
        let said = error.to_string();
        let words = said.split_once("expected one of ").map(|(_, words)| words);
        SettingError::Event(words.unwrap_or(&said).to_owned())
    })
}

fn service(text: &str, services: &[Service]) -> Result<String, SettingError> {
    let names = services.iter().map(|service| service.name.as_str());
    if names.clone().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    Err(SettingError::Word(setting::choice(names)))
}

#[cfg(test)]
mod tests {
    use super::super::{
        Config,
        samples::{problems, refuses, shop},
    };
    use super::*;

    fn with(notify: &str) -> String {
        format!("{}\n[[notify]]\n{notify}\n", shop(""))
    }

    #[test]
    fn a_url_is_all_that_is_needed_and_tells_everything() {
        let config =
            Config::parse(&with("url = \"https://hooks.example.net/a?b=c\"")).expect("valid");
        let [notify] = &config.notify[..] else {
            panic!("{:?}", config.notify);
        };
        assert_eq!(notify.name, "hooks.example.net");
        assert_eq!((notify.events.len(), notify.services.len()), (0, 0));
        assert_eq!(notify.format, NotifyFormat::CloudEvents);
    }

    #[test]
    fn every_key_is_read() {
        let text = "name = \"chat\"\nurl = \"https://[::1]:80/\"\nevents = [\"step\", \"rolled-back\", \"verdict\"]\n\
                    services = [\"shop\"]\nsecret_file = \"/k\"\nca = \"/ca\"\nformat = \"slack\"";
        let config = Config::parse(&with(text)).expect("valid");
        let notify = &config.notify[0];
        assert_eq!(notify.name, "chat");
        assert_eq!(
            notify.events,
            [Happened::Step, Happened::RolledBack, Happened::Verdict]
        );
        assert_eq!(notify.services, ["shop"]);
        assert_eq!(notify.secret_file.as_deref(), Some("/k".as_ref()));
        assert_eq!(notify.ca.as_deref(), Some("/ca".as_ref()));
        assert_eq!(notify.format, NotifyFormat::Slack);
    }

    #[test]
    fn an_unknown_event_is_answered_with_those_that_there_are() {
        let text = problems(&with("url = \"https://a\"\nevents = [\"stepp\"]"));
        assert!(
            text.contains("sets `events` to `stepp`: unknown event"),
            "{text}"
        );
        for word in [
            "`started`",
            "`step`",
            "`rolled-back`",
            "`taken-over`",
            "`applied`",
        ] {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_called_is_refused() {
        for url in [
            "",
            "/a",
            "ftp://a/",
            "https://",
            "https://u:p@a/",
            "https://a/#b",
            "a b",
        ] {
            refuses(&with(&format!("url = \"{url}\"")), "no URL; write it as");
        }
        refuses(&with(""), "notify 1 has no `url`; add one such as");
        refuses(
            &with("url = \"http://a\"\nca = \"/ca\""),
            "notify 1 names a `ca`, but a URL without TLS; write https://, or leave `ca` out",
        );
        let service = "url = \"https://a\"\nservices = [\"mail\"]";
        refuses(
            &with(service),
            "sets `services` to `mail`: unknown word; write `shop`",
        );
        let format = "url = \"https://a\"\nformat = \"xml\"";
        refuses(&with(format), "write `cloudevents` or `slack`");
    }

    #[test]
    fn two_at_one_host_need_names() {
        let two = |one: &str, other: &str| {
            format!("{}\n{}", with(one), format_args!("[[notify]]\n{other}"))
        };
        let url = "url = \"https://a/x\"";
        let other = "url = \"https://a/y\"";
        refuses(
            &two(url, other),
            "notify 2 goes to `a`, as an earlier [[notify]] does",
        );
        let named = format!("{other}\nname = \"y\"");
        assert_eq!(problems(&two(url, &named)), "");
        refuses(
            &two(&named, &named),
            "has the name of an earlier [[notify]]; rename one",
        );
    }
}
