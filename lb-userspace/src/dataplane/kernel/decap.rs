//! The decapsulator on a backend's interfaces: another program of the object, with pins of its own.
//!
//! Like the data plane's, its links are pinned: it works on when the command that has put it there
//! is done, and putting it there again replaces the program in place.

use std::path::{Path, PathBuf};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData, PerCpuArray},
};
use lb_common::{
    decap::{Exit, Settings},
    maps::{DECAP_PROGRAM, name},
};

use super::{
    KernelError,
    adopt::{self, Claim},
    attach::{self, Mode},
    directories,
    maps::{self, Raw},
};

/// How often packets have left in each way.
pub type Exits = Vec<(Exit, u64)>;

/// A loaded decapsulator.
pub struct Decapsulator {
    object: Ebpf,
    directory: PathBuf,
    /// One command at a time.
    _locks: Vec<adopt::Lock>,
}

impl Decapsulator {
    /// Takes up what is under these pins, with other settings, or makes it.
    pub fn open(
        object: &'static [u8],
        pins: &Path,
        settings: &Settings,
    ) -> Result<Self, KernelError> {
        let Claim {
            directory,
            locks,
            fresh,
            ..
        } = adopt::claim_plain(pins)?;
        let loaded = load(object, &directory, settings);
        if loaded.is_err() && fresh {
            adopt::remove(&directory)?;
        }
        Ok(Self {
            object: loaded?,
            directory,
            _locks: locks,
        })
    }

    /// Puts it on an interface, unless it is there already.
    pub fn attach(&mut self, interface: (u32, &str), mode: Mode) -> Result<(), KernelError> {
        let program = maps::program(&mut self.object, DECAP_PROGRAM)?;
        attach::attach(program, &self.directory, interface, mode)
    }

    /// Runs the program on one frame, as if it had come in by `lo`.
    pub fn test_run(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), KernelError> {
        maps::test_run(maps::program(&mut self.object, DECAP_PROGRAM)?, frame)
    }
}

fn load(object: &'static [u8], directory: &Path, settings: &Settings) -> Result<Ebpf, KernelError> {
    let mut loader = maps::loader();
    // The object's other maps are made as well, for nobody: as small as they can be.
    for map in name::ALL.into_iter().chain([name::REMEMBERED]) {
        loader.map_max_entries(map, 1);
    }
    for map in [name::DECAP, name::DECAP_COUNTERS] {
        loader.map_pin_path(map, directory.join(map));
    }
    let mut object = loader.load(object).map_err(KernelError::load)?;
    let mut written: Array<MapData, Raw<Settings>> = maps::typed(&mut object, name::DECAP)?;
    written
        .set(0, Raw(*settings), 0)
        .map_err(KernelError::map(name::DECAP))?;
    let program = maps::program(&mut object, DECAP_PROGRAM)?;
    maps::load(program)?;
    attach::update_links(program, directory)?;
    Ok(object)
}

/// What the decapsulator under these pins has done on all interfaces; nothing if there is none.
pub fn exits(pins: &Path) -> Result<Option<Exits>, KernelError> {
    let path = directories::own(pins).join(name::DECAP_COUNTERS);
    if !path.exists() {
        return Ok(None);
    }
    let failed = KernelError::map(name::DECAP_COUNTERS);
    let map = match MapData::from_pin(path) {
        Ok(map) => Map::PerCpuArray(map),
        Err(error) => return Err(failed(error)),
    };
    let counters = match PerCpuArray::try_from(map) {
        Ok(counters) => counters,
        Err(error) => return Err(failed(error)),
    };
    let count = |&exit: &Exit| {
        let count = maps::total(&counters, name::DECAP_COUNTERS, exit as u32)?;
        Ok((exit, count))
    };
    Exit::ALL
        .iter()
        .map(count)
        .collect::<Result<_, _>>()
        .map(Some)
}
