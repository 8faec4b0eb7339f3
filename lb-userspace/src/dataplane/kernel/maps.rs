//! The maps by their types.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader, Pod, VerifierLogLevel,
    maps::{
        Array, DevMapHash, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, ProgramArray,
    },
    programs::{Program, TestRun as _, TestRunOptions, Xdp},
    util::nr_cpus,
};
use lb_common::{
    audience::AudienceSet,
    backend::{Backend, ENTRIES},
    counters::{AudienceCounters, BackendCounters},
    flow::{FlowKey, Pin},
    listener::{Endpoint, Listener, Reply},
    maps::{aside, name},
    node::Node,
    protect::Protect,
    quic_lb::{Server, ServerKey},
    release::Record,
    signal::{
        Breaker, Histogram, Tally,
        histogram::{HISTOGRAMS, ROWS, first_row},
        tally_index,
    },
};

use super::{KernelError, batch, error::errno, sum, tables::Tables};
use crate::dataplane::{Cursor, signals::Signals};

/// Lets aya carry a type whose lack of padding bytemuck has proved.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Raw<T>(pub T);

// SAFETY: `bytemuck::Pod` demands all that aya's `Pod` does: any bytes are a value, and no padding.
unsafe impl<T: bytemuck::Pod> Pod for Raw<T> {}

/// All maps of the data plane.
pub struct Maps {
    pub node: Array<MapData, Raw<Node>>,
    pub listeners: HashMap<MapData, Raw<Endpoint>, Raw<Listener>>,
    pub active: Array<MapData, u32>,
    pub records: Array<MapData, Raw<Record>>,
    pub tables: Tables,
    pub backends: Array<MapData, Raw<Backend>>,
    pub replies: HashMap<MapData, Raw<Endpoint>, Raw<Reply>>,
    pub servers: HashMap<MapData, Raw<ServerKey>, Raw<Server>>,
    pub flows: HashMap<MapData, Raw<FlowKey>, Raw<Pin>>,
    pub half_open: HashMap<MapData, Raw<FlowKey>, Raw<Pin>>,
    pub ports: DevMapHash<MapData>,
    pub counters: PerCpuArray<MapData, u64>,
    pub pool_drops: PerCpuArray<MapData, u64>,
    pub audience_sets: Array<MapData, Raw<AudienceSet>>,
    pub protect: Array<MapData, Raw<Protect>>,
    audience_counters: PerCpuArray<MapData, Raw<AudienceCounters>>,
    prefixes: MapData,
    backend_counters: PerCpuArray<MapData, Raw<BackendCounters>>,
    signals: Array<MapData, Raw<Tally>>,
    backend_signals: Array<MapData, Raw<Tally>>,
    breakers: Array<MapData, Raw<Breaker>>,
    histograms: MapData,
    /// Second handles, for the calls that aya lacks.
    pin_handles: [(MapData, &'static str); 2],
}

impl Maps {
    /// Takes all of them out of a loaded object whose maps are pinned in `directory`.
    pub fn take(object: &mut Ebpf, directory: &Path) -> Result<Self, KernelError> {
        let handle = |name| Ok((pinned(directory, name)?, name));
        Ok(Self {
            pin_handles: [handle(name::HALF_OPEN)?, handle(name::FLOWS)?],
            node: typed(object, name::NODE)?,
            listeners: typed(object, name::LISTENERS)?,
            active: typed(object, name::ACTIVE)?,
            records: typed(object, name::RECORDS)?,
            tables: Tables::adopt(typed(object, name::TABLES)?, directory)?,
            backends: typed(object, name::BACKENDS)?,
            replies: typed(object, name::REPLIES)?,
            servers: typed(object, name::SERVERS)?,
            flows: typed(object, name::FLOWS)?,
            half_open: typed(object, name::HALF_OPEN)?,
            ports: typed(object, name::PORTS)?,
            counters: typed(object, name::COUNTERS)?,
            pool_drops: typed(object, name::POOL_DROPS)?,
            backend_counters: typed(object, name::BACKEND_COUNTERS)?,
            audience_sets: typed(object, name::AUDIENCE_SETS)?,
            protect: typed(object, name::PROTECT)?,
            audience_counters: typed(object, name::AUDIENCE_COUNTERS)?,
            prefixes: pinned(directory, name::PREFIXES)?,
            signals: typed(object, name::SIGNALS)?,
            backend_signals: typed(object, name::BACKEND_SIGNALS)?,
            breakers: typed(object, name::BREAKERS)?,
            histograms: pinned(directory, name::HISTOGRAMS)?,
        })
    }

    /// The maps that hold pins, with their names.
    pub fn pins(&self) -> [(BorrowedFd<'_>, &'static str); 2] {
        let handles = self.pin_handles.each_ref();
        handles.map(|(handle, name)| (handle.fd().as_fd(), *name))
    }

    /// Shows the next slice of the pins to `each`; true if it was the last. Half-open ones come
    /// first, so that one which comes to live meanwhile is shown twice rather than not at all.
    pub fn some_pins(
        &self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, KernelError> {
        let tables = self.pins();
        let Some(&(map, name)) = tables.get(cursor.table) else {
            return Ok(true);
        };
        cursor.place = batch::some::<FlowKey, Pin>(map, name, cursor.place, each)?;
        cursor.table += usize::from(cursor.place.is_none());
        Ok(cursor.table == tables.len())
    }

    /// How many pins there are.
    pub fn count_pins(&self) -> Result<u64, KernelError> {
        let (mut cursor, mut present) = (Cursor::default(), 0);
        while !self.some_pins(&mut cursor, &mut |_, _| present += 1)? {}
        Ok(present)
    }

    /// The ids of those maps, as one number.
    pub fn pin_tables(&self) -> Result<u64, KernelError> {
        let mut both = 0;
        for (handle, name) in &self.pin_handles {
            let info = handle.info().map_err(KernelError::map(name))?;
            both = both << 32 | u64::from(info.id());
        }
        Ok(both)
    }

    /// Writes a counter that the packet path does not.
    pub fn set_counter(&mut self, index: u32, value: u64) -> Result<(), KernelError> {
        let mut values = vec![0; cpus()?];
        values[0] = value;
        let values = PerCpuValues::try_from(values).map_err(|source| KernelError::System {
            what: "counting the CPUs",
            source,
        })?;
        let written = self.counters.set(index, values, 0);
        written.map_err(KernelError::map(name::COUNTERS))
    }

    pub fn node(&self) -> Result<Node, KernelError> {
        let node = self.node.get(&0, 0);
        Ok(node.map_err(KernelError::map(name::NODE))?.0)
    }

    pub fn prefixes_fd(&self) -> BorrowedFd<'_> {
        self.prefixes.fd().as_fd()
    }

    pub fn audience_set(&self, number: u32) -> Result<AudienceSet, KernelError> {
        let set = self.audience_sets.get(&number, 0);
        Ok(set.map_err(KernelError::map(name::AUDIENCE_SETS))?.0)
    }

    pub fn audience_counters(&self, number: u32) -> Result<AudienceCounters, KernelError> {
        let values = self.audience_counters.get(&number, 0);
        let values = values.map_err(KernelError::map(name::AUDIENCE_COUNTERS))?;
        let values = values.iter().map(|raw| raw.0);
        Ok(values.fold(AudienceCounters::default(), AudienceCounters::plus))
    }

    pub fn clear_audience_counters(&mut self, number: u32) -> Result<(), KernelError> {
        self.audience_counters
            .set(number, zeros()?, 0)
            .map_err(KernelError::map(name::AUDIENCE_COUNTERS))
    }

    pub fn listeners(&self) -> Result<BTreeMap<Endpoint, Listener>, KernelError> {
        collect(self.listeners.iter()).map_err(KernelError::map(name::LISTENERS))
    }

    pub fn replies(&self) -> Result<BTreeMap<Endpoint, Reply>, KernelError> {
        collect(self.replies.iter()).map_err(KernelError::map(name::REPLIES))
    }

    pub fn servers(&self) -> Result<BTreeMap<ServerKey, Server>, KernelError> {
        collect(self.servers.iter()).map_err(KernelError::map(name::SERVERS))
    }

    pub fn ports(&self) -> Result<BTreeSet<u32>, KernelError> {
        self.ports
            .keys()
            .collect::<Result<_, _>>()
            .map_err(KernelError::map(name::PORTS))
    }

    pub fn backends(&self) -> Result<BTreeMap<u32, Backend>, KernelError> {
        let mut present = BTreeMap::new();
        for index in 0..ENTRIES {
            let entry = self
                .backends
                .get(&index, 0)
                .map_err(KernelError::map(name::BACKENDS))?;
            if entry.0.is_present() {
                present.insert(index, entry.0.settled());
            }
        }
        Ok(present)
    }

    pub fn record(&self, index: u32) -> Result<Record, KernelError> {
        let record = self
            .records
            .get(&index, 0)
            .map_err(KernelError::map(name::RECORDS))?;
        Ok(record.0)
    }

    pub fn backend_counters(&self, id: u16) -> Result<BackendCounters, KernelError> {
        let values = self.backend_counters.get(&u32::from(id), 0);
        let values = values.map_err(KernelError::map(name::BACKEND_COUNTERS))?;
        Ok(sum(values.iter().map(|raw| raw.0)))
    }

    pub fn clear_backend_counters(&mut self, id: u32) -> Result<(), KernelError> {
        self.backend_counters
            .set(id, zeros()?, 0)
            .map_err(KernelError::map(name::BACKEND_COUNTERS))?;
        self.backend_signals
            .set(id, Raw(Tally::default()), 0)
            .map_err(KernelError::map(name::BACKEND_SIGNALS))
    }

    /// What is counted of the cohorts of a service.
    pub fn signals(&self, service: u32) -> Result<Signals, KernelError> {
        let mut signals = Signals::default();
        for (number, cohort) in (0..).zip(&mut signals.cohorts) {
            let tally = self.signals.get(&tally_index(service, number), 0);
            cohort.tally = tally.map_err(KernelError::map(name::SIGNALS))?.0;
            let first = first_row(service, number, Histogram::Handshake);
            let map = self.histograms.fd().as_fd();
            let rows = batch::elements(map, name::HISTOGRAMS, first, ROWS * HISTOGRAMS)?;
            let rows = rows.chunks(ROWS as usize);
            for (histogram, rows) in cohort.histograms.iter_mut().zip(rows) {
                *histogram = rows.to_vec();
            }
        }
        Ok(signals)
    }

    pub fn backend_signals(&self, id: u16) -> Result<Tally, KernelError> {
        let tally = self.backend_signals.get(&u32::from(id), 0);
        Ok(tally.map_err(KernelError::map(name::BACKEND_SIGNALS))?.0)
    }

    /// A service that is no more has no breaker for the next one with its number.
    pub fn clear_breaker(&mut self, service: u32) -> Result<(), KernelError> {
        let cleared = self.breakers.set(service, Raw(Breaker::default()), 0);
        cleared.map_err(KernelError::map(name::BREAKERS))
    }

    pub fn breaker(&self, service: u32) -> Result<Breaker, KernelError> {
        let breaker = self.breakers.get(&service, 0);
        Ok(breaker.map_err(KernelError::map(name::BREAKERS))?.0)
    }
}

/// A handle of a pinned map.
pub fn pinned(directory: &Path, name: &'static str) -> Result<MapData, KernelError> {
    MapData::from_pin(directory.join(name)).map_err(KernelError::map(name))
}

/// A per-CPU entry that has counted nothing.
fn zeros<T: bytemuck::Pod>() -> Result<PerCpuValues<Raw<T>>, KernelError> {
    let zero = vec![Raw(T::zeroed()); cpus()?];
    PerCpuValues::try_from(zero).map_err(|source| KernelError::System {
        what: "counting the CPUs",
        source,
    })
}

/// One counter, summed over all CPUs.
pub fn total(
    counters: &PerCpuArray<MapData, u64>,
    map: &'static str,
    index: u32,
) -> Result<u64, KernelError> {
    let values = counters.get(&index, 0).map_err(KernelError::map(map))?;
    Ok(values.iter().sum())
}

/// Removing what is not there is no error: the wanted state is reached.
pub fn absent_is_fine<E>(map: &'static str, result: Result<(), E>) -> Result<(), KernelError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match result {
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
        other => other.map_err(KernelError::map(map)),
    }
}

/// How many entries a removal has removed.
pub fn removed<E>(map: &'static str, result: Result<(), E>) -> Result<u64, KernelError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let found = result.is_ok();
    absent_is_fine(map, result)?;
    Ok(found.into())
}

/// One program of a loaded object.
pub fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, KernelError> {
    match object.program_mut(name) {
        Some(Program::Xdp(program)) => Ok(program),
        _ => Err(KernelError::Incomplete(format!("program {name}"))),
    }
}

/// Loads a program that the main one gives few packets to, where the object has it and it is not
/// loaded yet.
pub fn load_aside(object: &mut Ebpf, index: u32) -> Result<(), KernelError> {
    let called = aside::PROGRAMS[index as usize];
    let Some(Program::Xdp(program)) = object.program_mut(called) else {
        return Ok(());
    };
    if program.fd().is_ok() {
        return Ok(());
    }
    load(program)?;
    let handle = program.fd().map_err(KernelError::program)?.try_clone();
    let handle = handle.map_err(|error| KernelError::program(error.into()))?;
    // The map stays the object's, whose programs refer to it.
    let programs = object.map_mut(name::PROGRAMS);
    let programs =
        programs.ok_or_else(|| KernelError::Incomplete(format!("map {}", name::PROGRAMS)))?;
    let mut programs =
        ProgramArray::try_from(programs).map_err(KernelError::map(name::PROGRAMS))?;
    let set = programs.set(index, &handle, 0);
    set.map_err(KernelError::map(name::PROGRAMS))
}

/// Pins the tail calls of an object, which the kernel takes out of their map as soon as neither a pin
/// nor a process has it.
pub fn pin_programs(object: &Ebpf, path: &Path) -> Result<(), KernelError> {
    let programs = object.map(name::PROGRAMS);
    let programs =
        programs.ok_or_else(|| KernelError::Incomplete(format!("map {}", name::PROGRAMS)))?;
    programs.pin(path).map_err(KernelError::map(name::PROGRAMS))
}

/// Loads objects. What the verifier refuses it names, but it does not print how it came there: aya asks
/// for that after any failure, and with programs as large as ours that takes it more than ten seconds.
pub fn loader() -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    loader
}

/// How often a load is tried; as often as libbpf does (`PROG_LOAD_ATTEMPTS`).
const ATTEMPTS: usize = 5;

/// Loads a program. The verifier gives up when a signal comes meanwhile, whichever it is, and wants to
/// be asked again (kernel commit c3494801cd17).
pub fn load(program: &mut Xdp) -> Result<(), KernelError> {
    for _ in 1..ATTEMPTS {
        match program.load() {
            Err(error) if errno(&error) == Some(libc::EAGAIN) => {}
            result => return result.map_err(KernelError::program),
        }
    }
    program.load().map_err(KernelError::program)
}

/// Room that a rewritten frame may grow into.
const FRAME_ROOM: usize = 256;

pub fn test_run(program: &Xdp, frame: &[u8]) -> Result<(u32, Vec<u8>), KernelError> {
    let mut out = vec![0; frame.len() + FRAME_ROOM];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ..TestRunOptions::new()
    };
    let result = program.test_run(options).map_err(KernelError::program)?;
    out.truncate(result.data_size_out as usize);
    Ok((result.return_value, out))
}

fn take(object: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    object
        .take_map(name)
        .ok_or_else(|| KernelError::Incomplete(format!("map {name}")))
}

pub fn typed<T>(object: &mut Ebpf, name: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<Map, Error = MapError>,
{
    take(object, name)?
        .try_into()
        .map_err(KernelError::map(name))
}

fn collect<K: Ord, V>(
    entries: impl Iterator<Item = Result<(Raw<K>, Raw<V>), MapError>>,
) -> Result<BTreeMap<K, V>, MapError> {
    entries
        .map(|entry| entry.map(|(key, value)| (key.0, value.0)))
        .collect()
}

fn cpus() -> Result<usize, KernelError> {
    nr_cpus().map_err(|(_, source)| KernelError::System {
        what: "counting the CPUs",
        source,
    })
}
