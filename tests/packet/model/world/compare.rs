//! What packets have left in the maps is what the model says: pins and counters.

use std::collections::{BTreeMap, HashMap};

use lb_common::{flow::FlowKey, reason::Reason};
use lb_userspace::{
    dataplane::{Dataplane as _, Image, kernel::KernelError},
    state::State,
};

use super::{World, clocked::book};
use crate::model::{
    reference::Flow,
    site::{SERVICES, name},
};

/// How often a packet had each fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    pub to: u64,
    pub reset: u64,
    pub empty: u64,
    pub lost: u64,
}

impl World {
    /// The flow table and the counters are what the model says.
    pub fn compare(&mut self) -> Result<(), String> {
        self.compare_pins()?;
        let counted = self.counted().map_err(|error| error.to_string())?;
        if counted != self.fates {
            return Err(format!(
                "{:?} became {counted:?} by the counters",
                self.fates
            ));
        }
        (0..SERVICES).try_for_each(|number| self.compare_audiences(number))
    }

    fn compare_pins(&mut self) -> Result<(), String> {
        let mut found = HashMap::new();
        let kernel = &self.control().dataplane().kernel;
        let each = kernel.each_pin(&mut |key, pin| {
            let marks = (pin.is_closing(), pin.is_half_open());
            found.insert(key, (pin.backend(), pin.generation(), marks));
        });
        each.map_err(|error| error.to_string())?;
        for (key, flow) in self.keys() {
            let pin = self.model.pins[&flow];
            let expected = (pin.backend, pin.generation, (pin.closing, pin.half_open));
            let kept = found.remove(&key);
            if pin.unsure && kept.is_none() {
                self.model.pins.remove(&flow);
            } else if kept != Some(expected) {
                return Err(format!(
                    "the pin of {flow:?} should be {expected:?}, and is {kept:?}"
                ));
            } else {
                self.model
                    .pins
                    .entry(flow)
                    .and_modify(|pin| pin.unsure = false);
            }
        }
        match found.iter().next() {
            Some(pin) => Err(format!("a pin that nobody expects: {pin:?}")),
            None => Ok(()),
        }
    }

    fn counted(&mut self) -> Result<Fates, KernelError> {
        let counters = self.control().dataplane().counters(&[], &[])?;
        let count = |wanted| {
            let mut counters = counters.reasons.iter();
            let found = counters.find(|(reason, _)| *reason == wanted);
            found.map_or(0, |(_, count)| *count)
        };
        Ok(Fates {
            to: count(Reason::Transmitted),
            reset: count(Reason::Reset),
            empty: count(Reason::EmptyPool),
            lost: count(Reason::NoBackend),
        })
    }

    /// Each audience has counters of its own, as long as somebody may be in it.
    fn compare_audiences(&mut self, number: usize) -> Result<(), String> {
        let state: State = self.control().state().clone();
        let numbers = &state.services[&name(number)].audiences.numbers;
        let asked: Vec<u32> = numbers.values().copied().collect();
        let counted = self.control().dataplane().audience_counters(&asked);
        let counted = counted.map_err(|error| error.to_string())?;
        let service = &self.model.services[number];
        let sets = [&service.now.audiences, &service.origin.audiences];
        let named = |name: &String| sets.iter().any(|set| set.iter().any(|it| it.name == *name));
        let of_model = &mut self.model.counted[number];
        of_model.retain(|name, _| named(name));
        let of_core: BTreeMap<&String, u64> = numbers
            .iter()
            .map(|(name, number)| (name, counted[number].packets))
            .filter(|(_, packets)| *packets > 0)
            .collect();
        if of_core
            .iter()
            .map(|(name, packets)| (*name, packets))
            .eq(of_model.iter())
        {
            return Ok(());
        }
        Err(format!(
            "service {number}: audiences had {of_model:?}, and {of_core:?} by the counters"
        ))
    }

    /// The model's pins by their keys in the kernel.
    pub(super) fn keys(&self) -> HashMap<FlowKey, Flow> {
        let book = book(&self.book);
        let flows = self.model.pins.keys();
        flows.map(|flow| (key(&book.image, flow), *flow)).collect()
    }
}

/// The flow's key in the kernel's table.
pub fn key(image: &Image, flow: &Flow) -> FlowKey {
    let (address, port) = flow.vip;
    let vip = lb_common::listener::Endpoint::new(address, port.to_be_bytes(), flow.protocol);
    FlowKey::new(
        flow.client,
        flow.port.to_be_bytes(),
        image.listeners[&vip].id(),
    )
}
