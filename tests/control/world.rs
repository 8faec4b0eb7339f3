//! A core at work on a site: orders, time, faults and restarts, and what must hold after each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb_common::{address::Address, flow::tick, pool::Slot, release::Record};
use lb_userspace::{
    api::{
        model::{CutoverOrder, Done, Line, Status, TogetherOrder},
        toggles::Toggled,
    },
    control::{Control, ControlError, Parts, Together, node},
    dataplane::{Image, Table},
    health::{Name, Verdict, Verdicts},
    release::engine::Event,
    state::{Admin, State, StateFile},
};
use tempfile::TempDir;

use crate::{
    clients::{Client, Habit},
    site::{Door, Site, view},
    twin::Twin,
};

/// A core, the edge that it controls, and a clock.
pub struct World {
    pub site: Site,
    pub twin: Twin,
    directory: TempDir,
    control: Option<Control<Twin>>,
    addresses: BTreeSet<IpAddr>,
    began: (u64, Instant),
}

/// By how much the world's clock is ahead of the real one, by which the core tells how long a sweep has
/// taken: on a slow machine that would put the next one off for minutes.
const AHEAD: Duration = Duration::from_hours(1);

/// Clients of each VIP and habit.
const CLIENTS: u8 = 5;

impl World {
    /// Starts the core on an empty edge.
    pub fn new(site: Site) -> Self {
        let directory = memory_backed();
        let config = site.config(directory.path()).expect("a good site");
        let twin = Twin::new(node(&config));
        let began = (twin.edge().now, Instant::now() + AHEAD);
        let mut world = Self {
            site,
            twin,
            directory,
            control: None,
            addresses: BTreeSet::new(),
            began,
        };
        world.populate();
        world.restart().expect("the first start");
        world
    }

    /// The core, for orders that need no care.
    pub fn control(&mut self) -> &mut Control<Twin> {
        self.control.as_mut().expect("started")
    }

    pub fn state(&self) -> &State {
        self.control.as_ref().expect("started").state()
    }

    /// Its parts, for a daemon around the core.
    pub fn dissolve(self) -> (Control<Twin>, Twin, TempDir) {
        let control = self.control.expect("started");
        (control, self.twin, self.directory)
    }

    pub fn state_file(&self) -> PathBuf {
        self.directory.path().join("state.json")
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn image(&self) -> Image {
        self.twin.edge().memory.image.clone()
    }

    pub fn writes(&self) -> usize {
        self.twin.edge().memory.writes.len()
    }

    pub fn pins(&self) -> usize {
        self.twin.edge().memory.pins.len()
    }

    /// The live record of a service.
    pub fn record(&self, service: &str) -> Record {
        self.stored(service).expect("stored")
    }

    /// The live record of a service, unless an order that adds it is unfinished.
    pub fn stored(&self, service: &str) -> Option<Record> {
        let id = self.state().services[service].id;
        self.twin.edge().memory.image.records.get(&id).copied()
    }

    pub fn tick(&self) -> u32 {
        tick(self.twin.edge().now)
    }

    pub fn share(
        &mut self,
        service: &str,
        ppm: u32,
        to: Option<&str>,
    ) -> Result<Done, ControlError> {
        let tick = self.tick();
        self.control().share(service, ppm, to, tick)
    }

    pub fn cutover(&mut self, service: &str, to: Option<&str>) -> Result<Done, ControlError> {
        let tick = self.tick();
        self.control().cutover(service, to, "", tick)
    }

    /// As `serin cutover` does: by the service's blue-green release if it has one.
    pub fn cut_over(&mut self, service: &str, order: &CutoverOrder) -> Result<Done, ControlError> {
        let tick = self.tick();
        self.control().cut_over(service, order, tick)
    }

    pub fn cut_over_together(&mut self, services: &[&str]) -> Result<Together, ControlError> {
        self.cut_over_together_at(services, None)
    }

    /// The same, not before a time.
    pub fn cut_over_together_at(
        &mut self,
        services: &[&str],
        at_ms: Option<u64>,
    ) -> Result<Together, ControlError> {
        let tick = self.tick();
        let order = TogetherOrder {
            services: services.iter().map(|&service| service.to_owned()).collect(),
            at_ms,
            ..TogetherOrder::default()
        };
        self.control().cut_over_together(&order, tick)
    }

    /// The time of day so many seconds from now, in milliseconds since the epoch.
    pub fn at_ms(&self, seconds: u64) -> u64 {
        let edge = self.twin.edge();
        let now_ms = (edge.now / 1_000_000).saturating_add_signed(edge.wall_ms);
        now_ms + seconds * 1000
    }

    pub fn rollback(&mut self, service: &str) -> Result<Done, ControlError> {
        let tick = self.tick();
        self.control().rollback(service, tick)
    }

    /// Begins the configured release.
    pub fn start(&mut self, service: &str, replace: bool) -> Result<Done, ControlError> {
        let tick = self.tick();
        self.control()
            .start_release(service, None, replace, None, tick)
    }

    pub fn steer(&mut self, service: &str, event: &Event) -> Result<Done, ControlError> {
        let tick = self.tick();
        self.control().steer(service, event, "", tick)
    }

    pub fn abort(&mut self, service: &str) -> Result<Done, ControlError> {
        let tick = self.tick();
        self.control().abort(service, "enough", tick)
    }

    pub fn weight(
        &mut self,
        service: &str,
        backend: u8,
        weight: u32,
    ) -> Result<Done, ControlError> {
        let tick = self.tick();
        self.control()
            .weight(service, &format!("b{backend}"), weight, tick)
    }

    /// In `maint`, the backend's connections are cut.
    pub fn admin(
        &mut self,
        service: &str,
        backend: u8,
        admin: Admin,
    ) -> Result<Done, ControlError> {
        let tick = self.tick();
        if admin == Admin::Maint {
            let of_service = self.site.services.iter().filter(|s| s.name() == service);
            let addresses = of_service
                .flat_map(|s| s.addresses(backend))
                .map(Address::from);
            let addresses: Vec<_> = addresses.collect();
            self.twin.edge().cut.extend(addresses);
        }
        self.control()
            .admin(service, &format!("b{backend}"), admin, tick)
    }

    /// What the checks say of a service's backends. The connections of those that are down are cut.
    pub fn health(&mut self, service: &str, said: &[(u8, bool)]) -> Result<(), ControlError> {
        let of_service = self.site.services.iter().find(|s| s.name() == service);
        let down = said.iter().filter(|(_, up)| !up);
        let cut = down.filter_map(|&(backend, _)| of_service.map(|s| s.addresses(backend)));
        let cut: Vec<_> = cut.flatten().map(Address::from).collect();
        self.twin.edge().cut.extend(cut);
        let (verdicts, tick) = (verdicts(service, said), self.tick());
        self.control().health(&verdicts, tick)
    }

    /// Follows what the checks say of a service's backends once a second, and does what is due, as the
    /// daemon does; so many seconds.
    pub fn attend(&mut self, service: &str, said: &[(u8, bool)], seconds: u64) {
        let verdicts = verdicts(service, said);
        for _ in 0..seconds {
            let (tick, instant) = (self.tick(), self.instant());
            self.control().attend(&verdicts, tick, instant);
            self.twin.edge().now += nanoseconds(Duration::from_secs(1));
        }
    }

    /// Turns a toggle.
    pub fn turn(&mut self, toggle: &str, on: bool) -> Result<Toggled, ControlError> {
        let tick = self.tick();
        self.control().turn(toggle, on, "", tick)
    }

    /// Takes another site; tells the writes.
    pub fn apply(&mut self, site: Site) -> Result<Vec<String>, ControlError> {
        let applied = self.offer(&site, false);
        if is_in_force(&applied) {
            self.site = site;
        }
        applied
    }

    /// Tells what another site would take, or takes it.
    pub fn offer(&mut self, site: &Site, dry_run: bool) -> Result<Vec<String>, ControlError> {
        let config = site.config(self.directory.path())?;
        self.know(site);
        let tick = self.tick();
        let view = view(&self.addresses);
        let (before, after) = (self.site.endpoints(), site.endpoints());
        self.twin.edge().expected = &before & &after;
        let applied = self.control().apply(config, view, dry_run, tick);
        let both = &before & &after;
        self.twin.edge().expected = match &applied {
            Ok(_) if !dry_run => after,
            // What is left of it comes with the next tick.
            Err(ControlError::Unfinished(_)) => both,
            Ok(_) | Err(_) => before,
        };
        applied
    }

    /// Ends the core, and starts one from the state file and the maps.
    pub fn restart(&mut self) -> Result<(), ControlError> {
        self.control = None;
        self.know(&self.site.clone());
        let text = self.site.text(self.directory.path());
        let source = self.directory.path().join("serin.toml");
        fs::write(&source, text).expect("a place for the configuration");
        let config = self.site.config(self.directory.path())?;
        let saved = StateFile::new(&config.node.state).load()?;
        self.twin.edge().expected = &self.listening() & &self.site.endpoints();
        let parts = Parts {
            config,
            source,
            saved: saved.unwrap_or_default(),
            image: self.image(),
            view: view(&self.addresses),
            dataplane: self.twin.clone(),
            takes_over: false,
        };
        self.control = Some(Control::start(parts, self.tick())?);
        self.twin.edge().expected = self.site.endpoints();
        Ok(())
    }

    /// Ends the core as a crash does, by whoever caught it. What the program has begun with it ends
    /// long before another process has started, which waits for that as well.
    pub fn abandon(&mut self) {
        self.control = None;
        let mut edge = self.twin.edge();
        edge.arrive(|_| true);
        edge.forget_unused();
    }

    /// A reboot: the maps are gone, and the ticks begin anew.
    pub fn reboot(&mut self) {
        self.control = None;
        let config = self
            .site
            .config(self.directory.path())
            .expect("a good site");
        let clients = std::mem::take(&mut self.twin.edge().clients);
        self.twin = Twin::new(node(&config));
        let mut edge = self.twin.edge();
        edge.now = 0;
        edge.clients = clients;
        edge.clients
            .iter_mut()
            .for_each(|client| client.connection = None);
        drop(edge);
        self.began = (0, Instant::now() + AHEAD);
        self.set_drain();
    }

    /// Now, for who counts from the world's beginning.
    fn instant(&self) -> Instant {
        let (began, instant) = self.began;
        instant + Duration::from_nanos(self.twin.edge().now - began)
    }

    /// Does what is due now.
    pub fn tend(&mut self) -> Result<Option<Duration>, ControlError> {
        let (tick, instant) = (self.tick(), self.instant());
        let mut pause = self.control().tend(tick, instant)?;
        while self.control().is_sweeping() {
            pause = self.control().tend(tick, instant)?;
        }
        self.twin.edge().expected = self.site.endpoints();
        Ok(pause)
    }

    /// Does what is due now, of a sweep the next slice alone; true while the sweep goes on.
    pub fn tend_a_slice(&mut self) -> bool {
        let (tick, instant) = (self.tick(), self.instant());
        self.control().tend(tick, instant).expect("tended");
        self.control().is_sweeping()
    }

    /// Lets time pass, with everything that is due in it.
    pub fn pass(&mut self, time: Duration) -> Result<(), ControlError> {
        let end = self.twin.edge().now + nanoseconds(time);
        loop {
            let pause = self.tend()?;
            let mut edge = self.twin.edge();
            edge.talk();
            if edge.now == end {
                return Ok(());
            }
            let woken = pause.map(|pause| edge.now + nanoseconds(pause));
            let next = [woken, edge.next_due(), Some(end)]
                .into_iter()
                .flatten()
                .min();
            edge.now = next.unwrap_or(end).clamp(edge.now + 1, end);
        }
    }

    /// Closes all connections, and lets time pass until nothing is left to do.
    pub fn calm_down(&mut self) -> Result<(), ControlError> {
        self.twin.edge().leave();
        for _ in 0..10 {
            self.pass(Duration::from_secs(30))?;
            if self.tend()?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    pub fn list(&mut self) -> Vec<Line> {
        self.control().list()
    }

    pub fn status(&mut self, service: &str) -> Status {
        let tick = self.tick();
        self.control().status(service, tick).expect("a status")
    }

    /// What went wrong since the last question.
    pub fn problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.twin.edge().problems)
    }

    /// Connections that are established.
    pub fn connections(&self) -> usize {
        let edge = self.twin.edge();
        let clients = edge.clients.iter();
        clients.filter(|client| client.connection.is_some()).count()
    }

    fn know(&mut self, site: &Site) {
        let config = site.config(self.directory.path()).expect("a good site");
        let pools = config.services.iter().flat_map(|service| &service.pools);
        let places = pools.flat_map(|pool| {
            pool.backends
                .iter()
                .flat_map(lb_userspace::config::Backend::places)
        });
        self.addresses.extend(places.map(|place| place.address));
    }

    fn listening(&self) -> BTreeSet<lb_common::listener::Endpoint> {
        self.twin
            .edge()
            .memory
            .image
            .listeners
            .keys()
            .copied()
            .collect()
    }

    /// Clients of every VIP that this site or a later one may have.
    fn populate(&mut self) {
        let habits = [Habit::Talks, Habit::Quiet, Habit::Short, Habit::Reopens];
        let services = 0..3_u8;
        let vips = services.flat_map(|service| Door::ALL.map(|door| door.endpoint(service)));
        let mut clients = Vec::new();
        for vip in vips {
            for (number, habit) in (0..CLIENTS).flat_map(|n| habits.map(|habit| (n, habit))) {
                let number = number * 4 + habit as u8;
                clients.push(Client::new(number, vip, habit));
            }
        }
        self.twin.edge().clients = clients;
        self.set_drain();
    }

    fn set_drain(&self) {
        let drains = self.site.services.iter().map(|service| service.drain_s);
        self.twin.edge().drain = drains.min().unwrap_or(1) * 1_000_000_000;
    }
}

/// Whether an order counts, although some of it may be left to do.
fn is_in_force<T>(done: &Result<T, ControlError>) -> bool {
    matches!(done, Ok(_) | Err(ControlError::Unfinished(_)))
}

/// What packets can tell of an image: not where a table is, nor how often a record was stored.
#[derive(Debug, PartialEq)]
pub struct Behaviour {
    image: Image,
    tables: BTreeMap<u32, [Option<Table>; 4]>,
}

impl Behaviour {
    pub fn of(image: &Image) -> Self {
        let mut image = image.clone();
        let all = std::mem::take(&mut image.tables);
        let named = image.records.iter().map(|(&service, record)| {
            let tables = record.tables().map(|index| all.get(&index).cloned());
            (service, tables)
        });
        let tables = named.collect();
        for record in image.records.values_mut() {
            *record = Record {
                active: 0,
                candidate: 0,
                origin_active: 0,
                origin_candidate: 0,
                epoch: 0,
                ..*record
            };
        }
        Self { image, tables }
    }
}

/// Whether a service's tables and record say that nothing moves and nothing is pinned.
pub fn is_at_rest(image: &Image) -> bool {
    let records = image.records.values();
    let tables = image.tables.values();
    records
        .into_iter()
        .all(|record| !record.has(Record::MOVING) && record.touched_ppm == 0)
        && tables.into_iter().all(|table| {
            let settled = |slot: Slot| slot == Slot::settled(slot.current());
            table.slots().all(settled)
        })
}

/// Files that are synced cost nothing there.
fn memory_backed() -> TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory
        .or_else(|_| tempfile::tempdir())
        .expect("a directory for files")
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("centuries")
}

/// What the checks say of a service's backends.
fn verdicts(service: &str, said: &[(u8, bool)]) -> Verdicts {
    let verdict = |&(backend, up): &(u8, bool)| {
        let name = Name {
            service: service.to_owned(),
            backend: format!("b{backend}"),
        };
        (name, Verdict::plain(up))
    };
    said.iter().map(verdict).collect()
}
