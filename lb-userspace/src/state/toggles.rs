//! Which switches are on, and what that means to what they guard.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ServiceState, State, StateError, ids::Ids};
use crate::{
    config::{Audience, Config, Service, Toggle},
    dataplane::Image,
    journal::Actor,
    release::{Position, engine::Run},
};

/// The runtime state of one toggle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToggleState {
    /// What it guards is there.
    pub on: bool,
    /// How it came to be so; nothing while it is as the file first had it.
    #[serde(default)]
    pub turned: Option<Turned>,
}

/// A turn of a toggle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turned {
    /// When, in RFC 3339 and UTC.
    pub time: String,
    /// Who did it.
    pub by: Actor,
    /// Why, in a person's words; empty where that was not said.
    pub reason: String,
}

/// The toggles under a configuration: those that are there stay as they are, those that have left it are
/// forgotten.
pub(super) fn kept(
    before: &BTreeMap<String, ToggleState>,
    configured: &[Toggle],
) -> BTreeMap<String, ToggleState> {
    let toggles = configured.iter().map(|toggle| {
        let fresh = ToggleState {
            on: toggle.on,
            turned: None,
        };
        let state = before.get(&toggle.name).cloned().unwrap_or(fresh);
        (toggle.name.clone(), state)
    });
    toggles.collect()
}

impl State {
    /// Whether something that may be guarded is there. What a toggle guarded that has left the file is.
    pub fn is_open(&self, toggle: Option<&str>) -> bool {
        let state = toggle.and_then(|toggle| self.toggles.get(toggle));
        state.is_none_or(|state| state.on)
    }

    /// Names of the toggles that are off.
    pub fn toggles_off(&self) -> BTreeSet<String> {
        let off = self.toggles.iter().filter(|(_, state)| !state.on);
        off.map(|(name, _)| name.clone()).collect()
    }

    /// The audiences of a service that are looked at, given its release.
    pub(super) fn open_audiences<'c>(
        &self,
        service: &'c Service,
        run: Option<&Run>,
    ) -> Vec<&'c Audience> {
        let hides = |name: &String| run.is_some_and(|run| run.hidden.contains(name));
        let audiences = service.audiences.iter();
        let open = audiences.filter(|audience| self.is_open(audience.toggle.as_deref()));
        open.filter(|audience| !hides(&audience.name)).collect()
    }

    /// Has a service's clients judged by the audiences that are looked at, since its release or a
    /// toggle has moved.
    pub fn show(&mut self, service: &Service, image: &Image, tick: u32) -> Result<(), StateError> {
        let state = self.services.get(&service.name);
        let looked = state.map(|state| self.looked(service, state, &state.position, image, tick));
        if let Some(next) = looked.transpose()?.flatten() {
            self.services.insert(service.name.clone(), next);
        }
        Ok(())
    }

    /// A position of a service, as it is once clients are judged so.
    pub fn shown(
        &self,
        service: &Service,
        position: Position,
        image: &Image,
        tick: u32,
    ) -> Result<Position, StateError> {
        let state = self.service(&service.name)?;
        let looked = self.looked(service, state, &position, image, tick)?;
        Ok(looked.map_or(position, |looked| looked.position))
    }

    /// A service at a position, once clients are judged so; nothing where they are.
    fn looked(
        &self,
        service: &Service,
        state: &ServiceState,
        position: &Position,
        image: &Image,
        tick: u32,
    ) -> Result<Option<ServiceState>, StateError> {
        let open = self.open_audiences(service, position.run.as_ref());
        if state.looks_at(&open, position) {
            return Ok(None);
        }
        let mut next = ServiceState {
            position: position.clone(),
            ..state.clone()
        };
        next.judge_by(service, &open, &mut Ids::of(self, image), tick)?;
        Ok(Some(next))
    }

    /// Turns a toggle: the clients of the audiences that it guards begin to move, and releases know of
    /// it. Whatever it guards else follows from the state as it is.
    pub fn turn(
        &mut self,
        name: &str,
        to: ToggleState,
        config: &Config,
        image: &Image,
        tick: u32,
    ) -> Result<(), StateError> {
        self.toggles.insert(name.to_owned(), to);
        for service in &config.services {
            self.show(service, image, tick)?;
        }
        self.tell_releases();
        Ok(())
    }

    /// Has the releases know which of their steps are passed over.
    pub(super) fn tell_releases(&mut self) {
        let off = self.toggles_off();
        for service in self.services.values_mut() {
            if let Some(run) = &mut service.position.run {
                run.know(&off);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::audience::AudienceSet;

    use super::super::fixture::{Fixture, SHOP};
    use super::*;

    const STAFF: &str = "[[toggle]]\nname = \"preview\"\n[[service.audience]]\nname = \"staff\"\n\
                         pool = \"candidate\"\nsources = [\"10.9.0.0/24\"]\ntoggle = \"preview\"\n\
                         [[service.audience]]\nname = \"guests\"\npool = \"active\"\nsources = \
                         [\"10.8.0.0/24\"]\n";

    fn shop(listen: &str) -> String {
        let shop = SHOP.replace("192.0.2.80:443", listen);
        shop.replace(
            "[[service]]",
            "[[toggle]]\nname = \"door\"\non = true\n[[service]]",
        ) + STAFF
    }

    fn turn(fixture: &mut Fixture, name: &str, on: bool) {
        let to = ToggleState { on, turned: None };
        let (config, image) = (&fixture.config, &fixture.image);
        let turned = fixture.state.turn(name, to, config, image, 20);
        turned.expect("room for one more set");
        fixture.compose();
    }

    /// How many audiences the live record's set has.
    fn looked_at(fixture: &Fixture) -> Option<usize> {
        let record = fixture.image.records.values().next()?;
        let set = fixture.image.audiences.get(&record.audiences);
        set.map(|set: &AudienceSet| set.rules().count())
    }

    #[test]
    fn an_audience_is_looked_at_while_its_toggle_is_on_and_keeps_its_number() {
        let mut fixture = Fixture::new(&shop("192.0.2.80:443"));
        assert_eq!(looked_at(&fixture), Some(1));
        turn(&mut fixture, "preview", true);
        assert_eq!(looked_at(&fixture), Some(2));
        let numbers = fixture.service("shop").audiences.numbers.clone();
        turn(&mut fixture, "preview", false);
        assert_eq!(looked_at(&fixture), Some(1));
        // No set counts it any more.
        fixture.service_mut("shop").keep_named_sets();
        turn(&mut fixture, "preview", false);
        let shop = fixture.service("shop");
        assert_eq!(shop.audiences.numbers, numbers);
        assert_eq!(shop.position.audience_sets(), [1, 1], "the set that was");
    }

    #[test]
    fn a_listener_is_in_the_maps_while_its_toggle_is_on() {
        let mut fixture = Fixture::new(&shop("192.0.2.80:443?toggle=door"));
        let open = fixture.image.clone();
        assert!(!open.listeners.is_empty());
        turn(&mut fixture, "door", false);
        assert!(fixture.image.listeners.is_empty());
        assert_eq!(
            fixture.image.replies, open.replies,
            "nothing else is written"
        );
        turn(&mut fixture, "door", true);
        assert_eq!(fixture.image, open);
    }

    #[test]
    fn toggles_outlast_a_configuration_as_long_as_it_has_them() {
        let mut fixture = Fixture::new(&shop("192.0.2.80:443"));
        turn(&mut fixture, "preview", true);
        fixture
            .apply(&shop("192.0.2.80:444"))
            .expect("another port");
        assert_eq!(looked_at(&fixture), Some(2));
        let renamed = shop("192.0.2.80:443").replace("preview", "other");
        fixture.apply(&renamed).expect("another toggle");
        assert_eq!(looked_at(&fixture), Some(1), "as the file has the new one");
        let names: Vec<_> = fixture.state.toggles.keys().collect();
        assert_eq!(names, ["door", "other"]);
    }
}
