//! What people are told: the state, and what the kernel has counted.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::counters::BackendCounters;

use super::{Control, ControlError, sweep};
use crate::{
    api::model::{BackendStatus, Line, Measured, NodeStatus, PoolStatus, Status, Traffic},
    dataplane::{Counters, Dataplane},
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
                listeners: state.listeners.keys().cloned().collect(),
            })
            .collect()
    }

    /// Everything about one service.
    pub fn status(&self, service: &str, tick: u32) -> Result<Status, ControlError> {
        let state = self.state.service(service)?;
        let backends: Vec<u16> = state.backends.keys().copied().collect();
        let pools: Vec<u32> = state.pools.values().map(|pool| pool.id).collect();
        let counters = self.dataplane.counters(&backends, &pools)?;
        let position = &state.position;
        Ok(Status {
            service: service.to_owned(),
            forward: if state.l2 { "l2" } else { "nat" }.to_owned(),
            active: state.pool_name(position.now.active).to_owned(),
            candidate: state.candidate().map(str::to_owned),
            share_ppm: position.now.share_ppm,
            settled: !state.is_moving(),
            pinned: state.is_touched(),
            settles_in_s: sweep::settles_in_s(state, &self.config, service, tick),
            epoch: position.epoch,
            listeners: state.listeners.keys().cloned().collect(),
            measured: measured(state, &counters),
            pools: state
                .pools
                .keys()
                .map(|pool| self.pool(state, pool, &counters))
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

    fn pool(&self, state: &ServiceState, name: &str, counters: &Counters) -> PoolStatus {
        let id = state.pools[name].id;
        let now = &state.position.now;
        let role = if id == now.active {
            "active"
        } else if id == now.candidate && now.share_ppm > 0 {
            "candidate"
        } else {
            "idle"
        };
        let members = state
            .backends
            .iter()
            .filter(|(_, backend)| backend.pool == name);
        let mut sum = BackendCounters::default();
        let mut backends: Vec<BackendStatus> = members
            .map(|(id, backend)| {
                let counted = counters.backends.get(id).copied().unwrap_or_default();
                sum = sum.plus(counted);
                self.backend_status(backend, counted)
            })
            .collect();
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        PoolStatus {
            name: name.to_owned(),
            role: role.to_owned(),
            dropped: counters.pool_drops.get(&id).copied().unwrap_or(0),
            traffic: sum.into(),
            backends,
        }
    }

    fn backend_status(&self, backend: &BackendState, counted: BackendCounters) -> BackendStatus {
        let places = backend.places.iter();
        BackendStatus {
            name: backend.name.clone(),
            address: places.map(|&(address, port)| show(address, port)).collect(),
            weight: backend.effective_weight(),
            configured_weight: backend.configured_weight,
            state: backend.admin,
            leaving: backend.leaving,
            next_hop: self.next_hop(backend).to_owned(),
            traffic: counted.into(),
        }
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
                Some(Reach::NoRoute) => return "no-route",
            };
        }
        worst
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

fn measured(state: &ServiceState, counters: &Counters) -> Measured {
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
