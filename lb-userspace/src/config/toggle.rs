//! `[[toggle]]`: named switches, and what they guard.

use std::{collections::BTreeSet, fmt};

use super::{
    errors::Fault,
    faults::Faults,
    model::{Config, Service},
    raw::Section,
    setting,
};

/// `[[toggle]]`: a switch that is turned while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toggle {
    /// Unique in the file.
    pub name: String,
    /// Whether it is on before anybody has turned it.
    pub on: bool,
}

/// A part of a service that is there only while a toggle is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The service.
    pub service: String,
    /// Which part.
    pub part: Part,
}

/// The parts of a service that a toggle may guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// An audience, by name.
    Audience(String),
    /// A listener, as the file writes it.
    Listener(String),
    /// A step of the release, counted from 1.
    Step(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Audience(name) => write!(f, "audience `{name}`"),
            Self::Listener(listener) => write!(f, "listener `{listener}`"),
            Self::Step(number) => write!(f, "step {number}"),
        }
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service `{}`: {}", self.service, self.part)
    }
}

impl Config {
    /// All that a toggle guards.
    pub fn guarded(&self, toggle: &str) -> Vec<Guarded> {
        let services = self.services.iter();
        let guarded = services.flat_map(|service| {
            let parts = service.guards().into_iter();
            let mine = parts.filter(|(_, by)| *by == toggle);
            mine.map(|(part, _)| Guarded {
                service: service.name.clone(),
                part,
            })
        });
        guarded.collect()
    }
}

impl Service {
    /// Each part that is guarded, with the toggle that does it.
    pub fn guards(&self) -> Vec<(Part, &str)> {
        let audiences = self.audiences.iter().map(|audience| {
            let toggle = audience.toggle.as_deref();
            (Part::Audience(audience.name.clone()), toggle)
        });
        let listeners = self.listeners.iter().map(|listener| {
            let toggle = listener.toggle.as_deref();
            (Part::Listener(listener.to_string()), toggle)
        });
        let steps = self.release.iter().flat_map(|plan| &plan.steps);
        let steps = (1..).zip(steps);
        let steps = steps.map(|(number, step)| (Part::Step(number), step.toggle.as_deref()));
        let all = listeners.chain(audiences).chain(steps);
        all.filter_map(|(part, toggle)| Some((part, toggle?)))
            .collect()
    }
}

/// All of them, in the order of the file.
pub(super) fn read_all(root: &mut Section) -> Vec<Toggle> {
    let mut names = BTreeSet::new();
    let toggles = root.tables("toggle", "toggle", |section| {
        let name = section.claim_name(&mut names, "toggle");
        let on = section.value::<bool>("on");
        Some(Toggle {
            name: name?,
            on: on.is_some_and(toml::Spanned::into_inner),
        })
    });
    toggles.into_iter().flatten().flatten().collect()
}

/// Whatever is guarded is so by a toggle that is there.
pub(super) fn check(toggles: &[Toggle], services: &[Service], faults: &Faults) {
    let known = || toggles.iter().map(|toggle| toggle.name.as_str());
    for service in services {
        for (part, toggle) in service.guards() {
            if known().any(|name| name == toggle) {
                continue;
            }
            let remedy = match setting::nearest(toggle, known()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("add a [[toggle]] with name = \"{toggle}\""),
            };
            let object = format!("service `{}`: {part}", service.name);
            let toggle = toggle.to_owned();
            faults.of(object, Fault::NoToggle { toggle, remedy });
        }
    }
}

/// The name of a toggle, as what it guards gives it.
pub(super) fn read_guard(section: &mut Section) -> Option<String> {
    section.setting("toggle", |name: &String| setting::name(name))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{problems, refuses, shop};
    use super::*;

    const TOGGLES: &str =
        "[[toggle]]\nname = \"preview\"\non = true\n[[toggle]]\nname = \"door\"\n";
    const STAFF: &str = "[[service.audience]]\nname = \"staff\"\nvlan = 7\npool = \"candidate\"\n\
                         toggle = \"preview\"\n";
    const STEPS: &str = "[service.release]\nsteps = [{ share = \"1%\", hold = \"5m\", toggle = \
                         \"preview\" }, { share = \"5%\", hold = \"5m\" }]\n";

    fn guarded() -> String {
        let shop = shop("").replace(":443\"", ":443?toggle=door\", \"tcp://192.0.2.80:80\"");
        format!("{shop}{STAFF}{STEPS}{TOGGLES}")
    }

    #[test]
    fn a_toggle_is_off_unless_the_file_says_so_and_guards_parts_of_services() {
        let config = Config::parse(&guarded()).expect("valid");
        let toggles: Vec<_> = config.toggles.iter().map(|t| (&*t.name, t.on)).collect();
        assert_eq!(toggles, [("preview", true), ("door", false)]);
        let told = |toggle| -> Vec<String> {
            let guarded = config.guarded(toggle);
            guarded.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            told("preview"),
            ["service `shop`: audience `staff`", "service `shop`: step 1"]
        );
        let door = "service `shop`: listener `tcp://192.0.2.80:443?toggle=door`";
        assert_eq!(told("door"), [door]);
    }

    #[test]
    fn a_toggle_that_is_not_there_is_named_with_the_nearest() {
        let misspelt = guarded().replace("toggle=door", "toggle=dor");
        refuses(
            &misspelt,
            "service `shop`: listener `tcp://192.0.2.80:443?toggle=dor` is guarded by toggle `dor`, \
             which there is not; did you mean `door`?",
        );
        let missing = guarded().replace(TOGGLES, "");
        assert_eq!(problems(&missing).lines().count(), 3);
        refuses(
            &missing,
            "audience `staff` is guarded by toggle `preview`, which there is not; add a [[toggle]] \
             with name = \"preview\"",
        );
    }

    #[test]
    fn two_toggles_of_one_name_and_misspelt_keys_are_refused() {
        let twice = format!("{}{TOGGLES}[[toggle]]\nname = \"door\"\n", shop(""));
        refuses(&twice, "toggle `door` has the name of an earlier toggle");
        let other = format!("{}[[toggle]]\nname = \"door\"\nonn = true\n", shop(""));
        refuses(
            &other,
            "toggle `door` has the unknown key `onn`; did you mean `on`?",
        );
        let word = format!("{}[[toggle]]\nname = \"door\"\non = \"yes\"\n", shop(""));
        refuses(
            &word,
            "toggle `door` gives `on` a string; it takes true or false",
        );
    }
}
