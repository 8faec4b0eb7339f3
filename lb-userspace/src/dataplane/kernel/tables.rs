//! The pools' tables: inner maps, two for each pool, made and pinned when the pool first appears.
//!
//! A table that no live record names is written in place and taken over by the record's store.
//! Swapping inner maps instead would cost a grace period each time, 8 to 28 ms
//! (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c), and would need a privilege that the
//! daemon may have dropped. The maps of a pool that is gone stay for the next one.

use std::{
    collections::HashMap,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::maps::{Array, ArrayOfMaps, Map, MapData};
use lb_common::{
    maps::{TABLES_PER_POOL, name},
    pool::SLOT_COUNT,
};

use super::{super::Table, KernelError, adopt, syscall};

/// One table's map.
pub type Inner = Array<MapData, [u32; SLOT_COUNT]>;

/// A table's map, and a handle for reading it: aya returns values, and this one is large.
struct Place {
    map: Inner,
    reader: MapData,
}

/// Name of a table's pin, before its index.
const PIN: &str = "table_";

/// All tables that exist, live or not.
pub struct Tables {
    outer: ArrayOfMaps<MapData, Inner>,
    inner: HashMap<u32, Place>,
    directory: PathBuf,
}

impl Tables {
    /// The tables that are pinned in `directory`.
    pub fn adopt(
        outer: ArrayOfMaps<MapData, Inner>,
        directory: &Path,
    ) -> Result<Self, KernelError> {
        let mut inner = HashMap::new();
        for index in adopt::numbered(directory, PIN)? {
            inner.insert(index, open(&path(directory, index))?);
        }
        Ok(Self {
            outer,
            inner,
            directory: directory.to_owned(),
        })
    }

    /// Writes a table that no live record names.
    pub fn write(&mut self, index: u32, table: &Table) -> Result<(), KernelError> {
        if !self.inner.contains_key(&index) {
            let first = index - index % TABLES_PER_POOL;
            (first..first + TABLES_PER_POOL).try_for_each(|index| self.create(index))?;
        }
        let place = self
            .inner
            .get_mut(&index)
            .expect("it was there, or was just made");
        place
            .map
            .set(0, table.bits(), 0)
            .map_err(KernelError::map(name::TABLES))
    }

    /// A table's content.
    pub fn read(&self, index: u32) -> Result<Option<Table>, KernelError> {
        let Some(inner) = self.inner.get(&index) else {
            return Ok(None);
        };
        let mut bits = vec![0_u32; SLOT_COUNT];
        let (map, what) = (inner.reader.fd().as_fd(), name::TABLES);
        // SAFETY: `open` has seen that key and value have these sizes.
        let read = unsafe { syscall::lookup(map, 0, &mut bits) };
        read.map_err(|source| KernelError::System { what, source })?;
        Ok(Table::from_bits(&bits))
    }

    fn create(&mut self, index: u32) -> Result<(), KernelError> {
        let path = path(&self.directory, index);
        let inner = Inner::create(1, 0).map_err(KernelError::map(name::TABLES))?;
        inner.pin(&path).map_err(KernelError::map(name::TABLES))?;
        let inner = open(&path)?;
        self.outer
            .set(index, &inner.map, 0)
            .map_err(KernelError::map(name::TABLES))?;
        self.inner.insert(index, inner);
        Ok(())
    }
}

fn open(path: &Path) -> Result<Place, KernelError> {
    let data = || MapData::from_pin(path).map_err(KernelError::map(name::TABLES));
    let map = Inner::try_from(Map::Array(data()?)).map_err(KernelError::map(name::TABLES))?;
    let reader = data()?;
    Ok(Place { map, reader })
}

fn path(directory: &Path, index: u32) -> PathBuf {
    directory.join(format!("{PIN}{index}"))
}
