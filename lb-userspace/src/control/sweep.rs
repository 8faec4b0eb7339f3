//! Time's part: what is due is done, and pins are swept until none is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use lb_common::{
    audience::condition,
    flow::{FlowKey, Pin},
    listener::Endpoint,
    node::Node,
    protocol,
};

use super::{
    Control, ControlError,
    settle::{
        drain_ticks, idle_ticks, is_due, is_overdue, next_settlement, next_slow_step, settle,
        slow_start_ticks,
    },
};
use crate::{
    config::{Config, Datagram},
    dataplane::{Cursor, Dataplane, Image},
    health::Verdicts,
    state::{BackendState, ServiceState, State},
};

/// Ticks that a pin stays after its client has sent FIN or RST: longer than the server's last
/// words take, as Linux's own `tcp_fin_timeout` allows for.
const CLOSING_TICKS: u32 = 56;
/// Ticks that a pin stays of whose connection only the first packet was seen: a client that gets no
/// answer repeats its SYN 1, 3, 7, 15, 31 and 63 seconds after the first (Linux's `tcp_syn_retries`),
/// each time renewing the pin; and who got one has acknowledged it long before.
const HALF_OPEN_TICKS: u32 = 60;
/// A sweep may take this part of the time at most.
const SWEEP_BUDGET: u32 = 50;
/// The shortest time between two sweeps.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// When a state that could not be kept is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Between two slices of a sweep: whoever waits for the core has it meanwhile.
const SLICE_PAUSE: Duration = Duration::from_millis(1);

/// The sweep under way, and when the next is due.
#[derive(Default)]
pub struct Schedule {
    next: Option<Instant>,
    pass: Option<Pass>,
}

/// A sweep: a walk over all pins, slice by slice, with orders and packets in between.
struct Pass {
    cursor: Cursor,
    found: BTreeMap<u32, Found>,
    /// Each service's record when it began.
    epochs: BTreeMap<u32, u64>,
    /// Numbers of listeners that were gone by then.
    retired: BTreeSet<u16>,
    /// How long its slices took.
    took: Duration,
}

impl Pass {
    fn of(state: &State) -> Self {
        let services = state.services.values();
        Self {
            cursor: Cursor::default(),
            found: BTreeMap::new(),
            epochs: services
                .map(|service| (service.id, service.position.epoch))
                .collect(),
            retired: state.retired.clone(),
            took: Duration::ZERO,
        }
    }

    /// Whether it has seen all pins that a service has. By another record, others may have come
    /// behind it.
    fn has_seen(&self, service: &ServiceState) -> bool {
        self.epochs.get(&service.id) == Some(&service.position.epoch)
    }
}

/// What a sweep found of one service.
#[derive(Default)]
struct Found {
    pins: u64,
    /// Pins of connections that were silent for too long.
    orphaned: u64,
    backends: BTreeSet<u16>,
}

impl<D: Dataplane> Control<D> {
    /// Follows what the checks say, and does what is due, whatever befalls the one or the other; returns
    /// how long nothing will be, or `None` if nothing is pending.
    pub fn attend(&mut self, verdicts: &Verdicts, tick: u32, now: Instant) -> Option<Duration> {
        let followed = self.health(verdicts, tick).map(|()| None);
        let tended = self.tend(tick, now);
        let pauses = [
            ("following health checks", followed),
            ("settling or sweeping", tended),
        ];
        let pauses = pauses.into_iter().filter_map(|(what, pause)| {
            pause.unwrap_or_else(|error| {
                tracing::error!("{what}: {error}");
                Some(RETRY)
            })
        });
        pauses.min()
    }

    /// Does what is due; returns how long nothing will be, or `None` if nothing is pending.
    pub fn tend(&mut self, tick: u32, now: Instant) -> Result<Option<Duration>, ControlError> {
        let pause = self.tend_all(tick, now)?;
        // What is not kept is tried again.
        let retry = self.owed.as_ref().map(|_| RETRY);
        Ok(pause.into_iter().chain(retry).min())
    }

    fn tend_all(&mut self, tick: u32, now: Instant) -> Result<Option<Duration>, ControlError> {
        if self.unfinished {
            self.commit(self.state.clone())?;
        }
        self.keep_owed();
        self.carry_out_pending(tick)?;
        self.judge_releases(tick)?;
        self.advance_releases(tick)?;
        if is_due(&self.state, &self.config, tick) {
            let mut next = settle(&self.state, &self.config, tick);
            let period = |service: &str, pool: &str| slow_start_ticks(&self.config, service, pool);
            next.advance(period, &self.seed, tick);
            // Something may have come between the two steps of a `maint`.
            next.void_pins();
            if next != self.state {
                self.commit(next)?;
            }
        }
        if !self.state.needs_sweep() {
            self.sweep.pass = None;
            let settlement = next_settlement(&self.state, &self.config, tick);
            let step = next_slow_step(&self.state, &self.config, tick);
            let release = self.next_release();
            return Ok([settlement, step, self.next_pending(tick), release]
                .into_iter()
                .flatten()
                .min());
        }
        let due = self.sweep.next.is_none_or(|next| next <= now);
        let begun = due.then(|| Pass::of(&self.state));
        if let Some(pass) = self.sweep.pass.take().or(begun) {
            self.sweep(pass, tick, now)?;
        }
        if self.is_sweeping() {
            return Ok(Some(SLICE_PAUSE));
        }
        let release = self.next_release().unwrap_or(SWEEP_PAUSE);
        Ok(Some(SWEEP_PAUSE.min(release)))
    }

    /// Whether a sweep has begun and not ended.
    pub const fn is_sweeping(&self) -> bool {
        self.sweep.pass.is_some()
    }

    /// Removes pins of one slice that are over; after the last, drops what nothing needs any more.
    fn sweep(&mut self, mut pass: Pass, tick: u32, now: Instant) -> Result<(), ControlError> {
        let (began, mut over) = (Instant::now(), Vec::new());
        let ended = self.look_at_pins(&mut pass, &mut over, tick)?;
        self.dataplane.unpin(&over)?;
        pass.took += began.elapsed();
        if !ended {
            self.sweep.pass = Some(pass);
            return Ok(());
        }
        self.sweep.next = Some(now + SWEEP_PAUSE.max(pass.took * SWEEP_BUDGET));
        let awaited = |service: &str, backend: &BackendState| {
            backend.is_awaited(drain_ticks(&self.config, service), tick)
        };
        let next = self.time_out(swept(&self.state, &pass, &awaited), &pass, tick);
        if next != self.state {
            self.commit(next)?;
        }
        Ok(())
    }

    /// Counts the pins of one slice that live, and tells those that are over; true after the last.
    fn look_at_pins(
        &mut self,
        pass: &mut Pass,
        over: &mut Vec<(FlowKey, Pin)>,
        tick: u32,
    ) -> Result<bool, ControlError> {
        let listeners = Listeners::of(&self.image);
        let (image, node) = (&self.image, &self.node);
        let services = self.state.services.iter();
        let rules: BTreeMap<u32, Rule> = services
            .map(|(name, s)| (s.id, Rule::of(name, s, &self.config)))
            .collect();
        let Pass { cursor, found, .. } = pass;
        let ended = self.dataplane.sweep_pins(cursor, &mut |key, pin| {
            let place = listeners.0.get(&key.listener());
            let rule = place.and_then(|(service, _)| rules.get(service));
            let (Some((service, endpoint)), Some(rule)) = (place, rule) else {
                over.push((key, pin));
                return;
            };
            let knowable = rule.settled && rule.is_knowable(endpoint.protocol());
            let redundant = || knowable && image.sends(node, endpoint, &key, pin);
            let found = found.entry(*service).or_default();
            let session = rule.sessions && endpoint.protocol() == protocol::UDP;
            let fate = rule.fate(pin, session, tick);
            found.orphaned += u64::from(fate == Fate::Orphaned);
            if fate != Fate::Lives || redundant() {
                over.push((key, pin));
                return;
            }
            found.pins += 1;
            found.backends.insert(pin.backend());
        })?;
        Ok(ended)
    }
}

impl<D: Dataplane> Control<D> {
    /// Where the deadline of a drain is over, what has been found alive is cut at its next packet.
    fn time_out(&self, mut next: State, pass: &Pass, tick: u32) -> State {
        let seen = |service: &ServiceState| pass.has_seen(service);
        let services = next.services.iter_mut();
        for (name, service) in services.filter(|(_, service)| seen(service)) {
            // Pins of audiences by the first packet are no rest of a change.
            let settled = !service.is_moving() && service.is_touched() && !service.pins_at_rest();
            let left = pass.found.get(&service.id).map_or(0, |found| found.pins);
            if !settled || service.position.overdue || left == 0 {
                continue;
            }
            if is_overdue(service, &self.config, name, tick) {
                service.position = service.position.timed_out();
                service.cut += left;
                tracing::warn!(
                    "service `{name}`: the drain's deadline is over; {left} connections that are \
                     not where new ones go are cut"
                );
            }
        }
        next
    }
}

/// What becomes of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its connection is in use.
    Lives,
    /// Its connection has ended, or has lost its backend.
    Over,
    /// Its connection has been silent for longer than a change waits for it.
    Orphaned,
}

/// By which rule the pins of a service end.
struct Rule {
    /// Pins that say what the mapping says are of no use.
    settled: bool,
    /// What audiences ask of packets.
    conditions: u32,
    /// Ticks without a packet after which a connection is taken for gone.
    idle: u32,
    /// Datagrams have sessions, with an idle time of their own.
    sessions: bool,
    session_idle: u32,
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
            settled: !service.is_moving() && !service.position.arming,
            conditions: service.conditions(),
            idle: drain_ticks(config, name),
            sessions: config
                .service(name)
                .is_some_and(|service| service.datagram == Datagram::Session),
            session_idle: idle_ticks(config, name),
            generations,
        }
    }

    /// Whether a pin's key says what the mapping makes of the connection's packets: it tells neither
    /// VLAN tags, which each packet is judged by, nor what each datagram is.
    const fn is_knowable(&self, protocol: u8) -> bool {
        let by_packet = match protocol {
            protocol::UDP => condition::VLAN | condition::OPENING,
            _ => condition::VLAN,
        };
        self.conditions & by_packet == 0
    }

    fn fate(&self, pin: Pin, session: bool, tick: u32) -> Fate {
        let idle = pin.idle_ticks(tick);
        let void = self.generations.get(&pin.backend()) != Some(&pin.generation());
        let limit = if pin.is_closing() {
            self.idle.min(CLOSING_TICKS)
        } else if pin.is_half_open() {
            self.idle.min(HALF_OPEN_TICKS)
        } else {
            self.idle
        };
        if void || (session && idle > self.session_idle) {
            return Fate::Over;
        }
        match idle > limit {
            false => Fate::Lives,
            true if pin.is_closing() || pin.is_half_open() => Fate::Over,
            true => Fate::Orphaned,
        }
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

/// The state after a sweep: marks of services without pins go, and backends that nothing names and
/// that are not `awaited`.
fn swept(state: &State, pass: &Pass, awaited: &dyn Fn(&str, &BackendState) -> bool) -> State {
    let mut next = state.clone();
    for (name, service) in &mut next.services {
        let found = pass.found.get(&service.id);
        service.orphaned += found.map_or(0, |found| found.orphaned);
        if !pass.has_seen(service) {
            continue;
        }
        if !service.is_moving()
            && !service.position.arming
            && found.is_none_or(|found| found.pins == 0)
        {
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
            .retain(|&id, backend| !backend.leaving || needed(id) || awaited(name, backend));
        let backends = &service.backends;
        service.baseline.retain(|id, _| backends.contains_key(id));
    }
    // Their pins named no listener, and so were over.
    next.retired.retain(|number| !pass.retired.contains(number));
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
        let fate = |pin, tick| rule.fate(pin, false, tick);
        assert_eq!(fate(live, 1000 + DRAIN), Fate::Lives);
        assert_eq!(fate(live, 1001 + DRAIN), Fate::Orphaned);
        assert_eq!(fate(closed, 1056), Fate::Lives);
        assert_eq!(fate(closed, 1057), Fate::Over);
        let half_open = Pin::half_open(1, 1, 1000);
        assert_eq!(fate(half_open, 1060), Fate::Lives);
        assert_eq!(fate(half_open, 1061), Fate::Over);
        assert_eq!(fate(Pin::new(1, 2, 1000), 1000), Fate::Over, "generation");
        assert_eq!(fate(Pin::new(9, 1, 1000), 1000), Fate::Over, "no backend");
        let session = |tick| rule.fate(live, true, tick);
        assert_eq!(session(1000 + rule.session_idle), Fate::Lives);
        assert_eq!(session(1001 + rule.session_idle), Fate::Over);
    }

    #[test]
    fn a_backend_that_is_awaited_stays_although_nothing_names_it() {
        let mut fixture = Fixture::new(SHOP);
        let shop = fixture.service_mut("shop");
        // Of a pool that no position names.
        shop.backends.get_mut(&3).expect("g1").leave(5);
        shop.pools.remove("green");
        let there = |awaited| {
            let next = swept(&fixture.state, &Pass::of(&fixture.state), &|_, _| awaited);
            next.services["shop"].backends.contains_key(&3)
        };
        assert_eq!((there(true), there(false)), (true, false));
    }

    #[test]
    fn a_backend_that_leaves_stays_for_a_pin_or_a_slot() {
        let mut fixture = Fixture::new(SHOP);
        let shop = fixture.service_mut("shop");
        shop.backends.get_mut(&1).expect("b1").leaving = true;
        shop.baseline.extend([(1, 5), (2, 5)]);
        let swept = |state: &State, pass: &Pass| swept(state, pass, &|_, _| false);
        let named = swept(&fixture.state, &Pass::of(&fixture.state));
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
            orphaned: 0,
            backends: [1].into(),
        };
        let mut pass = Pass::of(&settled);
        pass.found.insert(0, pinned);
        let pinned = swept(&settled, &pass);
        assert!(
            pinned.services["shop"].backends.contains_key(&1),
            "a pin names it"
        );

        let free = swept(&settled, &Pass::of(&settled));
        let shop = &free.services["shop"];
        assert!(!shop.backends.contains_key(&1) && !shop.baseline.contains_key(&1));
        assert!(!shop.is_touched());
    }
}
