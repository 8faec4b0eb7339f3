//! What may be ordered. Numbers stand for whatever is there, so that every order means something.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use lb_userspace::state::Admin;
use proptest::prelude::*;

use crate::site::{Backend, Door, Pool, Service, Site};

/// An order, and the write of it that fails; one behind the last is the wait for packets.
#[derive(Clone, Debug)]
pub struct Step {
    pub order: Order,
    pub fail: Option<usize>,
}

#[derive(Clone, Debug)]
pub enum Order {
    Share {
        service: u8,
        pool: u8,
        ppm: u32,
    },
    Cutover {
        service: u8,
        pool: u8,
    },
    Rollback {
        service: u8,
    },
    Weight {
        service: u8,
        backend: u8,
        weight: u32,
    },
    Admin {
        service: u8,
        backend: u8,
        admin: Admin,
    },
    /// Begins the service's release of a pool.
    Start {
        service: u8,
        pool: u8,
        replace: bool,
    },
    Promote {
        service: u8,
        full: bool,
    },
    Abort {
        service: u8,
    },
    Retry {
        service: u8,
    },
    /// The first two services, as one.
    Together,
    /// Turns the toggle that guards the service's second step.
    Toggle {
        service: u8,
        on: bool,
    },
    Apply(Vec<Change>),
    Restart,
    Pass(Duration),
}

/// A change of the configuration.
#[derive(Clone, Debug)]
pub enum Change {
    AddBackend {
        service: u8,
        pool: u8,
    },
    RemoveBackend {
        service: u8,
        backend: u8,
    },
    MoveBackend {
        service: u8,
        backend: u8,
    },
    Reweigh {
        service: u8,
        backend: u8,
        weight: u32,
    },
    AddPool {
        service: u8,
    },
    RemovePool {
        service: u8,
        pool: u8,
    },
    Door {
        service: u8,
        door: u8,
    },
    AddService,
    RemoveService {
        service: u8,
    },
}

/// Backends that a service may have had in all.
const BACKENDS: u8 = 8;
const POOLS: u8 = 4;
const SERVICES: u8 = 3;

pub fn steps(length: Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let fail = prop_oneof![4 => Just(None), 1 => (0..12_usize).prop_map(Some)];
    let step = (order(), fail).prop_map(|(order, fail)| Step { order, fail });
    prop::collection::vec(step, length)
}

fn order() -> impl Strategy<Value = Order> {
    let any = || any::<u8>();
    let ppm = prop_oneof![
        Just(0),
        Just(10_000),
        Just(50_000),
        Just(250_000),
        Just(1_000_000),
        0..1_000_001_u32
    ];
    let weight = prop_oneof![Just(0), Just(1), Just(50), Just(100), 0..65_536_u32];
    let admin = prop_oneof![Just(Admin::Drain), Just(Admin::Maint), Just(Admin::Ready)];
    prop_oneof![
        4 => (any(), any(), ppm)
            .prop_map(|(service, pool, ppm)| Order::Share { service, pool, ppm }),
        2 => (any(), any()).prop_map(|(service, pool)| Order::Cutover { service, pool }),
        2 => any().prop_map(|service| Order::Rollback { service }),
        2 => (any(), any(), weight)
            .prop_map(|(service, backend, weight)| Order::Weight { service, backend, weight }),
        3 => (any(), any(), admin)
            .prop_map(|(service, backend, admin)| Order::Admin { service, backend, admin }),
        4 => (any(), any(), prop::bool::ANY)
            .prop_map(|(service, pool, replace)| Order::Start { service, pool, replace }),
        5 => (any(), prop::bool::weighted(0.2))
            .prop_map(|(service, full)| Order::Promote { service, full }),
        2 => any().prop_map(|service| Order::Abort { service }),
        2 => any().prop_map(|service| Order::Retry { service }),
        2 => Just(Order::Together),
        2 => (any(), prop::bool::ANY).prop_map(|(service, on)| Order::Toggle { service, on }),
        4 => prop::collection::vec(change(), 1..4).prop_map(Order::Apply),
        2 => Just(Order::Restart),
        5 => (0..12_000_u64).prop_map(|ms| Order::Pass(Duration::from_millis(ms))),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let any = || any::<u8>();
    prop_oneof![
        (any(), any()).prop_map(|(service, pool)| Change::AddBackend { service, pool }),
        (any(), any()).prop_map(|(service, backend)| Change::RemoveBackend { service, backend }),
        (any(), any()).prop_map(|(service, backend)| Change::MoveBackend { service, backend }),
        (any(), any(), 0..200_u32).prop_map(|(service, backend, weight)| Change::Reweigh {
            service,
            backend,
            weight
        }),
        any().prop_map(|service| Change::AddPool { service }),
        (any(), any()).prop_map(|(service, pool)| Change::RemovePool { service, pool }),
        (any(), any()).prop_map(|(service, door)| Change::Door { service, door }),
        Just(Change::AddService),
        any().prop_map(|service| Change::RemoveService { service }),
    ]
}

/// The one that a number stands for.
pub fn pick<T>(all: &[T], number: u8) -> Option<&T> {
    all.get(usize::from(number).checked_rem(all.len())?)
}

impl Change {
    /// The site after it; unchanged where it has nothing to change.
    pub fn apply(&self, site: &mut Site) {
        match *self {
            Self::AddService => add_service(site),
            Self::RemoveService { service } if site.services.len() > 1 => {
                let service = usize::from(service) % site.services.len();
                site.services.remove(service);
            }
            Self::RemoveService { .. } => {}
            Self::AddPool { service }
            | Self::AddBackend { service, .. }
            | Self::RemoveBackend { service, .. }
            | Self::MoveBackend { service, .. }
            | Self::Reweigh { service, .. }
            | Self::RemovePool { service, .. }
            | Self::Door { service, .. } => {
                let service = usize::from(service) % site.services.len();
                self.change(&mut site.services[service]);
            }
        }
    }

    fn change(&self, service: &mut Service) {
        match *self {
            Self::AddBackend { pool, .. } => {
                let number = free(service);
                let pools = service.pools.len();
                service.pools[usize::from(pool) % pools]
                    .backends
                    .extend(number);
            }
            Self::RemoveBackend { backend, .. } => {
                let (pool, backend) = find(service, backend);
                if service.pools[pool].backends.len() > 1 {
                    service.pools[pool].backends.remove(backend);
                }
            }
            Self::MoveBackend { backend, .. } => {
                let (pool, backend) = find(service, backend);
                service.pools[pool].backends[backend].place ^= 1;
            }
            Self::Reweigh {
                backend, weight, ..
            } => {
                let (pool, backend) = find(service, backend);
                service.pools[pool].backends[backend].weight = weight;
            }
            Self::AddPool { .. } => {
                let is_free = |name: &String| service.pools.iter().all(|pool| pool.name != *name);
                let name = (0..POOLS).map(|number| format!("p{number}")).find(is_free);
                let backends = free(service).into_iter().collect();
                service
                    .pools
                    .extend(name.map(|name| Pool { name, backends }));
            }
            Self::RemovePool { pool, .. } => {
                let pools = service.pools.len();
                if pools > 2 {
                    service.pools.remove(usize::from(pool) % pools);
                }
            }
            Self::Door { door, .. } => {
                let door = Door::ALL[usize::from(door) % Door::ALL.len()];
                if !service.listeners.remove(&door) {
                    service.listeners.insert(door);
                }
            }
            Self::AddService | Self::RemoveService { .. } => {}
        }
    }
}

fn add_service(site: &mut Site) {
    let taken: BTreeSet<u8> = site.services.iter().map(|service| service.number).collect();
    let number = (0..SERVICES).find(|number| !taken.contains(number));
    let service = number.map(|number| Service::new(number, &[1, 1]));
    site.services.extend(service);
}

/// A backend with a number that no other has; one that had it before may still be leaving.
fn free(service: &Service) -> Option<Backend> {
    let backends = service.pools.iter().flat_map(|pool| &pool.backends);
    let taken: BTreeSet<u8> = backends.map(|backend| backend.number).collect();
    let number = (0..BACKENDS).find(|number| !taken.contains(number))?;
    Some(Backend {
        number,
        place: 0,
        weight: 100,
    })
}

/// Places of a backend's pool and of the backend in it.
fn find(service: &Service, backend: u8) -> (usize, usize) {
    let all: Vec<(usize, usize)> = service
        .pools
        .iter()
        .enumerate()
        .flat_map(|(pool, state)| (0..state.backends.len()).map(move |backend| (pool, backend)))
        .collect();
    *pick(&all, backend).unwrap_or(&(0, 0))
}
