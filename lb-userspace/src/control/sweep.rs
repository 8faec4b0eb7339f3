//! Time's part: what is due is done, and pins are swept until none is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use lb_common::{
    flow::{FlowKey, Pin},
    listener::Endpoint,
    node::Node,
};

use super::{
    Control, ControlError,
    settle::{drain_ticks, next_settlement, next_slow_step, settle, slow_start_ticks},
};
use crate::{
    config::Config,
    dataplane::{Dataplane, Image},
    state::{ServiceState, State},
};

/// Ticks that a pin stays after its client has sent FIN or RST: longer than the server's last
/// words take, as Linux's own `tcp_fin_timeout` allows for.
const CLOSING_TICKS: u32 = 56;
/// A sweep may take this part of the time at most.
const SWEEP_BUDGET: u32 = 50;
/// The shortest time between two sweeps.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// When the next sweep is due.
#[derive(Debug, Default)]
pub struct Schedule {
    next: Option<Instant>,
}

/// What a sweep found of one service.
#[derive(Default)]
struct Found {
    pins: u64,
    backends: BTreeSet<u16>,
}

impl<D: Dataplane> Control<D> {
    /// Does what is due; returns how long nothing will be, or `None` if nothing is pending.
    pub fn tend(&mut self, tick: u32, now: Instant) -> Result<Option<Duration>, ControlError> {
        if self.unfinished {
            self.commit(self.state.clone())?;
        }
        let mut next = settle(&self.state, &self.config, tick);
        let period = |service: &str, pool: &str| slow_start_ticks(&self.config, service, pool);
        next.advance(period, &self.seed, tick);
        // Something may have come between the two steps of a `maint`.
        next.void_pins();
        if next != self.state {
            self.commit(next)?;
        }
        if !self.state.needs_sweep() {
            let settlement = next_settlement(&self.state, &self.config, tick);
            let step = next_slow_step(&self.state, &self.config, tick);
            return Ok(settlement.into_iter().chain(step).min());
        }
        if self.sweep.next.is_none_or(|next| next <= now) {
            self.sweep(tick)?;
            let took = now.elapsed();
            self.sweep.next = Some(now + SWEEP_PAUSE.max(took * SWEEP_BUDGET));
        }
        Ok(Some(SWEEP_PAUSE))
    }

    /// Removes pins that are over, then drops what nothing needs any more.
    fn sweep(&mut self, tick: u32) -> Result<(), ControlError> {
        let listeners = Listeners::of(&self.image);
        let mut found: BTreeMap<u32, Found> = BTreeMap::new();
        let mut over = Vec::new();
        let (state, config, image, node) = (&self.state, &self.config, &self.image, &self.node);
        let rules: BTreeMap<u32, Rule> = state
            .services
            .iter()
            .map(|(name, s)| (s.id, Rule::of(name, s, config)))
            .collect();
        self.dataplane.each_pin(&mut |key, pin| {
            let place = listeners.0.get(&key.listener());
            let rule = place.and_then(|(service, _)| rules.get(service));
            let (Some((service, endpoint)), Some(rule)) = (place, rule) else {
                over.push(key);
                return;
            };
            let redundant = || rule.settled && image.sends(node, endpoint, &key, pin);
            if rule.is_over(pin, tick) || redundant() {
                over.push(key);
                return;
            }
            let found = found.entry(*service).or_default();
            found.pins += 1;
            found.backends.insert(pin.backend());
        })?;
        self.dataplane.unpin(&over)?;
        self.commit(swept(&self.state, &found))?;
        Ok(())
    }
}

/// By which rule the pins of a service end.
struct Rule {
    /// Pins that say what the mapping says are of no use.
    settled: bool,
    /// Ticks without a packet after which a connection is taken for gone.
    idle: u32,
    generations: BTreeMap<u16, u16>,
}

impl Rule {
    fn of(name: &str, service: &ServiceState, config: &Config) -> Self {
        let generations = service
            .backends
            .iter()
            .map(|(&id, backend)| (id, backend.generation))
            .collect();
        Self {
            settled: !service.is_moving(),
            idle: drain_ticks(config, name),
            generations,
        }
    }

    fn is_over(&self, pin: Pin, tick: u32) -> bool {
        let idle = pin.idle_ticks(tick);
        let void = self.generations.get(&pin.backend()) != Some(&pin.generation());
        void || idle > self.idle || (pin.is_closing() && idle > CLOSING_TICKS.min(self.idle))
    }
}

/// Service and endpoint of each listener's number.
struct Listeners(BTreeMap<u16, (u32, Endpoint)>);

impl Listeners {
    fn of(image: &Image) -> Self {
        let entries = image.listeners.iter();
        let entries = entries.filter(|(endpoint, _)| !endpoint.is_portless());
        Self(
            entries
                .map(|(endpoint, l)| (l.id(), (l.service(), *endpoint)))
                .collect(),
        )
    }
}

impl Image {
    /// Whether the mapping by itself sends a connection where its pin does.
    fn sends(&self, node: &Node, endpoint: &Endpoint, key: &FlowKey, pin: Pin) -> bool {
        self.choose(node, endpoint, *key.client(), key.client_port())
            .is_some_and(|choice| choice.current == pin.backend())
    }
}

impl State {
    fn needs_sweep(&self) -> bool {
        let touched = self.services.values().any(|service| {
            service.is_touched() || service.backends.values().any(|backend| backend.leaving)
        });
        touched || !self.retired.is_empty()
    }
}

/// The state after a sweep: marks of services without pins go, and backends that nothing names.
fn swept(state: &State, found: &BTreeMap<u32, Found>) -> State {
    let mut next = state.clone();
    for service in next.services.values_mut() {
        let found = found.get(&service.id);
        if !service.is_moving() && found.is_none_or(|found| found.pins == 0) {
            service.position = service.position.swept();
            for pool in service.pools.values_mut() {
                pool.table = pool.table.swept();
            }
        }
        let pools = &service.pools;
        let needed = |id: u16| {
            found.is_some_and(|found| found.backends.contains(&id))
                || pools.values().any(|pool| pool.table.names(id))
        };
        service
            .backends
            .retain(|&id, backend| !backend.leaving || needed(id));
        let backends = &service.backends;
        service.baseline.retain(|id, _| backends.contains_key(id));
    }
    // Their pins named no listener, and so were over.
    next.retired.clear();
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::fixture::{Fixture, SHOP};

    /// 15 minutes by default.
    const DRAIN: u32 = 839 + 1;

    fn rule(fixture: &Fixture) -> Rule {
        Rule::of("shop", fixture.service("shop"), &fixture.config)
    }

    #[test]
    fn a_pin_is_over_when_idle_or_closed_or_of_another_generation() {
        let fixture = Fixture::new(SHOP);
        let rule = rule(&fixture);
        let live = Pin::new(1, 1, 1000);
        let closed = live.seen(1000, true);
        assert!(!rule.is_over(live, 1000 + DRAIN) && rule.is_over(live, 1001 + DRAIN));
        assert!(!rule.is_over(closed, 1056) && rule.is_over(closed, 1057));
        assert!(
            rule.is_over(Pin::new(1, 2, 1000), 1000),
            "another generation"
        );
        assert!(rule.is_over(Pin::new(9, 1, 1000), 1000), "no such backend");
    }

    #[test]
    fn a_backend_that_leaves_stays_for_a_pin_or_a_slot() {
        let mut fixture = Fixture::new(SHOP);
        let shop = fixture.service_mut("shop");
        shop.backends.get_mut(&1).expect("b1").leaving = true;
        shop.baseline.extend([(1, 5), (2, 5)]);
        let named = swept(&fixture.state, &BTreeMap::new());
        assert!(
            named.services["shop"].backends.contains_key(&1),
            "slots name it"
        );

        fixture
            .service_mut("shop")
            .reassign("blue", &crate::seed::Seed::new("x"), 5);
        let settled = settle(&fixture.state, &fixture.config, 5 + DRAIN);
        let pinned = Found {
            pins: 1,
            backends: [1].into(),
        };
        let pinned = swept(&settled, &[(0, pinned)].into());
        assert!(
            pinned.services["shop"].backends.contains_key(&1),
            "a pin names it"
        );

        let free = swept(&settled, &BTreeMap::new());
        let shop = &free.services["shop"];
        assert!(!shop.backends.contains_key(&1) && !shop.baseline.contains_key(&1));
        assert!(!shop.is_touched());
    }
}
