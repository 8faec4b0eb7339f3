//! What a take-over carries from the maps before: what the packet path itself has learned. All
//! else follows from the state file and the configuration.
//!
//! A map that looks the same is *shared*: both programs write one and the same while the links
//! are switched, and nothing is missed. Counters that look otherwise are copied, and what is
//! counted until the last link has the new program is added then.

use std::{collections::BTreeSet, os::fd::AsFd as _, path::Path};

use aya::maps::{MapData, MapType};
use bytemuck::Zeroable as _;
use lb_common::{
    audience::AudienceSet,
    maps::{MAX_AUDIENCE_SETS, name},
    node::Node,
};

use super::{
    Image, KernelError,
    adopt::{Shape, shapes},
    batch, names,
    syscall::{self, lookup},
};

/// Maps that the packet path writes, and that would be missed.
pub const LEARNED: [&str; 8] = [
    name::FLOWS,
    name::HALF_OPEN,
    // Later pieces of a packet follow the first one.
    name::FRAGMENTS,
    // Who has had its connections must not have as many again.
    name::SOURCES,
    name::COUNTERS,
    name::BACKEND_COUNTERS,
    name::POOL_DROPS,
    name::AUDIENCE_COUNTERS,
];
/// Those of them that are counters, which are copied where they can't be shared.
const COUNTED: [&str; 4] = [
    name::COUNTERS,
    name::BACKEND_COUNTERS,
    name::POOL_DROPS,
    name::AUDIENCE_COUNTERS,
];

/// Refuses to take over from a data plane whose choices this node would not make.
pub fn check_node(from: &Path, node: &Node, pins: &Path) -> Result<(), KernelError> {
    let path = from.join(name::NODE);
    if !path.exists() {
        return Ok(());
    }
    let map = MapData::from_pin(&path).map_err(KernelError::map(name::NODE))?;
    let info = map.info().map_err(KernelError::map(name::NODE))?;
    let mut found = vec![0_u8; info.value_size() as usize];
    // SAFETY: an array's keys have 4 bytes, and the buffer is as large as a value.
    let read = unsafe { lookup(map.fd().as_fd(), 0, &mut found) };
    read.map_err(|source| KernelError::System {
        what: "reading the node's settings",
        source,
    })?;
    if found.starts_with(node.choice()) {
        return Ok(());
    }
    Err(KernelError::OtherNode(pins.to_owned()))
}

/// Shares what can be shared; the loader then finds those maps in `to`. Pins in a map of another
/// size are shared only while a change is `moving`: they are in use then, and new ones are made at
/// any moment.
pub fn share(from: &Path, to: &Path, flows: u32, moving: bool) -> Result<(), KernelError> {
    for shape in learned(flows) {
        let path = from.join(shape.name);
        if !path.exists() {
            continue;
        }
        let found = Shape::pinned(&path, shape.name)?;
        let is_flows = shape.name == name::FLOWS;
        let pinning = moving && (is_flows || shape.name == name::HALF_OPEN);
        let as_large = found.entries == shape.entries;
        if !shape.has_layout_of(&found) {
            if is_flows && moving {
                tracing::warn!(
                    "the flow table of {} has another layout: connections that a change has \
                     touched may move",
                    from.display()
                );
            }
            continue;
        }
        let same_names = shape.name != name::COUNTERS || have_our_names(from)?;
        if (as_large && same_names) || pinning {
            let map = MapData::from_pin(&path).map_err(KernelError::map(shape.name))?;
            map.pin(to.join(shape.name))
                .map_err(KernelError::map(shape.name))?;
        }
        if is_flows && moving && !as_large {
            tracing::warn!(
                "the flow table keeps its {} connections, since a change has not settled; \
                 node.connections counts from a start after that",
                found.entries
            );
        }
    }
    Ok(())
}

/// The sets of audiences with these numbers, and their prefixes: connections that a change of
/// audiences has not met yet are judged by the set before it. Nothing of maps that look otherwise.
pub fn audiences(from: &Path, numbers: &BTreeSet<u32>) -> Result<Image, KernelError> {
    let mut image = Image::default();
    let (Some(sets), Some(words)) = (
        alike(from, name::AUDIENCE_SETS)?,
        alike(from, name::PREFIXES)?,
    ) else {
        return Ok(image);
    };
    let numbers = numbers.iter().copied();
    for number in numbers.filter(|number| (1..MAX_AUDIENCE_SETS).contains(number)) {
        let mut set = [AudienceSet::zeroed()];
        // SAFETY: `alike` has seen a key of 4 bytes and a value as large as a set.
        let read = unsafe { lookup(sets.fd().as_fd(), number, &mut set) };
        read.map_err(|source| KernelError::System {
            what: "reading a set of audiences",
            source,
        })?;
        let [set] = set;
        batch::read_block(words.fd().as_fd(), set.prefixes(), &mut image.blocks)?;
        image.audiences.insert(number, set);
    }
    Ok(image)
}

/// A pinned map, if it is there and looks as this build's.
fn alike(directory: &Path, name: &'static str) -> Result<Option<MapData>, KernelError> {
    let path = directory.join(name);
    // The size of the flow table is no matter here.
    let ours = shapes(0).into_iter().find(|shape| shape.name == name);
    if !path.exists() || ours != Some(Shape::pinned(&path, name)?) {
        return Ok(None);
    }
    let map = MapData::from_pin(&path).map_err(KernelError::map(name))?;
    Ok(Some(map))
}

/// Whether the counters of a directory are numbered as ours.
pub fn have_our_names(directory: &Path) -> Result<bool, KernelError> {
    Ok(names::pinned(directory)?.is_some_and(|pinned| pinned == names::ours()))
}

/// A counter's place before and now.
type Move = (u32, u32);

/// Counters that were copied rather than shared.
pub struct Copied {
    name: &'static str,
    from: Counters,
    to: Counters,
    moves: Vec<Move>,
    /// What each had when it was copied, a value for each CPU.
    seen: Vec<Vec<u64>>,
}

/// Copies the counters that are not shared. Nobody counts in the new ones yet.
pub fn copy(from: &Path, to: &Path) -> Result<Vec<Copied>, KernelError> {
    let mut copied = Vec::new();
    for name in COUNTED {
        let (Some(from_map), Some(to_map)) = (
            Counters::open(&from.join(name), name)?,
            Counters::open(&to.join(name), name)?,
        ) else {
            continue;
        };
        if from_map.id == to_map.id {
            continue;
        }
        let moves = moves(name, from, from_map.entries.min(to_map.entries))?;
        let mut one = Copied {
            name,
            from: from_map,
            to: to_map,
            moves,
            seen: Vec::new(),
        };
        one.seen = vec![vec![0; one.from.words()]; one.moves.len()];
        one.add_rest()?;
        copied.push(one);
    }
    Ok(copied)
}

impl Copied {
    /// Adds what has been counted since the last time.
    pub fn add_rest(&mut self) -> Result<(), KernelError> {
        for (&(from, to), seen) in self.moves.iter().zip(&mut self.seen) {
            let now = self.from.read(from, self.name)?;
            if now == *seen {
                continue;
            }
            let mut sums = self.to.read(to, self.name)?;
            let (per_cpu, per_cpu_before) = (self.to.width, self.from.width);
            let cpus = sums
                .chunks_mut(per_cpu)
                .zip(now.chunks(per_cpu_before).zip(seen.chunks(per_cpu_before)));
            for (sums, (now, seen)) in cpus {
                for (sum, (now, seen)) in sums.iter_mut().zip(now.iter().zip(seen)) {
                    *sum += now.wrapping_sub(*seen);
                }
            }
            self.to.write(to, &mut sums, self.name)?;
            *seen = now;
        }
        Ok(())
    }
}

/// Where each counter of before is now: by its name if it has one, else by its number.
fn moves(name: &str, from: &Path, entries: u32) -> Result<Vec<Move>, KernelError> {
    if name != name::COUNTERS {
        return Ok((0..entries).map(|index| (index, index)).collect());
    }
    let Some(before) = names::pinned(from)? else {
        tracing::warn!(
            "the counters by reason begin anew: those of {} don't say what they count",
            from.display()
        );
        return Ok(Vec::new());
    };
    Ok(by_name(&before, &names::ours()))
}

fn by_name(before: &[String], now: &[String]) -> Vec<Move> {
    let place = |name: &String| (0..).zip(now).find(|(_, now)| *now == name);
    let moves = (0..).zip(before);
    moves
        .filter_map(|(index, name)| Some((index, place(name)?.0)))
        .collect()
}

/// An array of counters a CPU.
struct Counters {
    map: MapData,
    id: u32,
    entries: u32,
    /// Counters of one entry and CPU.
    width: usize,
    cpus: usize,
}

impl Counters {
    fn open(path: &Path, name: &'static str) -> Result<Option<Self>, KernelError> {
        if !path.exists() {
            return Ok(None);
        }
        let map = MapData::from_pin(path).map_err(KernelError::map(name))?;
        let info = map.info().map_err(KernelError::map(name))?;
        let kind = info.map_type().map_err(KernelError::map(name))?;
        let size = info.value_size() as usize;
        if kind != MapType::PerCpuArray || info.key_size() != 4 || !size.is_multiple_of(8) {
            return Ok(None);
        }
        let cpus = aya::util::nr_cpus();
        let cpus = cpus.map_err(|(_, source)| KernelError::System {
            what: "counting the CPUs",
            source,
        })?;
        Ok(Some(Self {
            id: info.id(),
            entries: info.max_entries(),
            width: size / 8,
            map,
            cpus,
        }))
    }

    const fn words(&self) -> usize {
        self.width * self.cpus
    }

    fn read(&self, index: u32, what: &'static str) -> Result<Vec<u64>, KernelError> {
        let mut values = vec![0_u64; self.words()];
        // SAFETY: `open` has seen a key of 4 bytes, and values of `width` words for each CPU.
        let read = unsafe { lookup(self.map.fd().as_fd(), index, &mut values) };
        read.map_err(|source| KernelError::System { what, source })?;
        Ok(values)
    }

    fn write(&self, index: u32, values: &mut [u64], what: &'static str) -> Result<(), KernelError> {
        // SAFETY: as above; `values` came from `read`.
        let written = unsafe { syscall::update(self.map.fd().as_fd(), index, values) };
        written.map_err(|source| KernelError::System { what, source })
    }
}

fn learned(flows: u32) -> impl Iterator<Item = Shape> {
    let all = shapes(flows).into_iter();
    all.filter(|shape| LEARNED.contains(&shape.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_moved_by_name_and_those_without_a_successor_are_left() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let moves = by_name(&names("sent gone dropped"), &names("dropped new sent"));
        assert_eq!(moves, [(0, 2), (2, 0)]);
    }
}
