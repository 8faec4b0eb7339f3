//! What is read for a Prometheus.

use super::{Control, ControlError};
use crate::{
    dataplane::Dataplane,
    metrics::{Host, Service},
};

impl<D: Dataplane> Control<D> {
    /// Of the host, but for who is told of what happens.
    pub fn host_metrics(&self) -> Result<Host, ControlError> {
        Ok(Host {
            status: self.node_status()?,
            toggles: self.toggles(),
            runs: self.dataplane.runs(),
        })
    }

    /// Of one service.
    pub fn service_metrics(&self, service: &str, tick: u32) -> Result<Service, ControlError> {
        let state = self.state.service(service)?;
        let run = state.position.run.as_ref();
        let judged = run.is_some_and(|run| run.plan.judge.is_some());
        Ok(Service {
            status: self.status(service, tick)?,
            signals: judged
                .then(|| self.dataplane.signals(state.id))
                .transpose()?,
            events: self.journal.counted(service),
        })
    }

    /// The names of all services.
    pub fn service_names(&self) -> Vec<String> {
        self.state.services.keys().cloned().collect()
    }
}
