//! A change settles once it has stood for its service's drain.

use std::time::Duration;

use crate::{
    config::Config,
    state::{ServiceState, State, slow_start::next_step},
};

/// A tick (2^30 ns).
pub(super) const TICK: Duration = Duration::from_nanos(1 << 30);

/// The state in which every change older than its drain has settled.
pub fn settle(state: &State, config: &Config, tick: u32) -> State {
    let mut next = state.clone();
    for (name, service) in &mut next.services {
        let drain = drain_ticks(config, name);
        let due = |changed: Option<u32>| changed.is_some_and(|at| tick.saturating_sub(at) >= drain);
        if due(service.position.changed) {
            service.position = service.position.settled();
        }
        for pool in service
            .pools
            .values_mut()
            .filter(|pool| due(pool.table.changed))
        {
            pool.table = pool.table.settled();
        }
    }
    next
}

/// Whether time may change something of a service: a drain is over, a backend starts slowly, or pins
/// are to be voided.
pub fn is_due(state: &State, config: &Config, tick: u32) -> bool {
    state.services.iter().any(|(name, service)| {
        let mut backends = service.backends.values();
        backends.any(|backend| backend.slow_start.is_some() || backend.is_to_be_voided())
            || pending(service, config, name, tick).any(|left| left == 0)
    })
}

/// How long until something settles; nothing if nothing is to.
pub fn next_settlement(state: &State, config: &Config, tick: u32) -> Option<Duration> {
    let services = state.services.iter();
    let due = services.flat_map(|(name, service)| pending(service, config, name, tick));
    due.min().map(|ticks| TICK * ticks.max(1))
}

/// Seconds until the last change of a service settles.
pub fn settles_in_s(service: &ServiceState, config: &Config, name: &str, tick: u32) -> Option<u64> {
    pending(service, config, name, tick)
        .max()
        .map(|ticks| (TICK * ticks).as_secs())
}

/// Ticks until each of a service's changes settles.
fn pending(
    service: &ServiceState,
    config: &Config,
    name: &str,
    tick: u32,
) -> impl Iterator<Item = u32> {
    let tables = service.pools.values().map(|pool| pool.table.changed);
    let changes = tables.chain([service.position.changed]).flatten();
    changes.map(move |changed| {
        let settles = changed.saturating_add(drain_ticks(config, name));
        settles.saturating_sub(tick)
    })
}

/// Ticks after which a service's drain is over for sure: the first of them may have been about to
/// end when it was counted.
pub fn drain_ticks(config: &Config, service: &str) -> u32 {
    let drain = config
        .service(service)
        .map_or(Duration::ZERO, |service| service.drain);
    ticks(drain).saturating_add(1)
}

/// Ticks after which a session of a service has been silent for its `idle` for sure.
pub fn idle_ticks(config: &Config, service: &str) -> u32 {
    let idle = config.service(service).map(|service| service.idle);
    ticks(idle.unwrap_or_default()).saturating_add(1)
}

/// Whether the time that connections had to end after a service's last change is over.
pub fn is_overdue(service: &ServiceState, config: &Config, name: &str, tick: u32) -> bool {
    let deadline = config
        .service(name)
        .and_then(|service| service.drain_deadline);
    let since = service.last_change.map(|at| tick.saturating_sub(at));
    deadline
        .zip(since)
        .is_some_and(|(deadline, since)| since > ticks(deadline))
}

/// Ticks in a time, the last of them perhaps not whole.
fn ticks(time: Duration) -> u32 {
    let whole = u32::try_from(time.as_nanos().div_ceil(TICK.as_nanos()));
    whole.unwrap_or(u32::MAX)
}

/// Ticks that the slow start of a pool's backends takes, if they have one.
pub fn slow_start_ticks(config: &Config, service: &str, pool: &str) -> Option<u32> {
    let pool = config.service(service)?.pool(pool)?;
    pool.health.as_ref()?.slow_start.map(ticks)
}

/// How long until a backend takes a step of its slow start; nothing if none is to.
pub fn next_slow_step(state: &State, config: &Config, tick: u32) -> Option<Duration> {
    let services = state.services.iter();
    let pools =
        services.flat_map(|(name, service)| service.pools.keys().map(move |p| (name, service, p)));
    let starting = pools.filter(|(_, service, pool)| service.is_starting(pool));
    let steps = starting.map(|(name, _, pool)| {
        // Without a period it is over at once.
        let period = slow_start_ticks(config, name, pool);
        period.map_or(1, |period| next_step(period, tick))
    });
    steps.min().map(|ticks| TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::fixture::{Fixture, SHOP};

    /// 15 minutes by default.
    const DRAIN: u32 = 839 + 1;

    #[test]
    fn a_drain_lasts_at_least_its_time_although_its_first_tick_may_be_over_at_once() {
        let fixture = Fixture::new(SHOP);
        assert_eq!(
            drain_ticks(&fixture.config, "shop"),
            DRAIN,
            "15 minutes by default"
        );
        let second = SHOP.replace("\nlisten", "\ndrain = \"1s\"\nlisten");
        assert_eq!(drain_ticks(&Fixture::new(&second).config, "shop"), 2);
    }

    #[test]
    fn a_change_settles_when_its_own_drain_is_over() {
        let mut fixture = Fixture::new(SHOP);
        let cut = fixture
            .service("shop")
            .position
            .cutover(1, 100)
            .expect("green");
        fixture.service_mut("shop").position = cut;
        let at = |tick| settle(&fixture.state, &fixture.config, tick);
        assert_eq!(at(100 + DRAIN - 1), fixture.state);
        assert!(!at(100 + DRAIN).services["shop"].is_moving());
        let shop = fixture.service("shop");
        let left: Vec<u32> = pending(shop, &fixture.config, "shop", 101).collect();
        assert_eq!(left, [DRAIN - 1]);
        let due = |tick| is_due(&fixture.state, &fixture.config, tick);
        assert_eq!((due(100 + DRAIN - 1), due(100 + DRAIN)), (false, true));
        assert_eq!(
            settles_in_s(shop, &fixture.config, "shop", 100 + DRAIN),
            Some(0)
        );
    }
}
