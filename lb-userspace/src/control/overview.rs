//! What the dashboard shows.

use super::{Control, ControlError, report::measured};
use crate::{
    api::stream::{Detail, Summary},
    dataplane::Dataplane,
};

impl<D: Dataplane> Control<D> {
    /// A line a service, with its release. Of a thousand services the counters of those are read that
    /// have a candidate, all at once.
    pub fn overview(&self) -> Result<Vec<Summary>, ControlError> {
        let services = self.state.services.values();
        let split = services.filter(|state| state.candidate().is_some());
        let backends: Vec<u16> = split
            .flat_map(|state| state.backends.keys().copied())
            .collect();
        let counters = self.dataplane.counters(&backends, &[])?;
        let lines = self.list().into_iter().zip(self.state.services.values());
        let summaries = lines.map(|(line, state)| Summary {
            line,
            measured: state
                .candidate()
                .is_some()
                .then(|| measured(state, &counters)),
            release: self.release_status(state),
        });
        Ok(summaries.collect())
    }

    /// Everything about one service.
    pub fn detail(&self, service: &str, tick: u32) -> Result<Detail, ControlError> {
        let read = self.service_metrics(service, tick)?;
        let judged = match self.evidence(service) {
            Ok(judged) => Some(judged),
            // There is none, which the page says in its own words.
            Err(ControlError::Unfit { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Detail {
            status: read.status,
            judged,
            latency: read
                .signals
                .as_ref()
                .map(|signals| self.waited(service, signals).unwrap_or_default()),
        })
    }
}
