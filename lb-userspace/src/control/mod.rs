//! The daemon's core, without its sockets: it takes an order, works out the next state, and
//! carries it out whole or not at all.
//!
//! An order's way: `State → State'` (pure), `compose` to an image, `plan` to writes, the state
//! file (so that a crash leaves the intent), then the writes, then a wait for packets under way.

mod adopt;
mod apply;
mod audit;
mod back;
mod backends;
mod commit;
mod drift;
pub mod flags;
mod health;
mod judge;
mod metrics;
mod orders;
mod overview;
mod pending;
mod release;
mod report;
mod settle;
mod sweep;
mod toggles;
mod whois;

use self::commit::Commit;
pub use self::release::{Ask, Together, Unheard};

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lb_common::node::Node;
use thiserror::Error;

use crate::{
    api::model::Done,
    config::{Config, ConfigError},
    dataplane::{Dataplane, Image, kernel::KernelError},
    health::Verdicts,
    journal::{Actor, Journal, JournalError},
    neighbour::View,
    release::{Refusal, engine},
    seed::Seed,
    state::{FileError, State, StateError, StateFile, reconcile},
};

/// Why an order was not carried out. Nothing has changed, unless it is [`ControlError::Unfinished`].
#[derive(Debug, Error)]
pub enum ControlError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name that is not there, or a change that the running state forbids.
    #[error(transparent)]
    State(#[from] StateError),
    /// The release's position forbids it.
    #[error("service `{service}`: {object}{refusal}")]
    Refused {
        /// The service.
        service: String,
        /// The pool, where one is meant.
        object: String,
        /// Why.
        refusal: Refusal,
    },
    /// The release that goes by a plan forbids it.
    #[error("service `{service}`: {refusal}")]
    Release {
        /// The service.
        service: String,
        /// Why.
        refusal: engine::Refusal,
    },
    /// The order is not for a service like this.
    #[error("service `{service}`: {why}")]
    Unfit {
        /// The service.
        service: String,
        /// Why, and what to do.
        why: String,
    },
    /// What was asked makes no sense, whatever the state.
    #[error("{0}")]
    Usage(String),
    /// Part of the configuration that can't change while the daemon runs.
    #[error("{0} can't change while the data plane runs; run `serin detach`, then start again")]
    Fixed(&'static str),
    /// The host is not fit for it.
    #[error("{0}")]
    Host(String),
    /// The state file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The state can't be kept.
    #[error("{0}; nothing was changed")]
    Unkept(#[source] FileError),
    /// The audit log can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// New connections go by the order already, so that it can't be taken back.
    #[error("{0}; the order is in force up to there, and the rest is tried again every second")]
    Unfinished(#[source] Box<Self>),
}

impl ControlError {
    /// The same failure of a step that came after others had been carried out.
    fn unfinished(self) -> Self {
        if matches!(self, Self::Unfinished(_)) {
            return self;
        }
        Self::Unfinished(Box::new(self))
    }
}

/// The core.
pub struct Control<D> {
    config: Config,
    seed: Seed,
    node: Node,
    state: State,
    image: Image,
    view: View,
    dataplane: D,
    /// The maps lack something of the state.
    unfinished: bool,
    /// Why the state file lacks something of the state, if it does.
    owed: Option<String>,
    file: StateFile,
    /// The configuration's own file, read again by `apply`.
    source: PathBuf,
    sweep: sweep::Schedule,
    interfaces: BTreeMap<String, String>,
    /// What was last heard of the checks, to be told.
    verdicts: Verdicts,
    /// The clock when it started: what the state says of health is from before.
    started_ms: u64,
    journal: Journal,
    /// Releases before their judge.
    sittings: judge::Sittings,
    /// Who gives the order that is being carried out.
    actor: Actor,
    /// What the log is to be told of the next commit.
    notes: Vec<audit::Note>,
}

/// What a core is made from.
pub struct Parts<D> {
    /// The configuration.
    pub config: Config,
    /// Where it was read from.
    pub source: PathBuf,
    /// What the state file says.
    pub saved: State,
    /// What the maps hold.
    pub image: Image,
    /// Next hops.
    pub view: View,
    /// The adapter.
    pub dataplane: D,
    /// The maps are new, and stand for others that are still in force: the state file's word is
    /// all there is, but pins and counters are there.
    pub takes_over: bool,
}

/// The node's part of the maps that follows from the configuration.
pub fn node(config: &Config) -> Node {
    let settings = &config.node;
    let (prefix, encap) = (settings.client_prefix, settings.encap);
    let encap = lb_common::encap::Encap::new(encap.v4, encap.v6)
        .with_gue_port(encap.gue_port)
        .with_too_big_per_second(settings.too_big_per_second);
    let key = Seed::new(&settings.hash_seed).key();
    let node = Node::new(key, prefix.v4, prefix.v6).with_encap(encap);
    if settings.answer_echo {
        node.with(Node::ANSWER_ECHO)
    } else {
        node
    }
}

impl<D: Dataplane> Control<D> {
    /// Takes up where the maps are, and brings them to what the configuration wants.
    pub fn start(parts: Parts<D>, tick: u32) -> Result<Self, ControlError> {
        let Parts {
            mut config,
            source,
            mut saved,
            image,
            view,
            dataplane,
            takes_over,
        } = parts;
        let begins = saved == State::default();
        saved.outbox = audit::unsent(&saved, &image);
        // Until those are stored as well, another crash must find them named.
        let mut together = saved.together.clone();
        if adopt::left_of_together(&saved, &image).is_empty() {
            together.clear();
        }
        let mut written = saved.clone();
        if !takes_over {
            adopt::adopt(&mut saved, &image, tick);
        }
        let seed = Seed::new(&config.node.hash_seed);
        let now_ms = dataplane.clock_ms();
        let mut held = saved.clone();
        let drift = drift::take_drift(&mut held, &mut config, tick, now_ms);
        for (name, _) in &drift {
            // What is said of these is said.
            if let (Some(was), Some(is)) = (written.services.get_mut(name), held.services.get(name))
            {
                was.position.run.clone_from(&is.position.run);
            }
        }
        let mut state = reconcile(&held, &image, &config, &seed, tick)?;
        release::age(&mut state.services, now_ms);
        let why = "the daemon was started anew, and has taken its own configuration file";
        pending::end_apply(&mut state, Some(why));
        let journal = Journal::beside(&config.node.state);
        let sittings = judge::Sittings::beside(&config.node.state);
        let mut control = Self {
            node: node(&config),
            file: StateFile::new(&config.node.state),
            seed,
            config,
            state: saved,
            image,
            view,
            dataplane,
            unfinished: false,
            owed: None,
            source,
            sweep: sweep::Schedule::default(),
            interfaces: BTreeMap::new(),
            verdicts: Verdicts::new(),
            started_ms: now_ms,
            journal,
            sittings,
            actor: Actor::daemon(),
            notes: Vec::new(),
        };
        control.note_drift(drift);
        control.note_found(&written, &state);
        let prepared = control.prepare_together(state, together);
        if begins {
            control.carry_out(prepared)?;
        } else {
            // Who goes on need not wait for a disk that has room: users are where the maps have them.
            control.carry_out_unkept(prepared, false)?;
        }
        control.note_continued(&written);
        Ok(control)
    }

    /// The configuration in force.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The adapter, for what is not an order: attaching, detaching.
    pub const fn dataplane(&mut self) -> &mut D {
        &mut self.dataplane
    }

    /// The state in force.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Next hops and interfaces, as last seen.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// What is to be said of an interface in listings; true if it is news.
    pub fn note_interface(&mut self, name: &str, condition: &str) -> bool {
        let before = self
            .interfaces
            .insert(name.to_owned(), condition.to_owned());
        before.as_deref() != Some(condition)
    }

    /// What was said of an interface last.
    pub fn interface(&self, name: &str) -> Option<&str> {
        self.interfaces.get(name).map(String::as_str)
    }

    /// Says nothing any more of interfaces other than these.
    pub fn forget_interfaces(&mut self, kept: &[String]) {
        self.interfaces.retain(|name, _| kept.contains(name));
    }

    /// What an event of a service's release comes upon now.
    fn moment(&self, service: &str) -> engine::Moment {
        let ms = self.dataplane.clock_ms();
        let state = self.state.services.get(service);
        engine::Moment {
            ms,
            off: self.state.toggles_off(),
            unheard: state.is_some_and(|state| self.unheard_ms(service, state, ms) > 0),
        }
    }

    /// What a finished order reports.
    fn done(
        &self,
        service: &str,
        commit: &Commit,
        began: Instant,
        tick: u32,
    ) -> Result<Done, ControlError> {
        let state = self.state.service(service)?;
        let position = &state.position;
        Ok(Done {
            service: service.to_owned(),
            epoch: position.epoch,
            active: state.pool_name(position.now.active).to_owned(),
            candidate: state.candidate().map(str::to_owned),
            share_ppm: position.now.share_ppm,
            stored_at_ns: commit.stored.map(|time| nanoseconds(since_epoch(time))),
            arming_s: pending::arming_s(state, tick),
            order: state.pending.as_ref().map(|pending| pending.number),
            stored_us: commit.stored.map(|stored| {
                let since = stored.elapsed().unwrap_or_default();
                nanoseconds(began.elapsed().saturating_sub(since)) / 1000
            }),
            took_us: nanoseconds(began.elapsed()) / 1000,
            notes: self.note_owed().into_iter().collect(),
        })
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
