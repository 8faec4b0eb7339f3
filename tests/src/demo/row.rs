//! What a step came to, and all steps together.

use serde::Serialize;

use crate::load::Log;

/// One step. Shares are of users other than staff, and always those of v2.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was done.
    pub step: &'static str,
    /// The share of users that v2 should have, in parts per million.
    pub asked_ppm: u32,
    /// The share of users whose newest connection v2 answered, in parts per million.
    pub measured_ppm: u32,
    /// How many users were measured.
    pub clients: u32,
    /// The version that staff have.
    pub staff: &'static str,
    /// Requests that ended during the step.
    pub requests: usize,
    /// Of these, failed.
    pub failed: usize,
    /// Users that changed version against the direction of the step.
    pub moved_back: usize,
    /// Distance of the measured from the asked share, in standard deviations of chance.
    pub sigma: f64,
    /// From the kernel's store to the last SYN of a moved user that still reached its old version,
    /// in microseconds, 0 if none came after the store. Nothing if the step moved nobody.
    pub store_to_last_old_packet_us: Option<u64>,
}

/// The last line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    #[serde(rename = "summary")]
    is_last: bool,
    pub(super) requests: usize,
    pub(super) failed: usize,
    pub(super) moved_back: usize,
    pub(super) worst_share_sigma: f64,
    pub(super) store_to_last_old_packet_us: u64,
}

impl Summary {
    /// Requests are those of the whole log: also the ones that ended after the last step.
    pub(super) fn of(rows: &[Row], log: &Log) -> Self {
        Self {
            is_last: true,
            requests: log.requests.len(),
            failed: log.failed(),
            moved_back: rows.iter().map(|row| row.moved_back).sum(),
            worst_share_sigma: rows.iter().map(|row| row.sigma).fold(0.0, f64::max),
            store_to_last_old_packet_us: rows
                .iter()
                .filter_map(|row| row.store_to_last_old_packet_us)
                .max()
                .unwrap_or(0),
        }
    }
}
