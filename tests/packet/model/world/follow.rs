//! The model takes in what was ordered, and who owns which slot: that must be by the rules. What
//! follows it works out.

use std::collections::{BTreeMap, HashMap};

use lb_common::pool::Slot;
use lb_userspace::state::{Admin, BackendState, ServiceState, State};

use super::{World, clocked::book};
use crate::model::{
    reference::{Flow, Mapping, Server, Service},
    site::{AUDIENCES, QUIC, SERVICES, name, numbered, server_id, toggle},
    slots::{Dealt, Member},
};

impl World {
    /// Takes in the state that the core is in.
    pub(super) fn follow(&mut self) -> Result<(), String> {
        let state: State = self.control().state().clone();
        let before = self.answers_to_sessions();
        for number in 0..SERVICES {
            let followed = self.follow_service(number, &state);
            followed.map_err(|said| format!("service {number}: {said}"))?;
        }
        self.model.backends = generations(&book(&self.book).image.backends);
        let backends = state
            .services
            .values()
            .flat_map(|service| &service.backends);
        self.numbers = backends
            .map(|(&id, backend)| (id, numbered(&backend.name)))
            .collect();
        self.model.servers = servers(&state.services[&name(QUIC)].backends);
        self.sessions_stay(&before)
    }

    fn follow_service(&mut self, number: usize, state: &State) -> Result<(), String> {
        let (of_core, tick) = (&state.services[&name(number)], self.tick);
        let mapping = self.mapping(number, state);
        let service = &mut self.model.services[number];
        if service.pools.is_empty() {
            *service = Service::at_rest(service.manner.clone(), mapping.clone());
        }
        service.release(mapping, tick);
        service.arming = of_core.position.arming;
        let is_cut = |id: u16| {
            let backend = of_core.backends.get(&id);
            backend.is_some_and(|backend| backend.admin == Admin::Maint || !backend.up)
        };
        for (pool, of_pool) in &of_core.pools {
            let key = (number, of_pool.id);
            let members = members(of_core, pool);
            let (table, before) = self.dealt.remove(&key).unzip();
            let same = table.as_ref() == Some(of_pool.table.slots());
            let owners = match &before {
                Some(before) if same => before.owners.clone(),
                _ => of_pool.table.slots().slots().map(Slot::current).collect(),
            };
            let dealt = Dealt { members, owners };
            dealt
                .check(before.as_ref())
                .map_err(|said| format!("pool `{pool}`: {said}"))?;
            let moved = before.map_or(0, |before| dealt.moved(&before));
            self.tally.dealt += moved;
            self.model.services[number].deal(of_pool.id, &dealt.owners, is_cut, tick);
            self.dealt
                .insert(key, (of_pool.table.slots().clone(), dealt));
        }
        self.model.services[number].overdue &= of_core.position.overdue;
        self.stood_in(number)
    }

    /// What was ordered of a service's release, and which of its audiences there are.
    fn mapping(&self, number: usize, state: &State) -> Mapping {
        let now = state.services[&name(number)].position.now;
        let there = (0..AUDIENCES).filter(|&audience| state.toggles[&toggle(number, audience)].on);
        let of_site = &self.site.services[number];
        Mapping {
            active: now.active,
            candidate: now.candidate,
            share_ppm: now.share_ppm,
            salt: now.salt,
            audiences: there
                .map(|audience| of_site.audience(audience).clone())
                .collect(),
        }
    }

    /// Users of a pool that can't serve them are sent to the other one, slot by slot, or nowhere.
    fn stood_in(&self, number: usize) -> Result<(), String> {
        let now = &self.model.services[number].now;
        let dealt = |pool| &self.dealt[&(number, pool)].1;
        let served = [now.active, now.candidate].into_iter();
        for pool in served.filter(|&pool| now.serves(pool) && !dealt(pool).can_serve()) {
            let other = if pool == now.active {
                (now.share_ppm > 0).then_some(now.candidate)
            } else {
                Some(now.active)
            };
            let other = other
                .filter(|_| self.site.services[number].falls_back)
                .map(dealt);
            let other = other.filter(|other| other.can_serve());
            if !dealt(pool).is_stood_in(other) {
                let whose = if other.is_some() {
                    "the other pool's"
                } else {
                    "nobody's"
                };
                return Err(format!(
                    "pool {pool} can't serve, and its slots are not {whose}"
                ));
            }
        }
        Ok(())
    }
}

impl World {
    /// Where new datagrams of the sessions go that were met while an order waits.
    fn answers_to_sessions(&self) -> HashMap<Flow, u16> {
        let sessions = self.sessions.keys();
        let answer = |flow: &Flow| (*flow, self.model.answer(flow, None).current);
        sessions.map(answer).collect()
    }

    /// An order that has waited leaves all sessions where they are that were met meanwhile: those that
    /// it moves are pinned.
    fn sessions_stay(&mut self, before: &HashMap<Flow, u16>) -> Result<(), String> {
        for (flow, &current) in before {
            let answer = self.model.answer(flow, None);
            let service = &self.model.services[flow.service];
            if service.arming {
                // What moves nobody by that order is none of it.
                if answer.current != current {
                    self.sessions.remove(flow);
                }
                continue;
            }
            let (backend, generation, seen) = self.sessions.remove(flow).expect("it was met");
            let lives = self.model.backends.get(&backend) == Some(&generation);
            let idle = self.tick - seen > service.manner.idle;
            if !lives || idle || service.cuts() || answer.is_untold() || answer.current == backend {
                continue;
            }
            let pin = self.model.pins.get(flow);
            if pin.is_none_or(|pin| pin.backend != backend) {
                return Err(format!(
                    "the session of {flow:?} leaves backend {backend}: {pin:?}"
                ));
            }
            self.tally.armed += 1;
        }
        Ok(())
    }
}

/// The backends of a pool.
fn members(service: &ServiceState, pool: &str) -> BTreeMap<u16, Member> {
    let members = service
        .backends
        .iter()
        .filter(|(_, it)| it.pool == pool && !it.leaving);
    let member = |(&id, it): (&u16, &BackendState)| {
        let weight = it.weight.unwrap_or(it.configured_weight);
        let serves = it.admin == Admin::Ready && it.up && weight > 0;
        (id, Member { weight, serves })
    };
    members.map(member).collect()
}

/// The generation of each backend that is there, by id: its entries of both families have the same.
fn generations(backends: &BTreeMap<u32, lb_common::backend::Backend>) -> HashMap<u16, u16> {
    let entries = backends.iter().map(|(index, backend)| {
        let id = u16::try_from(index >> 1).expect("an id");
        (id, backend.generation())
    });
    entries.collect()
}

/// Who is known by which id: all that could answer, and the one that is there rather than the one that
/// has left where both are the same server.
fn servers(backends: &BTreeMap<u16, BackendState>) -> HashMap<Vec<u8>, Server> {
    let known = backends.iter();
    let known = known.filter(|(_, backend)| backend.admin != Admin::Maint && backend.up);
    let mut known: Vec<_> = known.collect();
    known.sort_by_key(|(_, backend)| !backend.leaving);
    let server = |(&backend, state): (&u16, &BackendState)| Server {
        backend,
        leaving: state.leaving,
    };
    let known = known.into_iter();
    known
        .map(|(key, state)| {
            let id = server_id(numbered(&state.name)).to_vec();
            (id, server((key, state)))
        })
        .collect()
}
