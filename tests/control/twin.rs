//! The data plane in memory, with clients whose packets pass between any two writes, and with a
//! check of the whole after each.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use lb_common::{
    address::Address,
    backend::{self, NONE},
    counters::AudienceCounters,
    flow::{FlowKey, Pin},
    listener::Endpoint,
    maps::TABLES_PER_POOL,
    node::Node,
    signal::{Breaker, Tally},
    trace::Trace,
};
use lb_userspace::dataplane::{
    Counters, Cursor, Dataplane, Table, Write, choice::Choice, kernel::KernelError, memory::Memory,
    question::Question, signals::Signals,
};

use crate::clients::{Client, Habit, Packet, read, server, settle};

/// A handle, so that the data plane outlives the core that it is given to.
#[derive(Clone)]
pub struct Twin(Arc<Mutex<Edge>>);

/// What a crash unwinds with.
pub struct Crash;

/// Everything at the edge.
pub struct Edge {
    pub memory: Memory,
    pub clients: Vec<Client>,
    pub now: u64,
    /// How far the time of day is ahead of that, in milliseconds.
    pub wall_ms: i64,
    /// Nanoseconds after which a silent connection may be forgotten.
    pub drain: u64,
    /// VIPs that must be served: those of the configurations before and after an order.
    pub expected: BTreeSet<Endpoint>,
    /// Servers whose connections an order cuts.
    pub cut: BTreeSet<Address>,
    /// Crashes instead of the write with this number, counted from 0 since [`Edge::begin`].
    pub crash_at: Option<usize>,
    /// Fails the next wait for packets.
    pub fail_wait: bool,
    /// What went wrong.
    pub problems: Vec<String>,
    node: Node,
    begun: usize,
    failed: bool,
    under_way: Vec<(usize, Packet, Choice)>,
    turn: usize,
    /// What the kernel keeps of tables, named or not.
    tables: BTreeMap<u32, (Table, Names)>,
    /// Tables that a packet may still go by.
    in_use: BTreeSet<u32>,
    epochs: BTreeMap<u32, u64>,
}

/// The backends that a table names.
#[derive(Clone, Default)]
struct Names {
    current: BTreeSet<u16>,
    origin: BTreeSet<u16>,
}

/// One in so many clients has a packet under way while a write is made.
const UNDER_WAY: usize = 8;

impl Twin {
    pub fn new(node: Node) -> Self {
        Self(Arc::new(Mutex::new(Edge::new(node))))
    }

    pub fn edge(&self) -> MutexGuard<'_, Edge> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Edge {
    fn new(node: Node) -> Self {
        Self {
            memory: Memory::default(),
            clients: Vec::new(),
            now: 1_000_000_000_000,
            wall_ms: 1_800_000_000_000,
            drain: 0,
            expected: BTreeSet::new(),
            cut: BTreeSet::new(),
            crash_at: None,
            fail_wait: false,
            problems: Vec::new(),
            node,
            begun: 0,
            failed: false,
            under_way: Vec::new(),
            turn: 0,
            tables: BTreeMap::new(),
            in_use: BTreeSet::new(),
            epochs: BTreeMap::new(),
        }
    }

    /// An order begins; its write number `fail` fails.
    pub fn begin(&mut self, fail: Option<usize>) {
        self.begun = self.memory.writes.len();
        self.memory.fail_at = fail.map(|at| self.begun + at);
        self.failed = false;
        self.crash_at = None;
    }

    /// Writes of the order so far.
    pub fn written(&self) -> &[Write] {
        &self.memory.writes[self.begun..]
    }

    /// Every client whose habit it is says something.
    pub fn talk(&mut self) {
        for number in 0..self.clients.len() {
            let busy = self.under_way.iter().any(|(other, ..)| *other == number);
            if busy || !self.is_due(number) {
                continue;
            }
            let packet = self.clients[number].next();
            if let Some(choice) = self.look(number) {
                self.pass(number, packet, &choice);
            }
        }
    }

    /// All clients go away.
    pub fn leave(&mut self) {
        self.clients.clear();
        self.under_way.clear();
    }

    /// Whether some packet has read the maps and is not through.
    pub fn has_packets_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Time at which a quiet client must say something, if there is one.
    pub fn next_due(&self) -> Option<u64> {
        let quiet = self.clients.iter().filter(|c| c.habit == Habit::Quiet);
        let last = quiet.filter_map(|client| client.connection);
        last.map(|connection| connection.last + self.drain).min()
    }

    /// What the packet path would do, worked out from the image.
    fn tell(&self, question: &Question) -> Trace {
        let Question {
            client, listener, ..
        } = question;
        let image = &self.memory.image;
        let address = Address::from(client.ip());
        let port = client.port().to_be_bytes();
        let Some(choice) = image.choose(&self.node, listener, address, port) else {
            return Trace::default();
        };
        let (listener, record) = {
            let listener = image.listeners[listener];
            (listener, image.records[&listener.service()])
        };
        let pin = self
            .memory
            .pins
            .get(&FlowKey::new(address, port, listener.id()));
        let kept = pin.filter(|_| (choice.moving || choice.touched) && !question.opens);
        let chosen = match kept {
            Some(pin) => pin.backend(),
            None if question.opens => choice.current,
            None => choice.origin,
        };
        let mut trace = Trace {
            epoch: record.epoch,
            service: listener.service(),
            share_ppm: record.share_ppm,
            bucket: choice.bucket,
            table: choice.table,
            origin_table: choice.table,
            slot: choice.slot,
            listener: listener.id(),
            current: choice.current,
            origin: choice.origin,
            pin: kept.map_or(NONE, Pin::backend),
            chosen,
            ..Trace::default()
        };
        trace.mark(Trace::LISTENER | Trace::RECORD | Trace::ANSWER | Trace::CHOSEN | Trace::EXIT);
        for (mark, set) in [
            (Trace::MOVING, choice.moving),
            (Trace::TOUCHED, choice.touched),
            (Trace::PINNED, kept.is_some()),
        ] {
            if set {
                trace.mark(mark);
            }
        }
        trace
    }

    fn is_due(&self, number: usize) -> bool {
        let client = &self.clients[number];
        match client.connection {
            Some(connection) if client.habit == Habit::Quiet => {
                self.now >= connection.last + self.drain
            }
            _ => true,
        }
    }

    /// A packet reads the maps; nothing if its VIP is not ours any more.
    fn look(&mut self, number: usize) -> Option<Choice> {
        let client = &mut self.clients[number];
        let choice = read(&self.memory.image, &self.node, client);
        if choice.is_none() {
            if self.expected.contains(&client.vip) {
                let problem = format!("client {number}: {:?} meets a half", client.vip);
                self.problems.push(problem);
            }
            client.connection = None;
        }
        choice
    }

    /// A packet takes the flow step, and goes to its server.
    fn pass(&mut self, number: usize, packet: Packet, choice: &Choice) {
        let Self {
            memory,
            clients,
            now,
            ..
        } = self;
        let client = &mut clients[number];
        let chosen = settle(
            &memory.image,
            &mut memory.pins,
            client,
            packet,
            choice,
            *now,
        );
        let before = client.connection;
        let excused = !self.expected.contains(&client.vip)
            || before.is_some_and(|c| self.cut.contains(&c.server.address))
            || before.is_some_and(|c| c.last + self.drain < *now);
        let outcome = match server(&memory.image, client, chosen) {
            None => Err(format!("has no backend {chosen}")),
            Some(server) => {
                if packet == Packet::Opens {
                    let counted = memory.counters.backends.entry(chosen).or_default();
                    counted.connections += 1;
                }
                let arrived = client.arrived(packet, server, *now);
                arrived.map_err(|before| format!("went to {server:?}, and was at {before:?}"))
            }
        };
        if let Err(what) = outcome {
            client.connection = None;
            if !excused {
                let Client { vip, habit, .. } = client;
                let problem = format!(
                    "client {number} ({habit:?}) of {vip:?}: {packet:?} {what}, {choice:?}"
                );
                self.problems.push(problem);
            }
        }
    }

    /// Some packets read the maps now and take the flow step only after the next write, or later.
    fn depart(&mut self) {
        self.turn += 1;
        for number in 0..self.clients.len() {
            let mine = number % UNDER_WAY == self.turn % UNDER_WAY;
            let busy = self.under_way.iter().any(|(other, ..)| *other == number);
            if !mine || busy || !self.is_due(number) {
                continue;
            }
            let packet = self.clients[number].next();
            if let Some(choice) = self.look(number) {
                self.under_way.push((number, packet, choice));
            }
        }
    }

    /// Packets that were under way come out of the program.
    pub fn arrive(&mut self, which: impl Fn(usize) -> bool) {
        let (arriving, staying) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(number, ..)| which(*number));
        self.under_way = staying;
        let arriving: Vec<_> = arriving;
        for (number, packet, choice) in arriving {
            self.pass(number, packet, &choice);
        }
    }

    fn note(&mut self, write: &Write) {
        match write {
            Write::SetTable(index, table) => self.note_table(*index, table),
            Write::SetRecord(service, record) => {
                let last = self.epochs.insert(*service, record.epoch);
                if last.is_some_and(|last| last >= record.epoch) && !self.failed {
                    let epoch = record.epoch;
                    self.problems.push(format!("epoch {epoch} after {last:?}"));
                }
                self.in_use.extend(record.tables());
            }
            Write::RemoveRecord(service) => drop(self.epochs.remove(service)),
            Write::RemoveBackend(index) => {
                let id = u16::try_from(index >> 1).expect("an id");
                self.memory.counters.backends.remove(&id);
            }
            Write::AddPort(_)
            | Write::PutRecord(..)
            | Write::SetBackend(..)
            | Write::SetReply(..)
            | Write::SetServer(..)
            | Write::RemoveServer(_)
            | Write::SetListener(..)
            | Write::RemoveListener(_)
            | Write::RemoveTable(_)
            | Write::RemoveReply(_)
            | Write::SetBlock(..)
            | Write::SetAudiences(..)
            | Write::SetProtect(_)
            | Write::RemoveAudiences(_)
            | Write::RemoveBlock(_)
            | Write::ForgetAudience(_)
            | Write::RemovePort(_) => {}
        }
    }

    /// Packets go by the tables that live records name, and by no others any more.
    pub fn forget_unused(&mut self) {
        let Edge { memory, in_use, .. } = self;
        *in_use = memory
            .image
            .records
            .values()
            .flat_map(lb_common::release::Record::tables)
            .collect();
    }

    fn note_table(&mut self, index: u32, table: &Table) {
        let before = self.tables.get(&index);
        if before.is_some_and(|(before, _)| before == table) {
            return;
        }
        if self.in_use.contains(&index) {
            let problem = format!("table {index} is rewritten while packets go by it");
            self.problems.push(problem);
        }
        let mut names = Names::default();
        for slot in table.slots() {
            names.current.insert(slot.current());
            names.origin.insert(slot.origin());
        }
        names.current.remove(&NONE);
        names.origin.remove(&NONE);
        self.tables.insert(index, (table.clone(), names));
    }

    /// Whether a packet can meet a half.
    fn check(&mut self) {
        let image = &self.memory.image;
        let mut problems = Vec::new();
        for (vip, listener) in &image.listeners {
            let Some(record) = image.records.get(&listener.service()) else {
                problems.push(format!("{vip:?} has no record"));
                continue;
            };
            for index in record.tables() {
                let Some((_, names)) = self
                    .tables
                    .get(&index)
                    .filter(|_| image.tables.contains_key(&index))
                else {
                    problems.push(format!(
                        "{record:?} names table {index}, which is not there"
                    ));
                    continue;
                };
                let v6 = !vip.address().is_v4();
                let has = |id: u16, v6| image.backends.contains_key(&backend::index(id, v6));
                let lost = names.current.iter().filter(|&&id| !has(id, v6));
                let lost = lost.chain(
                    names
                        .origin
                        .iter()
                        .filter(|&&id| !has(id, v6) && !has(id, !v6)),
                );
                problems.extend(lost.map(|id| {
                    let pool = index / TABLES_PER_POOL;
                    format!("a table of pool {pool} names backend {id}, which has no entry")
                }));
            }
        }
        for server in image.servers.values() {
            let id = server.backend();
            if ![false, true]
                .iter()
                .any(|&v6| image.backends.contains_key(&backend::index(id, v6)))
            {
                problems.push(format!("an id tells backend {id}, which has no entry"));
            }
        }
        self.problems.extend(problems);
    }
}

impl Dataplane for Twin {
    fn write(&mut self, write: &Write) -> Result<Option<SystemTime>, KernelError> {
        let mut edge = self.edge();
        if edge.crash_at == Some(edge.written().len()) {
            drop(edge);
            resume_unwind(Box::new(Crash));
        }
        edge.depart();
        let stored = edge.memory.write(write);
        edge.failed |= stored.is_err();
        if stored.is_ok() {
            edge.note(write);
        }
        edge.check();
        edge.arrive(|number| number % 2 == 0);
        edge.talk();
        stored
    }

    fn wait_for_packets(&mut self) -> Result<(), KernelError> {
        let mut edge = self.edge();
        if edge.crash_at == Some(edge.written().len()) {
            drop(edge);
            resume_unwind(Box::new(Crash));
        }
        edge.arrive(|_| true);
        if std::mem::take(&mut edge.fail_wait) {
            edge.failed = true;
            return Err(KernelError::Injected);
        }
        edge.forget_unused();
        edge.talk();
        Ok(())
    }

    fn counters(&self, backends: &[u16], pools: &[u32]) -> Result<Counters, KernelError> {
        let edge = self.edge();
        let mut counters = edge.memory.counters(backends, pools)?;
        counters.backends.retain(|id, _| backends.contains(id));
        Ok(counters)
    }

    fn audience_counters(
        &self,
        numbers: &[u32],
    ) -> Result<BTreeMap<u32, AudienceCounters>, KernelError> {
        self.edge().memory.audience_counters(numbers)
    }

    fn signals(&self, service: u32) -> Result<Signals, KernelError> {
        self.edge().memory.signals(service)
    }

    fn backend_signals(&self, backends: &[u16]) -> Result<BTreeMap<u16, Tally>, KernelError> {
        self.edge().memory.backend_signals(backends)
    }

    fn breaker(&self, service: u32) -> Result<Breaker, KernelError> {
        self.edge().memory.breaker(service)
    }

    fn some_pins(
        &self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, KernelError> {
        self.edge().memory.some_pins(cursor, each)
    }

    fn whois(&mut self, question: &Question) -> Result<Trace, KernelError> {
        Ok(self.edge().tell(question))
    }

    fn clock_ms(&self) -> u64 {
        self.edge().now / 1_000_000
    }

    fn time_of_day_ms(&self) -> u64 {
        let edge = self.edge();
        (edge.now / 1_000_000).saturating_add_signed(edge.wall_ms)
    }

    fn unpin(&mut self, pins: &[(FlowKey, Pin)]) -> Result<(), KernelError> {
        self.edge().memory.unpin(pins)
    }
}
