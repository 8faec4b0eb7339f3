//! The daemon's core on maps in the kernel, and beside it the model: both meet the same events.
//!
//! Time is the test's own. The program stamps its pins by the kernel's clock, so a pin is shown to
//! the core with the tick at which the model last saw its flow.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use lb_common::{
    address::Address,
    backend::{Macs, index},
    counters::AudienceCounters,
    flow::{FlowKey, Pin},
    maps::{PROGRAM, aside},
    reason::Reason,
    signal::{self, Breaker},
    trace::Trace,
};
use lb_userspace::{
    config::Config,
    control::{Control, ControlError, Parts, node},
    dataplane::{
        Counters, Cursor, Dataplane, Image, Write,
        kernel::{Kernel, KernelError, Settings, detach},
        question::Question,
        signals::Signals,
    },
    health::{Name, Verdict},
    object,
    release::Mapping as Ordered,
    state::{Admin, BackendState, State, StateFile},
};
use serin_tests::{
    netns::{Entered, Namespace},
    unique,
};
use tempfile::TempDir;

use super::{
    event::{Event, Header, Id, Kind, Packet},
    reference::{Fate, Flow, Mapping, Model, Role, Server, Service},
    site::{DRAIN_TICKS, ID_LENGTH, QUIC, ROTATION, SERVICES, Site, name, server_id, view, vip},
};
use crate::{
    frame::{Frame, flag},
    quic::{HANDSHAKE_1, INITIAL_1, SMALLEST},
    quic_lb::{cid, long, short},
    world::{Family, client},
};

/// The flow table of the kernel and what the core did to it.
#[derive(Default)]
struct Book {
    image: Image,
    seen: HashMap<FlowKey, u32>,
    removed: Vec<FlowKey>,
}

/// The kernel, by the test's clock.
struct Clocked {
    kernel: Kernel,
    book: Arc<Mutex<Book>>,
}

/// Both of them.
pub struct World {
    control: Option<Control<Clocked>>,
    book: Arc<Mutex<Book>>,
    model: Model,
    site: Site,
    tick: u32,
    began: Instant,
    tally: Tally,
    fates: Fates,
    pins: PathBuf,
    directory: TempDir,
    // In this order: the thread goes home, then its namespace goes.
    _inside: Entered,
    _namespace: Namespace,
}

/// What came to pass in a case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub packets: u64,
    /// Those of QUIC, whose ids may tell their server: they need no pins.
    pub quic: u64,
    /// Packets that found a pin of their connection, or left one.
    pub pinned: u64,
    /// Those that it sent elsewhere than the origin.
    pub by_pin: u64,
    /// Those of QUIC that their id sent elsewhere than the release would have.
    pub by_id: u64,
    /// Packets whose server had left the configuration.
    pub left: u64,
    /// Packets that were not sent, since the model has no answer for them.
    pub unclear: u64,
    /// Packets that no backend got.
    pub dropped: u64,
    /// Orders that were carried out.
    pub orders: u64,
}

impl Tally {
    /// Adds another case's.
    pub const fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.quic += other.quic;
        self.pinned += other.pinned;
        self.by_pin += other.by_pin;
        self.by_id += other.by_id;
        self.left += other.left;
        self.unclear += other.unclear;
        self.dropped += other.dropped;
        self.orders += other.orders;
    }
}

/// How often a packet had each fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fates {
    to: u64,
    empty: u64,
    lost: u64,
}

/// So far from the real time that no real pause is seen.
const FAR: Duration = Duration::from_hours(24);
const FIRST_TICK: u32 = 1000;
const TICK: Duration = Duration::from_nanos(1 << 30);

impl World {
    /// Both at rest.
    pub fn new() -> Self {
        let namespace = Namespace::create("model").expect("root makes namespaces");
        let inside = namespace.enter().expect("root enters namespaces");
        let pins = Path::new("/sys/fs/bpf").join(unique::name());
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory for files");
        let site = Site::new();
        let config = Config::parse(&site.text(directory.path(), &pins)).expect("a good site");
        let services = (0..SERVICES).map(|service| Service {
            by_client: service == 1,
            drain_ticks: DRAIN_TICKS,
            ..Service::default()
        });
        let mut world = Self {
            control: None,
            book: Arc::default(),
            model: Model {
                node: node(&config),
                services: services.collect(),
                pins: HashMap::new(),
                backends: HashMap::new(),
                servers: HashMap::new(),
            },
            site,
            tick: FIRST_TICK,
            began: Instant::now() + FAR,
            tally: Tally::default(),
            fates: Fates::default(),
            pins,
            directory,
            _inside: inside,
            _namespace: namespace,
        };
        world.restart().expect("the first start");
        world.follow();
        world
    }

    /// What has come to pass.
    pub const fn tally(&self) -> Tally {
        Tally {
            dropped: self.fates.empty + self.fates.lost,
            ..self.tally
        }
    }

    /// Lets both meet an event; says where they part.
    pub fn meet(&mut self, event: &Event) -> Result<(), String> {
        if let Event::Packet(packet) = event {
            return self.send(packet);
        }
        self.compare()?;
        let outcome = self.order(event);
        if let Event::Apply {
            service,
            backend,
            there,
        } = event
            && outcome.is_err()
        {
            self.site.there[*service][*backend] = !there;
        }
        match outcome {
            Err(
                error @ (ControlError::Kernel(_)
                | ControlError::File(_)
                | ControlError::Unfinished(_)),
            ) => return Err(format!("{event:?}: {error}")),
            Ok(()) => {
                self.tally.orders += 1;
                self.obeyed(event)?;
            }
            // Orders at random are often refused.
            Err(_) => {}
        }
        self.follow();
        if let Event::Pass { .. } = event {
            self.settle().map_err(|said| format!("{event:?}: {said}"))?;
        }
        self.sweep().map_err(|said| format!("{event:?}: {said}"))
    }

    fn order(&mut self, event: &Event) -> Result<(), ControlError> {
        let tick = self.tick;
        match *event {
            Event::Packet(_) => Ok(()),
            Event::Share { service, pool, ppm } => {
                let to = format!("p{pool}");
                let control = self.control();
                control
                    .share(&name(service), ppm, Some(&to), tick)
                    .map(drop)
            }
            Event::Cutover { service, pool } => {
                let to = format!("p{pool}");
                let control = self.control();
                control
                    .cutover(&name(service), Some(&to), "", tick)
                    .map(drop)
            }
            Event::Rollback { service } => self.control().rollback(&name(service), tick).map(drop),
            Event::Weight {
                service,
                backend,
                weight,
            } => {
                let control = self.control();
                let done = control.weight(&name(service), &server(backend), weight, tick);
                done.map(drop)
            }
            Event::Admin {
                service,
                backend,
                admin,
            } => {
                let control = self.control();
                let done = control.admin(&name(service), &server(backend), admin, tick);
                done.map(drop)
            }
            Event::Health {
                service,
                backend,
                up,
            } => {
                let name = Name {
                    service: name(service),
                    backend: server(backend),
                };
                self.control()
                    .health(&[(name, Verdict::plain(up))].into(), tick)
                    .map(drop)
            }
            Event::Apply {
                service,
                backend,
                there,
            } => {
                self.site.there[service][backend] = there;
                let config = Config::parse(&self.text())?;
                self.control().apply(config, view(), false, tick).map(drop)
            }
            Event::Pass { ticks } => {
                self.tick += ticks;
                let (tick, now) = (self.tick, self.now());
                self.control().tend(tick, now)?;
                while self.control().is_sweeping() {
                    self.control().tend(tick, now)?;
                }
                Ok(())
            }
            Event::Restart => self.restart(),
        }
    }

    /// What an order that was not refused must have led to.
    fn obeyed(&mut self, event: &Event) -> Result<(), String> {
        let holds = match *event {
            Event::Share { service, pool, ppm } => {
                let (now, pool) = self.position(service, pool);
                now.share_ppm == ppm && (ppm == 0 || now.candidate == pool)
            }
            Event::Cutover { service, pool } => {
                let (now, pool) = self.position(service, pool);
                now.share_ppm == 0 && now.active == pool
            }
            Event::Rollback { service } => self.position(service, 0).0.share_ppm == 0,
            Event::Packet(_)
            | Event::Weight { .. }
            | Event::Admin { .. }
            | Event::Health { .. }
            | Event::Apply { .. }
            | Event::Pass { .. }
            | Event::Restart => true,
        };
        if holds {
            return Ok(());
        }
        Err(format!("{event:?} was done, but was not"))
    }

    fn position(&mut self, service: usize, pool: usize) -> (Ordered, u32) {
        let state = &self.control().state().services[&name(service)];
        let pool = &state.pools[&format!("p{pool}")];
        (state.position.now, pool.id)
    }

    /// The core ends, and another takes over.
    fn restart(&mut self) -> Result<(), ControlError> {
        self.control = None;
        let config = Config::parse(&self.text())?;
        let mut kernel = Kernel::open(&Settings {
            object: object::SERIN,
            program: PROGRAM,
            pins: &self.pins,
            node: node(&config),
            flows: config.node.connections,
            moving: false,
            sparing: true,
        })?;
        kernel.load_aside(aside::SERVER)?;
        let image = kernel.image()?;
        let saved = StateFile::new(&config.node.state).load()?;
        let dataplane = Clocked {
            kernel,
            book: Arc::clone(&self.book),
        };
        book(&self.book).image = image.clone();
        let parts = Parts {
            config,
            source: PathBuf::new(),
            saved: saved.unwrap_or_default(),
            image,
            view: view(),
            dataplane,
            takes_over: false,
        };
        self.control = Some(Control::start(parts, self.tick)?);
        Ok(())
    }

    fn text(&self) -> String {
        self.site.text(self.directory.path(), &self.pins)
    }

    /// The model takes in what was ordered and who owns which slot; what follows it works out.
    fn follow(&mut self) {
        let tick = self.tick;
        let state: State = self.control().state().clone();
        for (number, service) in self.model.services.iter_mut().enumerate() {
            let state = &state.services[&name(number)];
            let now = state.position.now;
            let mapping = Mapping {
                active: now.active,
                candidate: now.candidate,
                share_ppm: now.share_ppm,
                salt: now.salt,
            };
            if service.pools.is_empty() {
                (service.now, service.origin) = (mapping, mapping);
            }
            service.release(mapping, tick);
            let is_cut = |id: u16| {
                let backend = state.backends.get(&id);
                backend.is_none_or(|backend| backend.admin == Admin::Maint || !backend.up)
            };
            if number == QUIC {
                self.model.servers = servers(&state.backends);
            }
            for pool in state.pools.values() {
                let slots = pool.table.slots().slots();
                let owners = slots.map(lb_common::pool::Slot::current).collect();
                service.deal(pool.id, owners, is_cut, tick);
            }
        }
        let book = book(&self.book);
        let of_v4 = book
            .image
            .backends
            .iter()
            .filter(|(index, _)| *index % 2 == 0);
        self.model.backends = of_v4
            .map(|(index, backend)| {
                (
                    u16::try_from(index >> 1).expect("an id"),
                    backend.generation(),
                )
            })
            .collect();
    }

    /// What the core has settled must have stood for long enough.
    fn settle(&mut self) -> Result<(), String> {
        let tick = self.tick;
        let state: State = self.control().state().clone();
        for (number, service) in self.model.services.iter_mut().enumerate() {
            let state = &state.services[&name(number)];
            if state.position.changed.is_none() && service.changed.is_some() {
                service.settle(tick)?;
            }
            for pool in state.pools.values() {
                let known = &service.pools[&pool.id];
                if !pool.table.is_moving() && known.current != known.origin {
                    service.settle_pool(pool.id, tick)?;
                }
            }
        }
        Ok(())
    }

    /// What the core has taken out of the flow table must have been of no use.
    fn sweep(&mut self) -> Result<(), String> {
        let removed = std::mem::take(&mut book(&self.book).removed);
        let by_key: HashMap<FlowKey, Flow> = self.keys();
        for key in removed {
            let Some(flow) = by_key.get(&key) else {
                continue;
            };
            let pin = self.model.pins.remove(flow).expect("it has a key");
            if !self.model.may_go(flow, &pin, self.tick) {
                return Err(format!("{pin:?} of {flow:?} was removed at {}", self.tick));
            }
        }
        Ok(())
    }

    fn send(&mut self, packet: &Packet) -> Result<(), String> {
        let (flow, frame) = describe(packet);
        let (role, id) = (role(packet), id(packet));
        if self.model.is_unclear(&flow, role, id.as_deref()) {
            self.tally.unclear += 1;
            return Ok(());
        }
        self.tally.left += u64::from(self.model.is_left(id.as_deref()));
        let origin = self.model.origin(&flow);
        let fate = self.model.pass(flow, role, id.as_deref(), self.tick);
        self.count(&flow, role, (fate, origin));
        if let Some(pin) = self.model.pins.get(&flow) {
            let mut book = book(&self.book);
            let key = key(&book.image, &flow);
            book.seen.insert(key, pin.seen);
        }
        let ran = self.control().dataplane().kernel.test_run(&frame.bytes());
        let (action, out) = ran.map_err(|error| error.to_string())?;
        let expected = self.expected(fate, packet.family);
        let found = (action == 3).then(|| macs(&out));
        if action != 1 && action != 3 || found != expected {
            return Err(format!(
                "{packet:?} should be {fate:?} ({expected:?}), but was {found:?} (action {action})"
            ));
        }
        match fate {
            Fate::To(_) => self.fates.to += 1,
            Fate::Empty => self.fates.empty += 1,
            Fate::Lost => self.fates.lost += 1,
        }
        Ok(())
    }

    fn count(&mut self, flow: &Flow, role: Role, (fate, origin): (Fate, u16)) {
        let elsewhere = matches!(fate, Fate::To(id) if id != origin);
        let is_pinned = self.model.pins.contains_key(flow);
        let goes_on = matches!(role, Role::GoesOn | Role::Closes) && elsewhere;
        self.tally.packets += 1;
        self.tally.quic += u64::from(flow.service == QUIC);
        self.tally.pinned += u64::from(is_pinned);
        let by_id = flow.service == QUIC && !is_pinned;
        self.tally.by_pin += u64::from(goes_on && !by_id);
        self.tally.by_id += u64::from(goes_on && by_id);
    }

    /// The addresses of the frame that leaves.
    fn expected(&self, fate: Fate, family: Family) -> Option<Macs> {
        let Fate::To(id) = fate else {
            return None;
        };
        let index = index(id, family == Family::V6);
        Some(book(&self.book).image.backends[&index].next_hop().macs())
    }

    /// The flow table and the counters are what the model says.
    pub fn compare(&mut self) -> Result<(), String> {
        let mut found = HashMap::new();
        let kernel = &self.control().dataplane().kernel;
        let each = kernel.each_pin(&mut |key, pin| {
            let marks = (pin.is_closing(), pin.is_half_open());
            found.insert(key, (pin.backend(), pin.generation(), marks));
        });
        each.map_err(|error| error.to_string())?;
        for (key, flow) in self.keys() {
            let pin = self.model.pins[&flow];
            let expected = (pin.backend, pin.generation, (pin.closing, pin.half_open));
            let kept = found.remove(&key);
            if kept != Some(expected) {
                return Err(format!(
                    "the pin of {flow:?} should be {expected:?}, and is {kept:?}"
                ));
            }
        }
        if let Some(pin) = found.iter().next() {
            return Err(format!("a pin that nobody expects: {pin:?}"));
        }
        let counted = self.counted().map_err(|error| error.to_string())?;
        if counted == self.fates {
            return Ok(());
        }
        Err(format!(
            "{:?} became {counted:?} by the counters",
            self.fates
        ))
    }

    fn counted(&mut self) -> Result<Fates, KernelError> {
        let counters = self.control().dataplane().counters(&[], &[])?;
        let count = |wanted| {
            let mut counters = counters.reasons.iter();
            let found = counters.find(|(reason, _)| *reason == wanted);
            found.map_or(0, |(_, count)| *count)
        };
        Ok(Fates {
            to: count(Reason::Transmitted),
            empty: count(Reason::EmptyPool),
            lost: count(Reason::NoBackend),
        })
    }

    /// The model's pins by their keys in the kernel.
    fn keys(&self) -> HashMap<FlowKey, Flow> {
        let book = book(&self.book);
        let flows = self.model.pins.keys();
        flows.map(|flow| (key(&book.image, flow), *flow)).collect()
    }

    fn control(&mut self) -> &mut Control<Clocked> {
        self.control.as_mut().expect("started")
    }

    fn now(&self) -> Instant {
        self.began + TICK * (self.tick - FIRST_TICK)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.control = None;
        if let Err(error) = detach(&self.pins) {
            eprintln!("{} is left behind: {error}", self.pins.display());
        }
    }
}

impl Dataplane for Clocked {
    fn write(&mut self, write: &Write) -> Result<Option<SystemTime>, KernelError> {
        let stored = self.kernel.write(write)?;
        book(&self.book).image.apply(write);
        Ok(stored)
    }

    fn wait_for_packets(&mut self) -> Result<(), KernelError> {
        self.kernel.wait_for_packets()
    }

    fn counters(&self, backends: &[u16], pools: &[u32]) -> Result<Counters, KernelError> {
        self.kernel.counters(backends, pools)
    }

    fn audience_counters(
        &self,
        numbers: &[u32],
    ) -> Result<BTreeMap<u32, AudienceCounters>, KernelError> {
        self.kernel.audience_counters(numbers)
    }

    fn signals(&self, service: u32) -> Result<Signals, KernelError> {
        self.kernel.signals(service)
    }

    fn backend_signals(
        &self,
        backends: &[u16],
    ) -> Result<BTreeMap<u16, signal::Tally>, KernelError> {
        self.kernel.backend_signals(backends)
    }

    fn breaker(&self, service: u32) -> Result<Breaker, KernelError> {
        self.kernel.breaker(service)
    }

    fn some_pins(
        &self,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(FlowKey, Pin),
    ) -> Result<bool, KernelError> {
        let book = book(&self.book);
        self.kernel.some_pins(cursor, &mut |key, pin| {
            let seen = book.seen.get(&key).copied().unwrap_or(0);
            let dated = Pin::new(pin.backend(), pin.generation(), seen);
            let dated = if pin.is_half_open() {
                dated.seen_half_open(seen, pin.is_closing())
            } else {
                dated.seen(seen, pin.is_closing())
            };
            each(key, dated);
        })
    }

    fn whois(&mut self, question: &Question) -> Result<Trace, KernelError> {
        self.kernel.whois(question)
    }

    fn unpin(&mut self, keys: &[FlowKey]) -> Result<(), KernelError> {
        book(&self.book).removed.extend(keys);
        self.kernel.unpin(keys)
    }
}

fn book(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is known by which id: all that could answer, and the one that is there rather than the one that
/// has left where both are the same server.
fn servers(backends: &BTreeMap<u16, BackendState>) -> HashMap<Vec<u8>, Server> {
    let known = backends.iter();
    let known = known.filter(|(_, backend)| backend.admin != Admin::Maint && backend.up);
    let mut known: Vec<_> = known.collect();
    known.sort_by_key(|(_, backend)| !backend.leaving);
    let id = |name: &str| {
        let number = name.trim_start_matches('b').parse();
        server_id(number.expect("a backend's name")).to_vec()
    };
    let server = |(&backend, state): (&u16, &BackendState)| Server {
        backend,
        leaving: state.leaving,
    };
    let known = known.into_iter();
    known
        .map(|(key, state)| (id(&state.name), server((key, state))))
        .collect()
}

fn server(backend: usize) -> String {
    format!("b{backend}")
}

/// A packet as the model sees it, and as the program does.
fn describe(packet: &Packet) -> (Flow, Frame) {
    let mut from = client(packet.family, packet.client);
    from.set_port(packet.port);
    let to = vip(packet.service, packet.family);
    let (protocol, frame) = match packet.kind {
        Kind::Tcp(flags) => (6, Frame::tcp(from, to, flags)),
        Kind::Udp => (17, Frame::udp(from, to)),
        Kind::Quic(header, told) => {
            let payload = payload(header, told);
            let frame = Frame::udp(from, to);
            (17, Frame { payload, ..frame })
        }
    };
    let flow = Flow {
        service: packet.service,
        client: Address::from(from.ip()),
        port: from.port(),
        vip: (Address::from(to.ip()), to.port()),
        protocol,
    };
    (flow, frame)
}

/// A packet of QUIC to a connection id.
fn payload(header: Header, told: Id) -> Vec<u8> {
    let id = match told {
        Id::Server(backend) => cid(ROTATION, &server_id(backend)),
        Id::Nobody => cid(ROTATION, &[0xee; ID_LENGTH]),
        Id::Nothing => cid(7, &[0xee; ID_LENGTH]),
    };
    match header {
        Header::Initial => long(INITIAL_1, &id, SMALLEST),
        Header::Handshake => long(HANDSHAKE_1, &id, 60),
        Header::Short => short(&id),
    }
}

/// What a packet's connection id says of its server.
fn id(packet: &Packet) -> Option<Vec<u8>> {
    match packet.kind {
        Kind::Quic(_, Id::Server(backend)) => Some(server_id(backend).to_vec()),
        Kind::Quic(_, Id::Nobody | Id::Nothing) | Kind::Tcp(_) | Kind::Udp => None,
    }
}

const fn role(packet: &Packet) -> Role {
    match packet.kind {
        Kind::Udp => Role::Datagram,
        Kind::Quic(Header::Initial, _) => Role::Initial,
        Kind::Tcp(flags) if flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN => Role::Opens,
        Kind::Tcp(flags) if flags & (flag::FIN | flag::RST) != 0 => Role::Closes,
        Kind::Tcp(_) | Kind::Quic(Header::Handshake | Header::Short, _) => Role::GoesOn,
    }
}

/// The flow's key in the kernel's table.
fn key(image: &Image, flow: &Flow) -> FlowKey {
    let (address, port) = flow.vip;
    let vip = lb_common::listener::Endpoint::new(address, port.to_be_bytes(), flow.protocol);
    FlowKey::new(
        flow.client,
        flow.port.to_be_bytes(),
        image.listeners[&vip].id(),
    )
}

fn macs(frame: &[u8]) -> Macs {
    let six = |at: usize| [0, 1, 2, 3, 4, 5].map(|n| frame[at + n]);
    Macs::new(six(0), six(6))
}
