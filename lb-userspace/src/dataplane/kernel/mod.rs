//! The adapter to the kernel: the only module that knows aya.
//!
//! Maps, program and links are pinned, so that they outlive the daemon. A start adopts the maps
//! it finds, loads the program of this build on them, and puts it in the old one's place on every
//! interface in one step each (`bpf_link_update`): a restart and an upgrade are the same thing,
//! and lose no packet. Where the maps are of another ABI or size, it makes its own, shares with
//! them what the packet path has learned, is filled from the state file, and only then takes the
//! links over ([`Kernel::take_over`]).

mod adopt;
mod attach;
mod barrier;
mod batch;
mod carry;
mod clock;
pub mod decap;
mod directories;
mod error;
mod lapse;
mod ledger;
mod link;
mod maps;
mod names;
mod runs;
mod syscall;
mod tables;
mod tell;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aya::{Ebpf, programs::xdp::XdpMode};
use bytemuck::Zeroable as _;
use lb_common::{
    backend::Backend,
    counters::{AudienceCounters, BackendCounters},
    flow::{FlowKey, Pin},
    listener::Endpoint,
    maps::{RECORDS_PER_SERVICE, WHOIS, aside, half_open, name},
    node::Node,
    protect::{PROTECTS, Protect},
    reason::{FlowEvent, Reason, flow_event_index},
    release::Record,
    signal::{Breaker, Tally},
    trace::Trace,
};

use self::{
    adopt::Claim,
    carry::Copied,
    lapse::Lapses,
    maps::{Maps, Raw},
    tell::Teller,
};
pub use self::{
    adopt::{abandon, detach},
    attach::Mode,
    clock::{clock_ms, now},
    error::KernelError,
};
use super::{
    Counters, Cursor, Dataplane, Image, Listening, Write, prefixes::Block, question::Question,
    signals::Signals,
};
use crate::fault;

/// What one data plane is made from.
pub struct Settings<'a> {
    /// The compiled object.
    pub object: &'static [u8],
    /// The program in it that meets packets.
    pub program: &'static str,
    /// Directory of the pins, below a bpffs; a versioned one is made in it.
    pub pins: &'a Path,
    /// Written once; a data plane that was made with another is refused.
    pub node: Node,
    /// Size of the flow table.
    pub flows: u32,
    /// A change has not settled: pins are in use, and more are made at any moment.
    pub moving: bool,
    /// Programs that few packets or nobody needs are loaded when they are asked for; for tests, which
    /// the verifier's time is most of.
    pub sparing: bool,
}

impl Settings<'_> {
    /// Loads the program that meets packets, and those that it gives some to.
    fn load(&self, object: &mut Ebpf) -> Result<(), KernelError> {
        maps::load(maps::program(object, self.program)?)?;
        let is_small = |index| matches!(index, aside::RESET | aside::TOO_BIG);
        let mut wanted = (0..aside::COUNT).filter(|&index| is_small(index) || !self.sparing);
        wanted.try_for_each(|index| maps::load_aside(object, index))
    }
}

/// A loaded data plane.
pub struct Kernel {
    maps: Maps,
    object: Ebpf,
    program: &'static str,
    /// The object has a program that tells.
    teller: Option<Teller>,
    /// The object has a program that counts calls without an answer.
    lapses: Option<Lapses>,
    directory: PathBuf,
    /// Index of each service's live record.
    live: HashMap<u32, u32>,
    /// Records that are written aside and not stored yet, with their index, by service.
    put: HashMap<u32, (u32, Record)>,
    fresh: bool,
    /// What is to be taken over from.
    earlier: Vec<PathBuf>,
    copied: Vec<Copied>,
    /// Backends' entries whose next hop has moved since packets were waited for.
    moved: HashSet<u32>,
    /// Of the sweep under way.
    books: Option<ledger::Books>,
    /// One daemon for one set of pins.
    _locks: Vec<adopt::Lock>,
}

impl Kernel {
    /// Adopts the data plane under these pins, or makes one.
    pub fn open(settings: &Settings<'_>) -> Result<Self, KernelError> {
        let claim = adopt::claim(settings.pins, settings.flows)?;
        let fresh = claim.fresh;
        let result = Self::load(settings, claim);
        if result.is_err() {
            abandon(settings.pins, fresh)?;
        }
        result
    }

    fn load(settings: &Settings<'_>, claim: Claim) -> Result<Self, KernelError> {
        let Claim {
            directory,
            locks,
            fresh,
            earlier,
        } = claim;
        if let Some(before) = earlier.last() {
            carry::check_node(before, &settings.node, settings.pins)?;
            carry::share(before, &directory, settings.flows, settings.moving)?;
            fault::moment();
        }
        names::pin(&directory)?;
        let mut loader = maps::loader();
        loader.map_max_entries(name::FLOWS, settings.flows);
        loader.map_max_entries(name::HALF_OPEN, half_open(settings.flows));
        // Packets under way are still given to those of the program that met them.
        let replaces = directory.join(name::PROGRAMS).exists();
        for map in name::ALL {
            if map != name::PROGRAMS || !replaces {
                loader.map_pin_path(map, directory.join(map));
            }
        }
        let mut object = loader.load(settings.object).map_err(KernelError::load)?;
        let mut maps = Maps::take(&mut object, &directory)?;
        adopt::check_node(&mut maps, &settings.node, settings.pins)?;
        settings.load(&mut object)?;
        let (mut teller, mut lapses) = (None, None);
        if !settings.sparing {
            // Packets must not wait for the one who tells of them.
            teller = Teller::load(&mut object).unwrap_or_else(|error| {
                tracing::error!("`serin whois` can't answer: {error}");
                None
            });
            lapses = Lapses::load(&mut object, &directory).unwrap_or_else(|error| {
                tracing::error!(
                    "a judge does not see calls that are neither answered nor repeated: {error}"
                );
                None
            });
        }
        let mut copied = Vec::new();
        if let Some(before) = earlier.last() {
            copied = carry::copy(before, &directory)?;
        } else {
            let beside = directories::beside(&directory);
            if replaces {
                maps::pin_programs(&object, &beside)?;
                fault::moment();
            }
            let program = maps::program(&mut object, settings.program)?;
            attach::update_links(program, &directory)?;
            barrier::wait_for_packets()?;
            if replaces {
                directories::replace_programs(&beside, &directory)?;
                fault::moment();
            }
            directories::forget_left(&directory)?;
        }
        if earlier.is_empty() {
            ledger::begin(&mut maps)?;
        }
        fault::moment();
        let (program, live) = (settings.program, HashMap::new());
        Ok(Self {
            maps,
            object,
            program,
            teller,
            lapses,
            directory,
            live,
            put: HashMap::new(),
            fresh,
            earlier,
            copied,
            moved: HashSet::new(),
            books: None,
            _locks: locks,
        })
    }

    /// Everything the maps hold; also learns which records are live.
    pub fn image(&mut self) -> Result<Image, KernelError> {
        let mut image = Image {
            listeners: self.maps.listeners()?,
            ..Image::default()
        };
        image.replies = self.maps.replies()?;
        image.servers = self.maps.servers()?;
        image.ports = self.maps.ports()?;
        for (index, backend) in self.maps.backends()? {
            image.backends.insert(index, backend);
        }
        for service in 0..self.maps.active.len() {
            let index = self
                .maps
                .active
                .get(&service, 0)
                .map_err(KernelError::map(name::ACTIVE))?;
            let record = self.maps.record(index)?;
            // An index that was never stored is 0, which is service 0's.
            if index / RECORDS_PER_SERVICE == service && record.epoch != 0 {
                self.live.insert(service, index);
                image.records.insert(service, record);
            }
        }
        let named: BTreeSet<u32> = image.records.values().flat_map(Record::tables).collect();
        for index in named {
            let table = self.maps.tables.read(index)?;
            image.tables.extend(table.map(|table| (index, table)));
        }
        self.read_audiences(&mut image)?;
        Ok(image)
    }

    /// Sets of audiences, the protection, and the prefixes that they name.
    fn read_audiences(&mut self, image: &mut Image) -> Result<(), KernelError> {
        let sets: BTreeSet<u32> = image
            .records
            .values()
            .flat_map(Record::audience_sets)
            .filter(|&number| number != 0)
            .collect();
        let words = self.maps.prefixes_fd();
        for number in sets {
            let set = self.maps.audience_set(number)?;
            batch::read_block(words, set.prefixes(), &mut image.blocks)?;
            image.audiences.insert(number, set);
        }
        let number = self.maps.node()?.protect();
        if number != 0 {
            let protect = self.maps.protect.get(&number, 0);
            let protect = protect.map_err(KernelError::map(name::PROTECT))?.0;
            batch::read_block(words, protect.denied(), &mut image.blocks)?;
            image.protect = Some(protect);
        }
        Ok(())
    }

    /// Writes a copy of the settings that is not live, then makes it live.
    fn set_protect(&mut self, protect: Option<&Protect>) -> Result<(), KernelError> {
        let node = self.maps.node()?;
        let number = match protect {
            None => 0,
            Some(protect) => {
                let number = node.protect() % (PROTECTS - 1) + 1;
                let write = self.maps.protect.set(number, Raw(*protect), 0);
                write.map_err(KernelError::map(name::PROTECT))?;
                number
            }
        };
        let node = Raw(node.protected(number));
        let write = self.maps.node.set(0, node, 0);
        write.map_err(KernelError::map(name::NODE))
    }

    /// Makes void what the packet path remembers of the listeners; after each change of one, which may be
    /// `added`.
    fn void_remembered(&mut self, added: Option<&Endpoint>) -> Result<(), KernelError> {
        let node = self.maps.node()?;
        let node = node.after_listeners(node.listeners());
        let node = added.map_or(node, |endpoint| node.listening(endpoint));
        let write = self.maps.node.set(0, Raw(node), 0);
        write.map_err(KernelError::map(name::NODE))
    }

    /// Puts the program on an interface, unless it is there already.
    pub fn attach(&mut self, ifindex: u32, name: &str, mode: Mode) -> Result<(), KernelError> {
        let program = maps::program(&mut self.object, self.program)?;
        attach::attach(program, &self.directory, (ifindex, name), mode)
    }

    /// Whether the program is on an interface.
    pub fn is_attached(&self, ifindex: u32) -> Result<bool, KernelError> {
        attach::is_attached(&self.directory, ifindex)
    }

    /// How the program is on an interface, if it is.
    pub fn mode(&mut self, ifindex: u32) -> Result<Option<Mode>, KernelError> {
        let program = maps::program(&mut self.object, self.program)?;
        attach::mode(program, &self.directory, ifindex)
    }

    /// Whether there was no data plane under these pins before.
    pub const fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether another data plane's links wait to be taken over. The maps are new, and nothing
    /// goes by them until then.
    pub const fn takes_over(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// The sets of audiences with these numbers in the maps that are taken over from.
    pub fn audiences_before(&self, numbers: &BTreeSet<u32>) -> Result<Image, KernelError> {
        let before = self.earlier.last();
        before.map_or_else(
            || Ok(Image::default()),
            |before| carry::audiences(before, numbers),
        )
    }

    /// Puts this program in the place of the one before, now that the maps are filled.
    ///
    /// The links are moved first: from then on this data plane is the one in force, and a start
    /// that finds some of them goes on from there.
    pub fn take_over(&mut self) -> Result<(), KernelError> {
        for earlier in &self.earlier {
            directories::absorb(earlier, &self.directory)?;
        }
        let program = maps::program(&mut self.object, self.program)?;
        attach::update_links(program, &self.directory)?;
        barrier::wait_for_packets()?;
        self.copied.iter_mut().try_for_each(Copied::add_rest)?;
        for earlier in self.earlier.drain(..) {
            directories::remove(&earlier)?;
            tracing::info!("took over from {}", earlier.display());
        }
        self.copied.clear();
        ledger::begin(&mut self.maps)
    }

    /// Ends the data plane.
    pub fn remove(&mut self) -> Result<(), KernelError> {
        adopt::remove(&self.directory)
    }

    /// Takes the program off the interfaces for which `keep` says no.
    pub fn detach_others(&self, keep: impl Fn(u32) -> bool) -> Result<(), KernelError> {
        attach::detach_others(&self.directory, keep)
    }

    /// Removes the links of interfaces that no longer exist.
    pub fn forget_gone(&self) -> Result<(), KernelError> {
        attach::forget_gone(&self.directory)
    }

    /// Runs the program on one frame, as if it had come in by `lo`.
    pub fn test_run(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), KernelError> {
        maps::test_run(maps::program(&mut self.object, self.program)?, frame)
    }

    /// Loads a program that few packets are given to, unless it is; see [`Settings::sparing`].
    pub fn load_aside(&mut self, index: u32) -> Result<(), KernelError> {
        maps::load_aside(&mut self.object, index)
    }

    /// Loads the program that tells, unless it is; see [`Settings::sparing`].
    pub fn load_teller(&mut self) -> Result<(), KernelError> {
        if self.teller.is_none() {
            self.teller = Teller::load(&mut self.object)?;
        }
        Ok(())
    }

    /// Loads the program that counts calls without an answer, unless it is; see [`Settings::sparing`].
    pub fn load_lapses(&mut self) -> Result<(), KernelError> {
        if self.lapses.is_none() {
            self.lapses = Lapses::load(&mut self.object, &self.directory)?;
        }
        Ok(())
    }

    /// What would become of a frame; neither a pin nor a counter comes of it.
    pub fn tell(&mut self, frame: &[u8]) -> Result<Trace, KernelError> {
        let teller = self.teller.as_mut();
        let teller = teller.ok_or_else(|| KernelError::Incomplete(format!("program {WHOIS}")))?;
        teller.ask(&mut self.object, frame)
    }

    /// Instructions that the verifier walked.
    pub fn verified_instructions(&mut self) -> Result<u32, KernelError> {
        let program = maps::program(&mut self.object, self.program)?;
        let info = program.info().map_err(KernelError::program)?;
        Ok(info.verified_instruction_count().unwrap_or(0))
    }

    /// Writes a pin of a live connection, for tests of what age does to one.
    pub fn put_pin(&mut self, key: &FlowKey, pin: Pin) -> Result<(), KernelError> {
        let written = self.maps.flows.insert(Raw(*key), Raw(pin), 0);
        written.map_err(KernelError::map(name::FLOWS))
    }

    /// Writes removals down that are not made, for tests of a daemon that is killed between the two.
    pub fn write_ahead(&mut self, removals: u64) -> Result<(), KernelError> {
        ledger::write_down(&mut self.maps, removals).map(|_| ())
    }

    /// The loaded object, for the benchmark, which has programs and maps of its own in it.
    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.object
    }

    /// Writes a copy of the record that is not live.
    ///
    /// The copies' indices differ in their lowest two bits only, so the store could not be torn
    /// even if the kernel copied it byte by byte.
    fn put_record(&mut self, service: u32, record: &Record) -> Result<u32, KernelError> {
        let first = service * RECORDS_PER_SERVICE;
        let index = self.live.get(&service).map_or(first, |live| {
            first + (live + 1 - first) % RECORDS_PER_SERVICE
        });
        let write = self.maps.records.set(index, Raw(*record), 0);
        write.map_err(KernelError::map(name::RECORDS))?;
        Ok(index)
    }

    /// Makes a record that was written aside live, or writes it first.
    fn set_record(&mut self, service: u32, record: &Record) -> Result<SystemTime, KernelError> {
        let put = self.put.remove(&service);
        let index = match put.filter(|(_, put)| put == record) {
            Some((index, _)) => index,
            None => self.put_record(service, record)?,
        };
        self.maps
            .active
            .set(service, index, 0)
            .map_err(KernelError::map(name::ACTIVE))?;
        let stored = SystemTime::now();
        self.live.insert(service, index);
        Ok(stored)
    }

    fn remove_record(&mut self, service: u32) -> Result<(), KernelError> {
        let first = service * RECORDS_PER_SERVICE;
        for index in first..first + RECORDS_PER_SERVICE {
            let write = self.maps.records.set(index, Raw(Record::zeroed()), 0);
            write.map_err(KernelError::map(name::RECORDS))?;
        }
        self.live.remove(&service);
        self.put.remove(&service);
        self.maps.clear_breaker(service)
    }

    /// Writes a backend's entry; one whose next hop moves in two steps, and no packet meets a half.
    fn set_backend(&mut self, index: u32, backend: Backend) -> Result<(), KernelError> {
        let found = self.maps.backends.get(&index, 0);
        let Raw(found) = found.map_err(KernelError::map(name::BACKENDS))?;
        let steps = match found.steps_to(backend) {
            Some(steps) => {
                // Packets that look at the next hop before the last one, if that is so fresh.
                if !self.moved.insert(index) {
                    self.wait_for_packets()?;
                    self.moved.insert(index);
                }
                steps.to_vec()
            }
            None => vec![backend],
        };
        for step in steps {
            let written = self.maps.backends.set(index, Raw(step), 0);
            written.map_err(KernelError::map(name::BACKENDS))?;
        }
        Ok(())
    }

    fn remove_backend(&mut self, index: u32) -> Result<(), KernelError> {
        let entry = self.maps.backends.set(index, Raw(Backend::zeroed()), 0);
        entry.map_err(KernelError::map(name::BACKENDS))?;
        self.maps.clear_backend_counters(index >> 1)
    }
}

impl Dataplane for Kernel {
    fn prepare(&mut self, writes: &[Write]) -> Result<(), KernelError> {
        let tables = writes.iter().filter_map(|write| {
            let Write::SetTable(index, _) = write else {
                return None;
            };
            Some(*index)
        });
        self.maps.tables.make(tables)
    }

    fn write(&mut self, write: &Write) -> Result<Option<SystemTime>, KernelError> {
        fault::write();
        match write {
            Write::PutRecord(service, record) => {
                let index = self.put_record(*service, record)?;
                self.put.insert(*service, (index, *record));
            }
            Write::SetRecord(service, record) => {
                return self.set_record(*service, record).map(Some);
            }
            Write::RemoveRecord(service) => self.remove_record(*service)?,
            Write::SetTable(index, table) => self.maps.tables.write(*index, table)?,
            Write::SetBlock(base, block) => {
                let map = self.maps.prefixes_fd();
                batch::write_words(map, name::PREFIXES, *base, block.words())?;
            }
            Write::SetAudiences(number, set) => self
                .maps
                .audience_sets
                .set(*number, Raw(**set), 0)
                .map_err(KernelError::map(name::AUDIENCE_SETS))?,
            Write::SetProtect(protect) => self.set_protect(protect.as_ref())?,
            Write::ForgetAudience(number) => self.maps.clear_audience_counters(*number)?,
            // What they named stays, to be written again.
            Write::RemoveTable(_) | Write::RemoveAudiences(_) | Write::RemoveBlock(_) => {}
            Write::SetBackend(index, backend) => self.set_backend(*index, *backend)?,
            Write::RemoveBackend(index) => self.remove_backend(*index)?,
            Write::SetReply(endpoint, reply) => self
                .maps
                .replies
                .insert(Raw(*endpoint), Raw(*reply), 0)
                .map_err(KernelError::map(name::REPLIES))?,
            Write::RemoveReply(endpoint) => {
                maps::absent_is_fine(name::REPLIES, self.maps.replies.remove(&Raw(*endpoint)))?;
            }
            Write::SetServer(key, server) => self
                .maps
                .servers
                .insert(Raw(*key), Raw(*server), 0)
                .map_err(KernelError::map(name::SERVERS))?,
            Write::RemoveServer(key) => {
                maps::absent_is_fine(name::SERVERS, self.maps.servers.remove(&Raw(*key)))?;
            }
            Write::SetListener(endpoint, listener) => {
                let insert = self
                    .maps
                    .listeners
                    .insert(Raw(*endpoint), Raw(*listener), 0);
                insert.map_err(KernelError::map(name::LISTENERS))?;
                self.void_remembered(Some(endpoint))?;
            }
            Write::RemoveListener(endpoint) => {
                maps::absent_is_fine(name::LISTENERS, self.maps.listeners.remove(&Raw(*endpoint)))?;
                self.void_remembered(None)?;
            }
            Write::AddPort(ifindex) => self
                .maps
                .ports
                .insert(*ifindex, *ifindex, None, 0)
                .map_err(KernelError::map(name::PORTS))?,
            Write::RemovePort(ifindex) => {
                maps::absent_is_fine(name::PORTS, self.maps.ports.remove(*ifindex))?;
            }
        }
        Ok(None)
    }

    fn wait_for_packets(&mut self) -> Result<(), KernelError> {
        fault::write();
        barrier::wait_for_packets()?;
        self.moved.clear();
        Ok(())
    }

    fn counters(&self, backends: &[u16], pools: &[u32]) -> Result<Counters, KernelError> {
        let count = |index| maps::total(&self.maps.counters, name::COUNTERS, index);
        let reasons = Reason::ALL
            .iter()
            .map(|&reason| Ok((reason, count(reason as u32)?)));
        let events = FlowEvent::ALL
            .iter()
            .map(|&event| Ok((event, count(flow_event_index(event))?)));
        let backends = backends
            .iter()
            .map(|&id| Ok((id, self.maps.backend_counters(id)?)));
        let drops = pools.iter().map(|&pool| {
            Ok((
                pool,
                maps::total(&self.maps.pool_drops, name::POOL_DROPS, pool)?,
            ))
        });
        Ok(Counters {
            reasons: reasons.collect::<Result<_, KernelError>>()?,
            flow_events: events.collect::<Result<_, KernelError>>()?,
            backends: backends.collect::<Result<_, KernelError>>()?,
            pool_drops: drops.collect::<Result<_, KernelError>>()?,
        })
    }

    fn audience_counters(
        &self,
        numbers: &[u32],
    ) -> Result<BTreeMap<u32, AudienceCounters>, KernelError> {
        let numbers = numbers.iter();
        let counted = numbers.map(|&number| Ok((number, self.maps.audience_counters(number)?)));
        counted.collect()
    }

    fn runs(&self) -> Option<(u64, Duration)> {
        runs::runs(&self.object, self.program)
    }

    fn signals(&self, service: u32) -> Result<Signals, KernelError> {
        self.maps.signals(service)
    }

    fn backend_signals(&self, backends: &[u16]) -> Result<BTreeMap<u16, Tally>, KernelError> {
        let backends = backends.iter();
        let counted = backends.map(|&id| Ok((id, self.maps.backend_signals(id)?)));
        counted.collect()
    }

    fn breaker(&self, service: u32) -> Result<Breaker, KernelError> {
        self.maps.breaker(service)
    }

    fn lapse(&mut self, listeners: &BTreeMap<u16, Listening>) -> Result<usize, KernelError> {
        let lapses = self.lapses.as_ref();
        lapses.map_or(Ok(0), |lapses| lapses.count(&mut self.object, listeners))
    }

    fn some_pins(
        &self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, KernelError> {
        self.maps.some_pins(cursor, each)
    }

    fn sweep_pins(
        &mut self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, KernelError> {
        if self.takes_over() {
            // What the program before still counts is not in these counters yet.
            return self.some_pins(cursor, each);
        }
        if *cursor == Cursor::default() {
            self.books = Some(ledger::open(&self.maps)?);
        }
        let mut present = 0;
        let ended = self.maps.some_pins(cursor, &mut |key, pin| {
            present += 1;
            each(key, pin);
        })?;
        if let Some(books) = &mut self.books {
            books.present += present;
        }
        if let Some(books) = self.books.take_if(|_| ended) {
            ledger::close(&mut self.maps, &books)?;
        }
        Ok(ended)
    }

    fn whois(&mut self, question: &Question) -> Result<Trace, KernelError> {
        self.tell(&question.frame())
    }

    fn unpin(&mut self, pins: &[(FlowKey, Pin)]) -> Result<(), KernelError> {
        ledger::remove(&mut self.maps, pins)
    }
}

/// The mode that aya calls by another name.
impl From<Mode> for XdpMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Native => Self::Driver,
            Mode::Generic => Self::Skb,
        }
    }
}

/// Sums of one backend over all CPUs.
fn sum(values: impl Iterator<Item = BackendCounters>) -> BackendCounters {
    values.fold(BackendCounters::default(), BackendCounters::plus)
}
