//! Whether a state that was read holds together; whoever uses one relies on it.

use std::collections::BTreeSet;

use lb_common::{
    backend::NONE,
    hash::BUCKETS,
    maps::{MAX_BACKENDS, MAX_POOLS, MAX_SERVICES},
};
use thiserror::Error;

use super::{ServiceState, State};
use crate::release::{Mapping, Position, engine::Run};

/// What can't be in a state that serin has written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unsound {
    /// A number that the maps have no place for, or that stands for two things.
    #[error("service `{service}`: {what} {number} is out of range or taken")]
    Number {
        /// The service.
        service: String,
        /// Service, pool or backend.
        what: &'static str,
        /// The number.
        number: u32,
    },
    /// The position names a pool that the service does not have.
    #[error("service `{service}`: its position names pool {pool}, which it does not have")]
    NoPool {
        /// The service.
        service: String,
        /// The pool's number.
        pool: u32,
    },
    /// More than all clients.
    #[error("service `{service}`: a share of {share_ppm} ppm is more than all")]
    Share {
        /// The service.
        service: String,
        /// The share.
        share_ppm: u32,
    },
    /// A release that can't be.
    #[error("service `{0}`: its release is at a step or for a pool that there is not")]
    Release(String),
    /// A backend that is nowhere.
    #[error("service `{service}`: backend `{backend}` has no address")]
    NoPlace {
        /// The service.
        service: String,
        /// The backend.
        backend: String,
    },
}

impl State {
    /// Finds what can't be.
    pub fn check(&self) -> Result<(), Unsound> {
        let mut seen = Seen::default();
        for (name, service) in &self.services {
            seen.check(name, service)?;
            service.check_backends(name)?;
            service.check_position(name, &service.position)?;
        }
        Ok(())
    }
}

/// Numbers that stand for something.
#[derive(Default)]
struct Seen {
    services: BTreeSet<u32>,
    pools: BTreeSet<u32>,
    backends: BTreeSet<u32>,
}

impl Seen {
    fn check(&mut self, name: &str, service: &ServiceState) -> Result<(), Unsound> {
        let wrong = |what, number| Unsound::Number {
            service: name.to_owned(),
            what,
            number,
        };
        if service.id >= MAX_SERVICES || !self.services.insert(service.id) {
            return Err(wrong("service", service.id));
        }
        for pool in service.pools.values() {
            if pool.id >= MAX_POOLS || !self.pools.insert(pool.id) {
                return Err(wrong("pool", pool.id));
            }
        }
        for &id in service.backends.keys() {
            let number = u32::from(id);
            if id == NONE || number >= MAX_BACKENDS || !self.backends.insert(number) {
                return Err(wrong("backend", number));
            }
        }
        Ok(())
    }
}

impl ServiceState {
    fn check_backends(&self, name: &str) -> Result<(), Unsound> {
        match self.backends.values().find(|b| b.places.is_empty()) {
            Some(backend) => Err(Unsound::NoPlace {
                service: name.to_owned(),
                backend: backend.name.clone(),
            }),
            None => Ok(()),
        }
    }

    fn check_position(&self, name: &str, position: &Position) -> Result<(), Unsound> {
        for mapping in [&position.now, &position.origin] {
            self.check_mapping(name, mapping)?;
        }
        if position.touched_ppm > BUCKETS {
            return Err(Unsound::Share {
                service: name.to_owned(),
                share_ppm: position.touched_ppm,
            });
        }
        match &position.run {
            Some(run) if !self.is_possible(run) => Err(Unsound::Release(name.to_owned())),
            Some(_) | None => Ok(()),
        }
    }

    fn is_possible(&self, run: &Run) -> bool {
        let steps = &run.plan.steps;
        let shares = steps.last().is_none_or(|step| step.share_ppm <= BUCKETS);
        let at = run.step().is_none_or(|step| step < steps.len());
        run.plan.is_sound() && shares && at && self.has_pool(run.candidate)
    }

    fn check_mapping(&self, name: &str, mapping: &Mapping) -> Result<(), Unsound> {
        if mapping.share_ppm > BUCKETS {
            return Err(Unsound::Share {
                service: name.to_owned(),
                share_ppm: mapping.share_ppm,
            });
        }
        let pools = [mapping.active, mapping.candidate];
        match pools.into_iter().find(|&pool| !self.has_pool(pool)) {
            Some(pool) => Err(Unsound::NoPool {
                service: name.to_owned(),
                pool,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, SHOP};
    use super::*;
    use crate::release::engine::{Event, Plan, Stage, Step, advance};

    fn says(spoil: impl FnOnce(&mut ServiceState)) -> String {
        let mut fixture = Fixture::new(SHOP);
        assert_eq!(fixture.state.check(), Ok(()));
        spoil(fixture.service_mut("shop"));
        fixture.state.check().expect_err("unsound").to_string()
    }

    #[test]
    fn numbers_without_a_place_in_the_maps_are_found() {
        let number = |what: &str| format!("service `shop`: {what} is out of range or taken");
        assert_eq!(says(|shop| shop.id = MAX_SERVICES), number("service 1024"));
        let pool =
            |id| move |shop: &mut ServiceState| shop.pools.get_mut("green").expect("there").id = id;
        assert_eq!(says(pool(MAX_POOLS)), number("pool 4096"));
        assert_eq!(says(pool(0)), number("pool 0"));
        let backend = |id| {
            move |shop: &mut ServiceState| drop(shop.backends.insert(id, shop.backends[&1].clone()))
        };
        assert_eq!(says(backend(NONE)), number("backend 0"));
        assert_eq!(says(backend(4096)), number("backend 4096"));
    }

    #[test]
    fn two_services_of_one_number_are_found() {
        let mut fixture = Fixture::new(SHOP);
        let twin = fixture.service("shop").clone();
        fixture.state.services.insert("twin".to_owned(), twin);
        assert!(matches!(
            fixture.state.check(),
            Err(Unsound::Number {
                what: "service",
                ..
            })
        ));
    }

    #[test]
    fn positions_that_name_nothing_are_found() {
        assert_eq!(
            says(|shop| shop.position.now.candidate = 5),
            "service `shop`: its position names pool 5, which it does not have"
        );
        assert_eq!(
            says(|shop| shop.position.origin.share_ppm = 1_000_001),
            "service `shop`: a share of 1000001 ppm is more than all"
        );
    }

    #[test]
    fn releases_that_can_not_be_are_found() {
        let released = |candidate: u32, shares: &'static [u32], at: usize| {
            move |shop: &mut ServiceState| {
                let steps = shares.iter().map(|&share_ppm| Step {
                    audience: None,
                    share_ppm,
                    hold: std::time::Duration::from_secs(1),
                    approve: false,
                    ..Step::default()
                });
                let plan = Plan {
                    steps: steps.collect(),
                    ..Plan::default()
                };
                let start = Event::Start {
                    plan,
                    candidate,
                    replace: false,
                    straight: false,
                    at_ms: None,
                };
                let (mut run, _) = advance(None, &start, 0).expect("a start");
                run.stage = Stage::Step(at);
                shop.position.run = Some(run);
            }
        };
        let expected = "service `shop`: its release is at a step or for a pool that there is not";
        assert_eq!(says(released(9, &[1], 0)), expected, "no pool");
        assert_eq!(says(released(1, &[], 0)), expected, "no step");
        assert_eq!(says(released(1, &[5], 1)), expected, "beyond the steps");
        assert_eq!(says(released(1, &[5, 4], 0)), expected, "goes down");
        assert_eq!(
            says(released(1, &[1_000_001], 0)),
            expected,
            "more than all"
        );
    }

    #[test]
    fn a_backend_that_is_nowhere_is_found() {
        assert_eq!(
            says(|shop| shop.backends.get_mut(&1).expect("there").places.clear()),
            "service `shop`: backend `b1` has no address"
        );
    }
}
