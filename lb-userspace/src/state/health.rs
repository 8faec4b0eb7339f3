//! Operational states: what the checks make of backends, and what becomes of a pool without one.

use super::{Admin, BackendState, ServiceState, State};
use crate::{
    health::{Name, Verdict, Verdicts},
    release::{Mapping, engine::Stage},
    seed::Seed,
};

impl State {
    /// Whether a backend is up, as far as is known: until it has failed, it is.
    pub fn is_up(&self, name: &Name) -> bool {
        let service = self.services.get(&name.service);
        let mut backends = service.into_iter().flat_map(|s| s.backends.values());
        backends
            .find(|backend| backend.name == name.backend && !backend.leaving)
            .is_none_or(|backend| backend.up)
    }

    /// The verdicts that say something else than this state, of backends that are there.
    pub fn contradicted<'v>(
        &self,
        verdicts: &'v Verdicts,
    ) -> impl Iterator<Item = (&'v Name, bool)> {
        let news = move |(name, verdict): (&'v Name, &Verdict)| {
            let backend = self.services.get(&name.service)?.backend(&name.backend)?;
            (backend.up != verdict.up).then_some((name, verdict.up))
        };
        verdicts.iter().filter_map(news)
    }
}

impl ServiceState {
    /// A backend that has not left.
    pub fn backend(&self, name: &str) -> Option<&BackendState> {
        let mut backends = self.backends.values();
        backends.find(|backend| backend.name == name && !backend.leaving)
    }

    /// Whether a pool would serve, were its backends not down; or users are on it, and it can't
    /// serve them. Those of a dead pool may be taken out of service, for a repair.
    pub fn is_dead(&self, pool: &str) -> bool {
        let is_missed = || self.members(pool).any(|(_, backend)| backend.is_wanted());
        !self.can_serve(pool) && (self.is_serving(pool) || is_missed())
    }

    /// The pool whose backends have the slots of one that is dead: the active pool, or for that
    /// one a candidate that has a share, or in its bake time the pool before it. Nothing if the
    /// service drops, or that pool can't serve.
    pub fn stand_in(&self, pool: &str) -> Option<&str> {
        if !self.falls_back || !self.is_dead(pool) {
            return None;
        }
        let now = &self.position.now;
        let other = if self.pools.get(pool)?.id != now.active {
            now.active
        } else if now.share_ppm > 0 {
            now.candidate
        } else {
            self.position.previous.filter(|_| self.bakes())?
        };
        Some(self.pool_name(other)).filter(|other| self.can_serve(other))
    }

    /// Whether both pools serve their own users: else what would be counted as the one's is the other's,
    /// or nothing is.
    pub fn compares(&self, now: &Mapping) -> bool {
        let mut pools = [now.active, now.candidate].into_iter();
        pools.all(|pool| self.can_serve(self.pool_name(pool)))
    }

    fn bakes(&self) -> bool {
        let run = self.position.run.as_ref();
        run.is_some_and(|run| run.stage == Stage::Bake)
    }

    /// The pools that are dead.
    pub fn dead_pools(&self) -> Vec<String> {
        let pools = self.pools.keys();
        pools.filter(|pool| self.is_dead(pool)).cloned().collect()
    }

    /// Deals the slots of dead pools anew, since what stands in for them may have changed.
    pub fn reassign_dead(&mut self, seed: &Seed, tick: u32) {
        for pool in self.dead_pools() {
            self.deal(&pool, seed, tick);
        }
    }
}

impl BackendState {
    /// Sets the operational state.
    pub fn set_up(&mut self, up: bool) {
        self.up = up;
        self.slow_start = self.slow_start.filter(|_| up);
        self.voided &= self.is_cut();
    }

    /// Whether nothing may reach it: its connections are cut, and their pins are void. On a
    /// backend that is down they would meet silence; elsewhere they are reset.
    pub fn is_cut(&self) -> bool {
        self.admin == Admin::Maint || !self.up
    }

    /// Whether its operator wants it to have new connections.
    pub(super) fn is_wanted(&self) -> bool {
        self.admin == Admin::Ready && self.weight() > 0
    }
}

#[cfg(test)]
mod tests {
    use lb_common::backend::NONE;

    use super::*;
    use crate::{config::Config, dataplane::Image, state::reconcile};

    const SERVICE: &str = r#"
[node]
interfaces = ["eth0"]
hash_seed = "sixteen-or-longer"
[[service]]
name = "shop"
listen = ["tcp://192.0.2.80:80"]
[[service.pool]]
name = "blue"
health = { tcp = true }
backends = [
  { name = "b1", address = "10.0.1.1" },
  { name = "b2", address = "10.0.1.2" },
  { name = "b3", address = "10.0.1.3" },
]
[[service.pool]]
name = "green"
health = { tcp = true }
backends = [{ name = "g1", address = "10.0.2.1" }]
"#;

    fn seed() -> Seed {
        Seed::new("seed")
    }

    fn follow(before: &State, text: &str) -> State {
        let config = Config::parse(text).expect("valid");
        reconcile(before, &Image::default(), &config, &seed(), 1).expect("allowed")
    }

    /// The service after these backends went down or came up, one after another.
    fn after(mut service: ServiceState, changes: &[(&str, bool)]) -> ServiceState {
        for (name, up) in changes {
            let backend = service.backend_mut(name).expect("there");
            backend.set_up(*up);
            let pool = backend.pool.clone();
            service.reassign(&pool, &seed(), 2);
        }
        service
    }

    fn shop() -> ServiceState {
        follow(&State::default(), SERVICE).services["shop"].clone()
    }

    fn slots(service: &ServiceState, pool: &str) -> Vec<(u16, u16)> {
        let slots = service.pools[pool].table.slots().slots();
        slots.map(|slot| (slot.current(), slot.origin())).collect()
    }

    fn id(service: &ServiceState, name: &str) -> u16 {
        let mut all = service.backends.iter();
        *all.find(|(_, b)| b.name == name).expect("there").0
    }

    #[test]
    fn slots_of_a_dead_backend_go_to_the_others_and_no_other_slot_moves() {
        let before = shop();
        let dead = id(&before, "b2");
        let down = after(before.clone(), &[("b2", false)]);

        for (was, is) in slots(&before, "blue").into_iter().zip(slots(&down, "blue")) {
            if was.0 == dead {
                assert!(is.0 != dead && is.1 == is.0, "neither now nor as origin");
            } else {
                assert_eq!(was, is);
            }
        }
        assert_eq!(slots(&before, "green"), slots(&down, "green"));
    }

    #[test]
    fn recovery_brings_the_slots_back_and_leaves_live_connections_where_they_are() {
        let before = shop();
        let down = after(before.clone(), &[("b2", false)]);
        let up = after(down.clone(), &[("b2", true)]);
        let current = |slots: Vec<(u16, u16)>| slots.into_iter().map(|slot| slot.0);
        let origin = |slots: Vec<(u16, u16)>| slots.into_iter().map(|slot| slot.1);
        assert!(current(slots(&up, "blue")).eq(current(slots(&before, "blue"))));
        assert!(origin(slots(&up, "blue")).eq(origin(slots(&down, "blue"))));
    }

    #[test]
    fn pins_to_a_dead_backend_are_void_once_and_good_after_its_return() {
        let mut state = follow(&State::default(), SERVICE);
        let generation =
            |state: &State| state.services["shop"].backend("b1").expect("b1").generation;
        let set = |state: &mut State, up| {
            let service = state.service_mut("shop").expect("there");
            service.backend_mut("b1").expect("there").set_up(up);
            state.void_pins();
        };
        let first = generation(&state);
        set(&mut state, false);
        let second = generation(&state);
        state.void_pins();
        set(&mut state, true);
        let third = generation(&state);
        set(&mut state, false);
        let fourth = generation(&state);
        assert!(first != second && second == third && third != fourth);
    }

    #[test]
    fn a_dead_candidate_falls_back_to_the_active_pool_slot_by_slot() {
        let down = after(shop(), &[("g1", false)]);
        assert_eq!(down.stand_in("green"), Some("blue"));
        assert_eq!(slots(&down, "green"), slots(&down, "blue"));
        let up = after(down, &[("g1", true)]);
        let g1 = id(&up, "g1");
        assert!(slots(&up, "green").iter().all(|slot| slot.0 == g1));
    }

    #[test]
    fn what_stands_in_follows_its_own_changes() {
        let down = after(shop(), &[("g1", false), ("b1", false)]);
        let current = |pool| slots(&down, pool).into_iter().map(|slot| slot.0);
        assert!(current("green").eq(current("blue")));
        assert!(current("green").all(|owner| owner != id(&down, "b1")));
    }

    #[test]
    fn a_dead_active_pool_falls_back_to_a_candidate_only_where_that_has_a_share() {
        let all = [("b1", false), ("b2", false), ("b3", false)];
        let without = after(shop(), &all);
        assert!(without.is_dead("blue") && without.stand_in("blue").is_none());
        assert!(
            slots(&without, "blue")
                .iter()
                .all(|&slot| slot == (NONE, NONE))
        );

        let mut released = shop();
        let green = released.pools["green"].id;
        let next = released.position.share(green, 10_000, 1, &|_| 1);
        released.position = next.expect("allowed");
        let released = after(released, &all);
        assert_eq!(released.stand_in("blue"), Some("green"));
    }

    #[test]
    fn with_drop_a_dead_pool_owns_nothing() {
        let text = SERVICE.replace("\nlisten", "\non_dead_pool = \"drop\"\nlisten");
        let state = follow(&State::default(), &text);
        let down = after(state.services["shop"].clone(), &[("g1", false)]);
        assert!(
            slots(&down, "green")
                .iter()
                .all(|&slot| slot == (NONE, NONE))
        );
    }

    #[test]
    fn administrative_states_and_health_are_independent() {
        let mut service = shop();
        service.backend_mut("b1").expect("there").admin = Admin::Drain;
        let down = after(service, &[("b1", false)]);
        assert_eq!(down.backend("b1").expect("there").admin, Admin::Drain);
        let up = after(down, &[("b1", true)]);
        assert!(!up.backend("b1").expect("there").takes_connections());
    }

    #[test]
    fn a_pool_that_is_drained_by_hand_is_not_dead() {
        let mut service = shop();
        service.backend_mut("g1").expect("there").admin = Admin::Maint;
        let down = after(service, &[("g1", false)]);
        assert!(!down.is_dead("green") && down.stand_in("green").is_none());
    }

    #[test]
    fn a_dead_pool_with_users_that_is_taken_out_for_a_repair_still_falls_back() {
        let mut released = shop();
        let green = released.pools["green"].id;
        let next = released.position.share(green, 10_000, 1, &|_| 1);
        released.position = next.expect("allowed");
        let mut dead = after(released, &[("g1", false)]);
        for admin in [Admin::Drain, Admin::Maint] {
            dead.backend_mut("g1").expect("there").admin = admin;
            dead.reassign("green", &seed(), 3);
            assert_eq!(dead.stand_in("green"), Some("blue"));
            assert_eq!(slots(&dead, "green"), slots(&dead, "blue"));
        }
    }

    #[test]
    fn backends_that_are_no_longer_checked_are_up_and_others_keep_their_state() {
        let mut state = follow(&State::default(), SERVICE);
        for name in ["b1", "g1"] {
            let service = state.service_mut("shop").expect("there");
            service.backend_mut(name).expect("there").set_up(false);
        }
        let health = "health = { tcp = true }\nbackends = [{ name = \"g1\"";
        let text = SERVICE.replace(health, "backends = [{ name = \"g1\"");
        let next = follow(&state, &text);
        let up = |name| next.services["shop"].backend(name).expect("there").up;
        assert!(!up("b1") && up("g1"));
    }
}
