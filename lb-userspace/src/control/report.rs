//! What people are told: the state, and what the kernel has counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::counters::BackendCounters;

use super::{Control, ControlError, pending, settle};
use crate::{
    api::model::{
        AudienceStatus, BackendStatus, CheckStatus, Line, Measured, NodeStatus, PoolStatus, Status,
        Traffic,
    },
    config::Audience,
    dataplane::{Counters, Dataplane},
    health::Name,
    neighbour::Reach,
    state::{BackendState, ServiceState},
};

impl<D: Dataplane> Control<D> {
    /// A line a service.
    pub fn list(&self) -> Vec<Line> {
        let services = self.state.services.iter();
        services
            .map(|(name, state)| Line {
                service: name.clone(),
                active: state.pool_name(state.position.now.active).to_owned(),
                candidate: state.candidate().map(str::to_owned),
                share_ppm: state.position.now.share_ppm,
                settled: !state.is_moving(),
                dead: state.dead_pools(),
                listeners: state.listeners.keys().cloned().collect(),
                audiences: self.audience_names(name),
            })
            .collect()
    }

    /// Everything about one service.
    pub fn status(&self, service: &str, tick: u32) -> Result<Status, ControlError> {
        let state = self.state.service(service)?;
        let backends: Vec<u16> = state.backends.keys().copied().collect();
        let pools: Vec<u32> = state.pools.values().map(|pool| pool.id).collect();
        let counters = self.dataplane.counters(&backends, &pools)?;
        let live = self.live_connections(service, state)?;
        let position = &state.position;
        Ok(Status {
            service: service.to_owned(),
            forward: state.forward.to_string(),
            active: state.pool_name(position.now.active).to_owned(),
            candidate: state.candidate().map(str::to_owned),
            share_ppm: position.now.share_ppm,
            settled: !state.is_moving(),
            pinned: state.is_touched(),
            settles_in_s: settle::settles_in_s(state, &self.config, service, tick),
            pending: state.pending.as_ref().map(|p| p.order.to_string()),
            release: self.release_status(state),
            arming_s: pending::arming_s(state, tick),
            order: state.pending.as_ref().map(|pending| pending.number),
            ended: state.ended.clone(),
            cut: state.cut,
            orphaned: state.orphaned,
            epoch: position.epoch,
            listeners: state.listeners.keys().cloned().collect(),
            measured: measured(state, &counters),
            audiences: self.audiences(service, state)?,
            toggles: self.toggles_of(service),
            pools: pool_names(state)
                .into_iter()
                .map(|pool| self.pool(service, state, pool, (&counters, &live)))
                .collect(),
        })
    }

    /// The host's interfaces and counters.
    pub fn node_status(&self) -> Result<NodeStatus, ControlError> {
        let counters = self.dataplane.counters(&[], &[])?;
        let reasons = counters.reasons.iter();
        let flows = counters.flow_events.iter();
        Ok(NodeStatus {
            interfaces: self.interfaces.clone(),
            reasons: reasons
                .map(|(reason, n)| (reason.name().to_owned(), *n))
                .collect(),
            flows: flows
                .map(|(event, n)| (event.name().to_owned(), *n))
                .collect(),
            notify: BTreeMap::new(),
        })
    }

    /// Connections of each backend so far: what a share is measured from.
    pub(super) fn connections(
        &self,
        state: &ServiceState,
    ) -> Result<BTreeMap<u16, u64>, ControlError> {
        let backends: Vec<u16> = state.backends.keys().copied().collect();
        let counters = self.dataplane.counters(&backends, &[])?;
        Ok(counters
            .backends
            .into_iter()
            .map(|(id, counted)| (id, counted.connections))
            .collect())
    }

    fn audience_names(&self, service: &str) -> Vec<String> {
        let configured = self.config.service(service).into_iter();
        let audiences = configured.flat_map(|service| &service.audiences);
        audiences.map(|audience| audience.name.clone()).collect()
    }

    fn audiences(
        &self,
        service: &str,
        state: &ServiceState,
    ) -> Result<Vec<AudienceStatus>, ControlError> {
        let numbers: Vec<u32> = state.audiences.numbers.values().copied().collect();
        let counters = self.dataplane.audience_counters(&numbers)?;
        let configured = self.config.service(service).into_iter();
        let audiences = configured.flat_map(|service| &service.audiences);
        let run = state.position.run.as_ref();
        let status = |audience: &Audience| {
            let number = state.audiences.numbers.get(&audience.name);
            let counted = number.and_then(|number| counters.get(number));
            let counted = counted.copied().unwrap_or_default();
            AudienceStatus {
                name: audience.name.clone(),
                share_ppm: audience.share_ppm,
                hidden: run.is_some_and(|run| run.hidden.contains(&audience.name)),
                packets: counted.packets,
                bytes: counted.bytes,
                connections: counted.connections,
            }
        };
        Ok(audiences.map(status).collect())
    }

    fn pool(
        &self,
        service: &str,
        state: &ServiceState,
        name: &str,
        (counters, live): (&Counters, &BTreeMap<u16, u64>),
    ) -> PoolStatus {
        let configured = self.config.service(service);
        let configured = configured.and_then(|service| service.pool(name));
        let checked = configured.is_some_and(|pool| pool.health.is_some());
        let id = state.pools.get(name).map(|pool| pool.id);
        let members = state
            .backends
            .iter()
            .filter(|(_, backend)| backend.pool == name);
        let mut sum = BackendCounters::default();
        let mut backends: Vec<BackendStatus> = members
            .map(|(id, backend)| {
                let counted = counters.backends.get(id).copied().unwrap_or_default();
                sum = sum.plus(counted);
                BackendStatus {
                    live: live.get(id).copied(),
                    ..self.backend_status(service, state, backend, checked, counted)
                }
            })
            .collect();
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        PoolStatus {
            name: name.to_owned(),
            role: role(state, id).to_owned(),
            dropped: id.map_or(0, |id| counters.pool_drops.get(&id).copied().unwrap_or(0)),
            dead: state.is_dead(name),
            stand_in: state.stand_in(name).map(str::to_owned),
            traffic: sum.into(),
            backends,
        }
    }

    fn backend_status(
        &self,
        service: &str,
        state: &ServiceState,
        backend: &BackendState,
        checked: bool,
        counted: BackendCounters,
    ) -> BackendStatus {
        let places = backend.places.iter();
        BackendStatus {
            name: backend.name.clone(),
            address: places.map(|&(address, port)| show(address, port)).collect(),
            weight: backend.weight(),
            configured_weight: backend.configured_weight,
            effective_weight: state.effective_weight(backend),
            state: backend.admin,
            health: health(backend, checked).to_owned(),
            checks: self.checks(service, backend, checked),
            leaving: backend.leaving,
            next_hop: self.next_hop(backend).to_owned(),
            live: None,
            traffic: counted.into(),
        }
    }

    /// What the checks of a backend have come to; those that are leaving are checked no more.
    fn checks(&self, service: &str, backend: &BackendState, checked: bool) -> Option<CheckStatus> {
        let name = Name {
            service: service.to_owned(),
            backend: backend.name.clone(),
        };
        let verdict = self
            .verdicts
            .get(&name)
            .filter(|_| checked && !backend.leaving)?;
        Some(CheckStatus {
            against: verdict.against,
            needed: verdict.needed,
            flapping: verdict.flapping,
            why: verdict.why.clone(),
        })
    }

    /// The worst of a backend's next hops.
    fn next_hop(&self, backend: &BackendState) -> &'static str {
        let reach = |&(address, _): &(IpAddr, _)| self.view.reach.get(&address);
        let mut worst = "resolved";
        for reach in backend.places.iter().map(reach) {
            worst = match reach {
                Some(Reach::Via(_)) => worst,
                Some(Reach::Resolving { .. }) | None => "resolving",
                Some(Reach::Local) => "local",
                Some(Reach::Unlisted { .. }) => return "unlisted-interface",
                Some(Reach::NoRoute) => return "no-route",
            };
        }
        worst
    }
}

/// Also those that are gone, as long as backends of theirs have connections.
fn pool_names(state: &ServiceState) -> BTreeSet<&String> {
    let of_backends = state.backends.values().map(|backend| &backend.pool);
    state.pools.keys().chain(of_backends).collect()
}

/// Those that are leaving are checked no more.
fn health(backend: &BackendState, checked: bool) -> &'static str {
    match (checked && !backend.leaving, backend.up) {
        (false, _) => "unchecked",
        (true, true) => "up",
        (true, false) => "down",
    }
}

fn role(state: &ServiceState, pool: Option<u32>) -> &'static str {
    let now = &state.position.now;
    match pool {
        None => "removed",
        Some(id) if id == now.active => "active",
        Some(id) if id == now.candidate && now.sends_to_candidate() => "candidate",
        Some(_) => "idle",
    }
}

impl From<BackendCounters> for Traffic {
    fn from(counted: BackendCounters) -> Self {
        Self {
            packets: counted.packets,
            bytes: counted.bytes,
            connections: counted.connections,
            reply_packets: counted.reply_packets,
            reply_bytes: counted.reply_bytes,
        }
    }
}

pub(super) fn measured(state: &ServiceState, counters: &Counters) -> Measured {
    let since = |id: &u16| {
        let counted = counters
            .backends
            .get(id)
            .map_or(0, |backend| backend.connections);
        counted.saturating_sub(state.baseline.get(id).copied().unwrap_or(0))
    };
    let of_pool = |pool: &str| -> u64 {
        let members = state
            .backends
            .iter()
            .filter(|(_, backend)| backend.pool == pool);
        members.map(|(id, _)| since(id)).sum()
    };
    let active = of_pool(state.pool_name(state.position.now.active));
    let candidate = state.candidate().map_or(0, of_pool);
    let connections = active + candidate;
    let share = (u128::from(candidate) * 1_000_000).checked_div(u128::from(connections));
    Measured {
        connections,
        candidate_connections: candidate,
        share_ppm: share.and_then(|share| u32::try_from(share).ok()),
    }
}

fn show(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (_, None) => address.to_string(),
        (IpAddr::V4(v4), Some(port)) => format!("{v4}:{port}"),
        (IpAddr::V6(v6), Some(port)) => format!("[{v6}]:{port}"),
    }
}
