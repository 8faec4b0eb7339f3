//! What is due must have been done when time has gone by, and nothing before it is due.

use std::collections::HashMap;

use lb_common::flow::FlowKey;
use lb_userspace::state::State;

use super::{World, clocked::book};
use crate::model::{
    audience::Audience,
    reference::Flow,
    site::{SERVICES, name},
};

impl World {
    /// What the core has settled must have stood for long enough.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let tick = self.tick;
        let state: State = self.control().state().clone();
        for (number, service) in self.model.services.iter_mut().enumerate() {
            let of_core = &state.services[&name(number)];
            let was_moving = !service.is_settled();
            if of_core.position.changed.is_none() {
                service.settle(tick)?;
            }
            for pool in of_core
                .pools
                .values()
                .filter(|pool| !pool.table.is_moving())
            {
                service.settle_pool(pool.id, tick)?;
            }
            self.tally.settled += u64::from(was_moving && service.is_settled());
        }
        Ok(())
    }

    /// Older connections are cut once the deadline of the last change is over, not before.
    pub(super) fn deadlines(&mut self) -> Result<(), String> {
        for number in 0..SERVICES {
            let overdue = self.control().state().services[&name(number)]
                .position
                .overdue;
            let service = &mut self.model.services[number];
            if overdue && !service.overdue {
                if !service.is_settled() || !service.is_overdue(self.tick) {
                    return Err(format!(
                        "service {number} cuts connections before their deadline"
                    ));
                }
                service.overdue = true;
                self.tally.overdue += 1;
            }
        }
        Ok(())
    }

    /// What the core has taken out of the flow table must have been of no use.
    pub(super) fn sweep(&mut self) -> Result<(), String> {
        let removed = std::mem::take(&mut book(&self.book).removed);
        let by_key: HashMap<FlowKey, Flow> = self.keys();
        for key in removed {
            let Some(flow) = by_key.get(&key) else {
                continue;
            };
            let pin = self.model.pins.remove(flow).expect("it has a key");
            let over = self.model.over(flow, &pin, self.tick);
            if over.is_none() && !self.model.is_redundant(flow, &pin) {
                return Err(format!("{pin:?} of {flow:?} was removed at {}", self.tick));
            }
        }
        Ok(())
    }

    /// One pass of the daemon's time is enough for all that is due: changes settle, pins that are of no
    /// use go, connections whose deadline is over are cut, and where no pin is left, none is looked for.
    pub(super) fn punctual(&mut self) -> Result<(), String> {
        let (model, tick) = (&self.model, self.tick);
        for (flow, pin) in &model.pins {
            let redundant = || model.is_telling(flow) && model.is_redundant(flow, pin);
            let over = model.over(flow, pin, tick);
            if let Some(why) = over.or_else(|| redundant().then_some("redundant")) {
                return Err(format!(
                    "{pin:?} of {flow:?} is {why} at {tick}, and was not removed"
                ));
            }
        }
        for number in 0..SERVICES {
            let done = self.is_done(number);
            done.map_err(|said| format!("service {number}: {said}"))?;
        }
        Ok(())
    }

    fn is_done(&mut self, number: usize) -> Result<(), String> {
        let touched = self.control().state().services[&name(number)].is_touched();
        let service = &self.model.services[number];
        service.late(self.tick)?;
        let mut audiences = service.now.audiences.iter();
        if !service.is_settled() || audiences.any(Audience::asks_the_first) {
            return Ok(());
        }
        let pins = self.model.pins.iter();
        let mut pins = pins.filter(|(flow, pin)| flow.service == number && !pin.by_id);
        match pins.next() {
            Some(pin) if service.is_overdue(self.tick) && !service.overdue => {
                Err(format!("leaves {pin:?} alone, whose deadline is over"))
            }
            None if touched && !service.arming => {
                Err("looks for pins, of which there is none".to_owned())
            }
            None if !touched => {
                self.model.services[number].forget();
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }
}
