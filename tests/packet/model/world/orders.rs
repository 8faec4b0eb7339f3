//! The core gets its orders.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Instant,
};

use lb_common::maps::{PROGRAM, aside};
use lb_userspace::{
    config::Config,
    control::{Control, ControlError, Parts, node},
    dataplane::kernel::{Kernel, Settings},
    health::{Name, Verdict},
    object,
    release::Mapping,
    state::StateFile,
};

use super::{
    FIRST_TICK, TICK, World,
    clocked::{Clocked, book},
};
use crate::model::{
    event::Event,
    site::{IDLE_TICKS, SERVICES, Site, name, server, toggle},
};

/// What has come of an order that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    InForce,
    /// It waits until the sessions that it moves have been pinned.
    Waits,
    /// Another that has waited was called off instead.
    CalledOff,
}

/// An order that waits until the sessions that it moves have been pinned.
#[derive(Clone, Debug)]
pub struct Waiting {
    event: Event,
    /// The core's number of it.
    number: u64,
    /// When it was given.
    since: u32,
}

impl World {
    pub(super) fn order(&mut self, event: &Event) -> Result<Came, ControlError> {
        let tick = self.tick;
        let control = self.control.as_mut().expect("started");
        let (service, done) = match *event {
            Event::Share { service, pool, ppm } => {
                let to = format!("p{pool}");
                (
                    service,
                    control.share(&name(service), ppm, Some(&to), tick)?,
                )
            }
            Event::Cutover { service, pool } => {
                let to = format!("p{pool}");
                (
                    service,
                    control.cutover(&name(service), Some(&to), "", tick)?,
                )
            }
            Event::Rollback { service } => {
                let pending = control.state().services[&name(service)].pending.clone();
                let done = control.rollback(&name(service), tick)?;
                if pending.is_some_and(|pending| !pending.is_way_back()) {
                    return Ok(Came::CalledOff);
                }
                (service, done)
            }
            Event::Weight {
                service,
                backend,
                weight,
            } => {
                let backend = server(backend);
                (
                    service,
                    control.weight(&name(service), &backend, weight, tick)?,
                )
            }
            Event::Admin {
                service,
                backend,
                admin,
            } => {
                let backend = server(backend);
                (
                    service,
                    control.admin(&name(service), &backend, admin, tick)?,
                )
            }
            Event::Toggle {
                service,
                audience,
                on,
            } => {
                let turned = control.turn(&toggle(service, audience), on, "", tick)?;
                return Ok(self.came(event, service, turned.orders.get(&name(service)).copied()));
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
                control.health(&[(name, Verdict::plain(up))].into(), tick)?;
                return Ok(Came::InForce);
            }
            Event::Apply {
                service,
                backend,
                there,
            } => {
                return self.edit(|site| site.services[service].there[backend] = there);
            }
            Event::Edit { service, audience } => {
                return self.edit(|site| site.services[service].edited[audience] ^= true);
            }
            Event::Pass { ticks } => return self.pass(ticks).map(|()| Came::InForce),
            Event::Restart => return self.restart().map(|()| Came::InForce),
            Event::Packet(_) => return Ok(Came::InForce),
        };
        Ok(self.came(event, service, done.arming_s.and(done.order)))
    }

    /// An order was given: it is in force, or waits under a number.
    fn came(&mut self, event: &Event, service: usize, waits: Option<u64>) -> Came {
        let Some(number) = waits else {
            return Came::InForce;
        };
        let known = self.waiting[service].as_ref();
        if known.is_none_or(|known| known.number != number) {
            self.waiting[service] = Some(Waiting {
                event: event.clone(),
                number,
                since: self.tick,
            });
        }
        Came::Waits
    }

    /// The file is changed and applied, at once or when the sessions that it moves have been pinned.
    fn edit(&mut self, change: impl FnOnce(&mut Site)) -> Result<Came, ControlError> {
        let mut next = self.wished.as_ref().unwrap_or(&self.site).clone();
        change(&mut next);
        let (config, tick) = (self.config(&next)?, self.tick);
        if self.control().arm_for(&config, tick)?.is_some() {
            self.wished = Some(next);
            return Ok(Came::Waits);
        }
        self.apply(next, config).map(|()| Came::InForce)
    }

    fn apply(&mut self, next: Site, config: Config) -> Result<(), ControlError> {
        let tick = self.tick;
        self.control().apply(config, next.view(), false, tick)?;
        (self.site, self.wished) = (next, None);
        Ok(())
    }

    /// Time goes by, and what is due is done.
    fn pass(&mut self, ticks: u32) -> Result<(), ControlError> {
        self.tick += ticks;
        let (tick, now) = (self.tick, self.now());
        self.control().tend(tick, now)?;
        while self.control().is_sweeping() {
            self.control().tend(tick, now)?;
        }
        Ok(())
    }

    /// Applies the file that has waited, if it is time, as the daemon's loop does.
    pub(super) fn take_wished(&mut self) -> Result<(), ControlError> {
        let due = self
            .control
            .as_ref()
            .and_then(|control| control.apply_due_s(self.tick));
        // Without a time it was called off.
        let Some(next) = self.wished.take().filter(|_| due.is_some()) else {
            return Ok(());
        };
        if due > Some(0) {
            self.wished = Some(next);
            return Ok(());
        }
        let config = self.config(&next)?;
        let Err(error) = self.apply(next, config) else {
            return Ok(());
        };
        self.control().drop_apply(&error.to_string())?;
        // What was right when it was ordered may not be any more.
        let refused = !matches!(
            error,
            ControlError::Kernel(_) | ControlError::File(_) | ControlError::Unfinished(_)
        );
        if refused { Ok(()) } else { Err(error) }
    }

    fn now(&self) -> Instant {
        self.began + TICK * (self.tick - FIRST_TICK)
    }

    fn config(&self, site: &Site) -> Result<Config, ControlError> {
        let text = site.text(self.directory.path(), &self.pins);
        Ok(Config::parse(&text)?)
    }

    /// The core ends, and another takes over, which takes the file as it is.
    pub(super) fn restart(&mut self) -> Result<(), ControlError> {
        self.control = None;
        self.site = self.wished.take().unwrap_or_else(|| self.site.clone());
        let config = self.config(&self.site)?;
        let mut kernel = Kernel::open(&Settings {
            object: program(),
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
            view: self.site.view(),
            dataplane,
            takes_over: false,
        };
        self.control = Some(Control::start(parts, self.tick)?);
        Ok(())
    }
}

/// The object of this build, or of another: `SERIN_MODEL_OBJECT` names its file, to see that the model
/// does not agree with a program that has been broken on purpose.
fn program() -> &'static [u8] {
    static OTHER: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let other = OTHER.get_or_init(|| {
        let file = std::env::var_os("SERIN_MODEL_OBJECT")?;
        Some(std::fs::read(file).expect("the object that was asked for"))
    });
    other.as_deref().unwrap_or(object::SERIN)
}

impl World {
    /// What an order that was not refused must have led to.
    pub(super) fn obeyed(&mut self, event: &Event, came: Came) -> Result<(), String> {
        match came {
            Came::Waits | Came::CalledOff => return Ok(()),
            Came::InForce => self.tally.orders += 1,
        }
        if let Event::Pass { .. } = event {
            return self.carried_out();
        }
        self.done(event)
    }

    /// Orders that have waited are in force when they are due, and not before.
    fn carried_out(&mut self) -> Result<(), String> {
        for number in 0..SERVICES {
            let Some(waiting) = self.waiting[number].take() else {
                continue;
            };
            let state = &self.control().state().services[&name(number)];
            let (pending, ended) = (state.pending.clone(), state.ended.clone());
            let is_due = self.tick - waiting.since >= IDLE_TICKS;
            let ended = ended.filter(|ended| ended.number == waiting.number);
            match (pending, ended) {
                (Some(pending), _) if pending.number == waiting.number => {
                    if is_due {
                        return Err(format!("{waiting:?} still waits"));
                    }
                    self.waiting[number] = Some(waiting);
                }
                (_, Some(ended)) if ended.failure.is_none() => {
                    if !is_due {
                        return Err(format!("{waiting:?} did not wait"));
                    }
                    (self.tally.orders, self.tally.waited) =
                        (self.tally.orders + 1, self.tally.waited + 1);
                    self.done(&waiting.event)?;
                }
                // It was called off, or can't be carried out any more.
                _ => {}
            }
        }
        Ok(())
    }

    fn done(&mut self, event: &Event) -> Result<(), String> {
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
            Event::Toggle {
                service,
                audience,
                on,
            } => {
                let toggles = &self.control().state().toggles;
                toggles[&toggle(service, audience)].on == on
            }
            Event::Packet(_)
            | Event::Weight { .. }
            | Event::Admin { .. }
            | Event::Health { .. }
            | Event::Apply { .. }
            | Event::Edit { .. }
            | Event::Pass { .. }
            | Event::Restart => true,
        };
        if holds {
            return Ok(());
        }
        Err(format!("{event:?} was done, but was not"))
    }

    fn position(&mut self, service: usize, pool: usize) -> (Mapping, u32) {
        let state = &self.control().state().services[&name(service)];
        let pool = &state.pools[&format!("p{pool}")];
        (state.position.now, pool.id)
    }
}
