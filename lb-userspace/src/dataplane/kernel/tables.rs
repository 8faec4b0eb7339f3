//! The pools' tables: inner maps, each made and pinned when it is first written.
//!
//! A table that no live record names is written in place and taken over by the record's store.
//! Swapping inner maps instead would cost a grace period each time, 8 to 28 ms
//! (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c), which is paid when a table is made, and once
//! for all that are made together. The maps of a pool that is gone stay for the next one.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
};

use aya::maps::{Array, ArrayOfMaps, IterableMap as _, Map, MapData};
use lb_common::{maps::name, pool::SLOT_COUNT};

use super::{super::Table, KernelError, adopt, batch, syscall};

/// One table's map.
pub type Inner = Array<MapData, [u32; SLOT_COUNT]>;

/// Name of a table's pin, before its index.
const PIN: &str = "table_";
/// Tables that are made together: each is an open file until they are.
const TOGETHER: usize = 256;

/// All tables that exist, live or not. Each is opened when it is used: there may be thousands, and
/// open files are few.
pub struct Tables {
    outer: ArrayOfMaps<MapData, Inner>,
    /// A handle of the same map, for the calls that aya lacks.
    handle: MapData,
    there: BTreeSet<u32>,
    directory: PathBuf,
}

impl Tables {
    /// The tables that are pinned in `directory`.
    pub fn adopt(
        outer: ArrayOfMaps<MapData, Inner>,
        directory: &Path,
    ) -> Result<Self, KernelError> {
        let handle = MapData::from_pin(directory.join(name::TABLES));
        Ok(Self {
            outer,
            handle: handle.map_err(KernelError::map(name::TABLES))?,
            there: adopt::numbered(directory, PIN)?.into_iter().collect(),
            directory: directory.to_owned(),
        })
    }

    /// Makes those of these tables that are not there.
    pub fn make(&mut self, wanted: impl IntoIterator<Item = u32>) -> Result<(), KernelError> {
        let wanted: BTreeSet<u32> = wanted.into_iter().collect();
        let missing: Vec<u32> = wanted.difference(&self.there).copied().collect();
        let mut parts = missing.chunks(TOGETHER);
        parts.try_for_each(|indices| self.make_together(indices))
    }

    /// Writes a table that no live record names.
    pub fn write(&mut self, index: u32, table: &Table) -> Result<(), KernelError> {
        self.make([index])?;
        let bits = table.to_bits();
        let bits: &[u32; SLOT_COUNT] = bits.first_chunk().expect("a table has as many slots");
        let written = self.open(index)?.set(0, bits, 0);
        written.map_err(KernelError::map(name::TABLES))
    }

    /// A table's content.
    pub fn read(&self, index: u32) -> Result<Option<Table>, KernelError> {
        if !self.there.contains(&index) {
            return Ok(None);
        }
        let inner = self.open(index)?;
        let mut bits = vec![0_u32; SLOT_COUNT];
        let (map, what) = (inner.map().fd().as_fd(), name::TABLES);
        // SAFETY: `open` has seen that key and value have these sizes; aya returns values, and this
        // one is large.
        let read = unsafe { syscall::lookup(map, 0, &mut bits) };
        read.map_err(|source| KernelError::System { what, source })?;
        Ok(Table::from_bits(bits))
    }

    /// Makes tables, puts them where packets find them, and pins them: in this order, so that one
    /// that is pinned is found whenever a daemon dies.
    fn make_together(&mut self, indices: &[u32]) -> Result<(), KernelError> {
        let one = |_| Inner::create(1, 0).map_err(KernelError::map(name::TABLES));
        let made: Vec<Inner> = indices.iter().map(one).collect::<Result<_, _>>()?;
        let fds: Vec<u32> = made.iter().map(descriptor).collect();
        if batch::write_all(self.handle.fd().as_fd(), name::TABLES, indices, &fds).is_err() {
            // Linux before 5.14 has no such call for these maps.
            for (&index, inner) in indices.iter().zip(&made) {
                let set = self.outer.set(index, inner, 0);
                set.map_err(KernelError::map(name::TABLES))?;
            }
        }
        for (&index, inner) in indices.iter().zip(&made) {
            let pinned = inner.map().pin(path(&self.directory, index));
            pinned.map_err(KernelError::map(name::TABLES))?;
            self.there.insert(index);
        }
        Ok(())
    }

    fn open(&self, index: u32) -> Result<Inner, KernelError> {
        let data = MapData::from_pin(path(&self.directory, index));
        let data = data.map_err(KernelError::map(name::TABLES))?;
        Inner::try_from(Map::Array(data)).map_err(KernelError::map(name::TABLES))
    }
}

/// What the kernel knows a map by while it is open.
fn descriptor(inner: &Inner) -> u32 {
    inner.map().fd().as_fd().as_raw_fd().cast_unsigned()
}

fn path(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("{PIN}{index}"))
}
