//! The last packet that starts a connection at the old version, seen at the backends.

use std::{collections::HashSet, net::IpAddr};

use super::{stage::plan, users::Versions};
use crate::syns::SynRecorder;

/// The time from the store to the last SYN of a moved user at the version it was moved from, in
/// microseconds and rounded up; 0 if none came after the store. Nothing if no user was moved.
pub(super) fn last_old_packet_us(
    stored_at_ns: u64,
    before: &Versions,
    after: &Versions,
    recorders: &[(&'static str, SynRecorder)],
) -> Option<u64> {
    let plan = plan();
    let moved: HashSet<(IpAddr, &str)> = before
        .iter()
        .filter(|(user, old)| after.get(user).is_some_and(|new| new != *old))
        .map(|(user, old)| (plan.client(*user), old.as_str()))
        .collect();
    if moved.is_empty() {
        return None;
    }
    let last = recorders
        .iter()
        .flat_map(|(version, recorder)| recorder.seen().into_iter().map(|syn| (*version, syn)))
        .filter(|(version, syn)| moved.contains(&(syn.source.ip(), *version)))
        .map(|(_, syn)| syn.at_ns)
        .max()
        .unwrap_or(0);
    Some(last.saturating_sub(stored_at_ns).div_ceil(1000))
}
