//! One sequence of steps, and what must hold after each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use lb_userspace::{
    control::{ControlError, node},
    dataplane::kernel::KernelError,
    release::engine::Event,
    state::State,
};

use super::{
    expect::{Expect, GUARDED, STEPS},
    order::{Change, Order, Step, pick},
};
use crate::{
    site::{Service, Site},
    world::{Behaviour, World, is_at_rest},
};

/// A world, and what is expected of it.
pub struct Run {
    world: World,
    expected: BTreeMap<String, Expect>,
    /// Toggles that are off.
    off: BTreeSet<String>,
}

/// What must be as it was where an order fails.
struct Before {
    behaviour: Behaviour,
    state: State,
    file: serde_json::Value,
}

type Outcome = Result<(), ControlError>;

/// A release whose steps last until somebody lets it go on, with a toggle of the service's name.
fn release(service: &str) -> String {
    let steps = STEPS.iter().enumerate().map(|(number, ppm)| {
        let guard = match number {
            GUARDED => format!(", toggle = \"{service}\""),
            _ => String::new(),
        };
        format!("{{ share = \"{ppm}ppm\", approve = true{guard} }}")
    });
    let steps: Vec<_> = steps.collect();
    format!(
        "[service.release]\nsteps = [{}]\n[[toggle]]\nname = \"{service}\"\non = true\n",
        steps.join(", ")
    )
}

impl Run {
    pub fn new() -> Self {
        let mut site = Site::new(&[&[2, 2, 1], &[1, 1]]);
        for service in &mut site.services {
            service.tables = release(&service.name());
        }
        let world = World::new(site);
        let names = world.site.services.iter().map(Service::name);
        let expected = names.map(|name| (name, Expect::new("p0"))).collect();
        Self {
            world,
            expected,
            off: BTreeSet::new(),
        }
    }

    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        let before = self.before();
        let expected = self.expected.clone();
        {
            let mut edge = self.world.twin.edge();
            edge.begin(step.fail);
            edge.talk();
        }
        let outcome = self.carry_out(&step.order);
        self.calm();
        match outcome {
            // It counts, and what is left of it comes with the next tick. Of several services, that may be
            // all that one of them is to get.
            Err(ControlError::Unfinished(_)) if matches!(step.order, Order::Together) => {
                self.world.tend().map_err(|error| error.to_string())?;
            }
            Ok(()) | Err(ControlError::Unfinished(_)) => {}
            Err(error) => {
                self.expected = expected;
                self.refused(&step.order, step.fail, &before, &error)?;
            }
        }
        self.check()
    }

    /// All connections end, and everything comes to rest.
    pub fn end(&mut self) -> Result<(), String> {
        self.world.calm_down().map_err(|error| error.to_string())?;
        self.check()?;
        let image = self.world.image();
        if !is_at_rest(&image) {
            return Err(format!("not at rest: {:?}", image.records));
        }
        if self.world.pins() > 0 {
            return Err(format!("{} pins are left at rest", self.world.pins()));
        }
        let state = self.world.state();
        let backends = state
            .services
            .values()
            .flat_map(|service| service.backends.values());
        if backends.clone().any(|backend| backend.leaving) || !state.retired.is_empty() {
            return Err("something still leaves at rest".to_owned());
        }
        for name in self.expected.keys().cloned().collect::<Vec<_>>() {
            let status = self.world.status(&name);
            if !status.settled || status.pinned || status.settles_in_s.is_some() {
                return Err(format!("not settled at rest: {status:?}"));
            }
        }
        Ok(())
    }

    fn before(&self) -> Before {
        let image = self.world.image();
        Before {
            behaviour: Behaviour::of(&image),
            state: self.world.state().clone(),
            file: self.file(),
        }
    }

    /// Without what the log has been told of since, which is taken out with the next change.
    fn file(&self) -> serde_json::Value {
        let text = fs::read(self.world.state_file()).expect("a state file");
        let mut file: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let state = file["state"].as_object_mut().expect("a state");
        state.remove("outbox");
        file
    }

    /// The fault, if it has not come, is taken back, and connections that were cut are over.
    fn calm(&mut self) {
        let mut edge = self.world.twin.edge();
        edge.memory.fail_at = None;
        let cut = edge.cut.clone();
        if !edge.has_packets_under_way() {
            edge.cut.clear();
        }
        for client in &mut edge.clients {
            client.connection = client
                .connection
                .filter(|c| !cut.contains(&c.server.address));
        }
        let expected = edge.expected.clone();
        for client in edge
            .clients
            .iter_mut()
            .filter(|client| !expected.contains(&client.vip))
        {
            client.connection = None;
        }
    }

    fn carry_out(&mut self, order: &Order) -> Outcome {
        match order {
            Order::Share { service, pool, ppm } => self.share(*service, *pool, *ppm),
            Order::Cutover { service, pool } => self.cutover(*service, *pool),
            Order::Rollback { service } => {
                let service = self.service(*service);
                self.expect(&service).rollback();
                self.world.rollback(&service).map(drop)
            }
            Order::Weight {
                service,
                backend,
                weight,
            } => {
                let (service, backend) = self.backend(*service, *backend);
                self.world.weight(&service, backend, *weight).map(drop)
            }
            Order::Admin {
                service,
                backend,
                admin,
            } => {
                let (service, backend) = self.backend(*service, *backend);
                self.world.admin(&service, backend, *admin).map(drop)
            }
            Order::Start {
                service,
                pool,
                replace,
            } => self.start(*service, *pool, *replace),
            Order::Promote { service, full } => self.promote(*service, *full),
            Order::Abort { service } => {
                let service = self.service(*service);
                self.expect(&service).abort();
                self.world.abort(&service).map(drop)
            }
            Order::Retry { service } => {
                let service = self.service(*service);
                let open = self.open(&service);
                self.expect(&service).retry(open);
                self.world.steer(&service, &Event::Retry).map(drop)
            }
            Order::Together => self.together(),
            Order::Toggle { service, on } => self.toggle(*service, *on),
            Order::Apply(changes) => self.apply(changes),
            Order::Restart => self.restart(),
            Order::Pass(time) => self.world.pass(*time),
        }
    }

    fn share(&mut self, service: u8, pool: u8, ppm: u32) -> Outcome {
        let (service, pool) = self.pool(service, pool);
        self.expect(&service).share(&pool, ppm);
        self.world.share(&service, ppm, Some(&pool)).map(drop)
    }

    fn cutover(&mut self, service: u8, pool: u8) -> Outcome {
        let (service, pool) = self.pool(service, pool);
        self.expect(&service).cutover(&pool);
        self.world.cutover(&service, Some(&pool)).map(drop)
    }

    fn start(&mut self, service: u8, pool: u8, replace: bool) -> Outcome {
        let (service, pool) = self.pool(service, pool);
        let open = self.open(&service);
        self.expect(&service).start(&pool, open);
        let tick = self.world.tick();
        let core = self.world.control();
        core.start_release(&service, Some(&pool), replace, None, tick)
            .map(drop)
    }

    fn promote(&mut self, service: u8, full: bool) -> Outcome {
        let service = self.service(service);
        let open = self.open(&service);
        let expected = self.expect(&service);
        if full {
            expected.promote();
        } else {
            expected.go_on(open);
        }
        let expect_step = None;
        let event = Event::Promote { full, expect_step };
        self.world.steer(&service, &event).map(drop)
    }

    fn together(&mut self) -> Outcome {
        let names: Vec<String> = self.expected.keys().take(2).cloned().collect();
        for name in &names {
            let services = self.world.site.services.iter();
            let pools = services
                .filter(|s| s.name() == *name)
                .flat_map(|s| &s.pools);
            let pools = pools.map(|pool| pool.name.clone()).collect();
            let expected = self.expect(name);
            if let Some(to) = expected.other(&pools) {
                expected.cutover(&to);
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.world.cut_over_together(&names).map(drop)
    }

    fn toggle(&mut self, service: u8, on: bool) -> Outcome {
        let toggle = self.service(service);
        let turned = self.world.turn(&toggle, on).map(drop);
        if matches!(turned, Ok(()) | Err(ControlError::Unfinished(_))) {
            if on {
                self.off.remove(&toggle);
            } else {
                self.off.insert(toggle);
            }
        }
        turned
    }

    /// Which steps of a service's release are open.
    fn open(&self, service: &str) -> impl Fn(usize) -> bool + use<> {
        let is_off = self.off.contains(service);
        move |step| step != GUARDED || !is_off
    }

    fn apply(&mut self, changes: &[Change]) -> Outcome {
        let mut site = self.world.site.clone();
        for change in changes {
            change.apply(&mut site);
        }
        let written = self.world.apply(site);
        if let Ok(told) = &written {
            let mut edge = self.world.twin.edge();
            let written: Vec<String> = edge.written().iter().map(ToString::to_string).collect();
            if *told != written {
                let problem = format!("told {told:?}, but wrote {written:?}");
                edge.problems.push(problem);
            }
        }
        self.follow_site();
        written.map(drop)
    }

    /// Expects nothing of what the site does not have.
    fn follow_site(&mut self) {
        let services = &self.world.site.services;
        let names: BTreeSet<String> = services.iter().map(Service::name).collect();
        self.expected.retain(|name, _| names.contains(name));
        for service in services {
            let pools: BTreeSet<String> = service.pools.iter().map(|p| p.name.clone()).collect();
            let first = &service.pools[0].name;
            let expected = self.expected.entry(service.name());
            expected.or_insert_with(|| Expect::new(first)).keep(&pools);
        }
    }

    /// Nothing has changed, so nothing is written, and the same is said.
    fn restart(&mut self) -> Outcome {
        self.world.twin.edge().memory.fail_at = None;
        // What an order has left is done by the next tick as well as by a restart.
        self.world.tend()?;
        let before = (self.world.writes(), self.world.list());
        self.world.restart()?;
        let after = (self.world.writes(), self.world.list());
        if before != after {
            let problem = format!("a restart has changed {before:?} to {after:?}");
            self.world.twin.edge().problems.push(problem);
        }
        Ok(())
    }

    /// An order that is refused or fails changes nothing.
    fn refused(
        &self,
        order: &Order,
        fail: Option<usize>,
        before: &Before,
        error: &ControlError,
    ) -> Result<(), String> {
        if matches!(error, ControlError::Kernel(KernelError::Injected)) && fail.is_none() {
            return Err("a fault that nobody ordered".to_owned());
        }
        let (image, state) = (self.world.image(), self.world.state());
        // What is due is more than one step, of which those before the fault stay.
        if matches!(order, Order::Pass(_)) {
            return Ok(());
        }
        if Behaviour::of(&image) != before.behaviour {
            return Err(format!("`{error}`, but the maps have changed"));
        }
        if told(state) != told(&before.state) || self.file() != before.file {
            return Err(format!("`{error}`, but the state has changed"));
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        let problems = self.world.problems();
        if !problems.is_empty() {
            let some: Vec<String> = problems.iter().take(5).cloned().collect();
            return Err(format!("{} problems:\n{}", problems.len(), some.join("\n")));
        }
        let config = self.world.control().config().clone();
        for line in self.world.list() {
            let Some(record) = self.world.stored(&line.service) else {
                continue;
            };
            let expected = self.expected.get_mut(&line.service);
            let expected = expected.ok_or_else(|| format!("unexpected: {line:?}"))?;
            expected.check(&line, &record, &node(&config))?;
        }
        let mut file: State = serde_json::from_value(self.file()["state"].clone())
            .map_err(|error| error.to_string())?;
        // What the log has been told of since is taken out with the next change.
        file.outbox.clone_from(&self.world.state().outbox);
        let saved = serde_json::to_value(&file).map_err(|error| error.to_string())?;
        let state = serde_json::to_value(self.world.state()).map_err(|error| error.to_string())?;
        if saved != state {
            return Err(format!("the file has {saved}, the core {state}"));
        }
        Ok(())
    }

    fn service(&self, number: u8) -> String {
        pick(&self.world.site.services, number)
            .expect("a service")
            .name()
    }

    fn pool(&self, service: u8, number: u8) -> (String, String) {
        let service = pick(&self.world.site.services, service).expect("a service");
        let pool = pick(&service.pools, number).expect("a pool");
        (service.name(), pool.name.clone())
    }

    fn backend(&self, service: u8, number: u8) -> (String, u8) {
        let service = pick(&self.world.site.services, service).expect("a service");
        let backends: Vec<u8> = service
            .pools
            .iter()
            .flat_map(|pool| pool.backends.iter().map(|backend| backend.number))
            .collect();
        (service.name(), *pick(&backends, number).expect("a backend"))
    }

    fn expect(&mut self, service: &str) -> &mut Expect {
        self.expected.get_mut(service).expect("an expectation")
    }
}

/// A state as if the log had been told all of it, which a thread of its own does meanwhile.
fn told(state: &State) -> State {
    State {
        outbox: Vec::new(),
        ..state.clone()
    }
}
