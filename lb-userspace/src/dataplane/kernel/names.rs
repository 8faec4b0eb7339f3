//! The counters' names, pinned beside the counters: another build may number them otherwise.

use std::path::Path;

use aya::maps::{Array, Map, MapData};
use lb_common::reason::{COUNTERS, FlowEvent, Reason, SWEPT, SWEPT_TABLES, flow_event_index};

use super::KernelError;

/// Name of the pin; the packet path does not know this map.
const PIN: &str = "COUNTER_NAMES";
/// A name, filled up with zeros.
type Name = [u8; 32];

/// The names in this build, by index.
pub fn ours() -> Vec<String> {
    let mut names = vec![String::new(); COUNTERS as usize];
    for reason in Reason::ALL {
        reason.name().clone_into(&mut names[reason as usize]);
    }
    for event in FlowEvent::ALL {
        event
            .name()
            .clone_into(&mut names[flow_event_index(event) as usize]);
    }
    "swept".clone_into(&mut names[SWEPT as usize]);
    "swept_tables".clone_into(&mut names[SWEPT_TABLES as usize]);
    names
}

/// The names that were pinned in a directory, by index; none if none were.
pub fn pinned(directory: &Path) -> Result<Option<Vec<String>>, KernelError> {
    let path = directory.join(PIN);
    if !path.exists() {
        return Ok(None);
    }
    let data = MapData::from_pin(&path).map_err(KernelError::map(PIN))?;
    let map: Array<MapData, Name> = Map::Array(data).try_into().map_err(KernelError::map(PIN))?;
    let name = |name: Name| {
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    let names = map.iter().map(|entry| entry.map(name));
    let names: Result<_, _> = names.collect();
    names.map(Some).map_err(KernelError::map(PIN))
}

/// Pins this build's names where none are.
pub fn pin(directory: &Path) -> Result<(), KernelError> {
    let path = directory.join(PIN);
    if path.exists() {
        return Ok(());
    }
    let mut map: Array<MapData, Name> =
        Array::create(COUNTERS, 0).map_err(KernelError::map(PIN))?;
    for (index, name) in (0..).zip(ours()) {
        let mut bytes = Name::default();
        let length = name.len().min(bytes.len());
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        map.set(index, bytes, 0).map_err(KernelError::map(PIN))?;
    }
    map.pin(&path).map_err(KernelError::map(PIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_of_its_own_that_fits() {
        let mut names = ours();
        assert!(names.iter().all(|name| (1..=32).contains(&name.len())));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COUNTERS as usize);
    }
}
