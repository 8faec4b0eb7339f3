//! `serin run`: the core, its sockets, its clock and its signals.
//!
//! The data plane does without this process: it may stop, be killed or be replaced, and no
//! packet fares otherwise.

mod http;
mod interfaces;
pub mod log;
mod manager;
mod preflight;
mod socket;
mod turn;

use self::{socket::Socket, turn::Loop};

use std::{
    collections::BTreeMap,
    future::IntoFuture as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lb_common::maps::PROGRAM;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::{
    api::server::{Shared, router},
    config::{Attach, Config, ConfigError},
    control::{Control, ControlError, Parts, node},
    dataplane::kernel::{Kernel, KernelError, Settings, abandon, now},
    neighbour::{self, NeighbourError, View},
    state::{FileError, State, StateFile, compose},
};

/// How long a start waits for next hops that are not resolved yet.
const PATIENCE: Duration = Duration::from_secs(1);
/// Errands that may wait for the loop.
const ERRANDS: usize = 16;

/// Why the daemon can't run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The core refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Routes and neighbours can't be read.
    #[error(transparent)]
    Neighbour(#[from] NeighbourError),
    /// The state file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The host is not fit for the configuration.
    #[error(transparent)]
    Preflight(#[from] preflight::Unfit),
    /// The socket can't be made.
    #[error(transparent)]
    Socket(#[from] socket::SocketError),
    /// The TCP end of the API can't be made.
    #[error(transparent)]
    Http(#[from] http::HttpError),
    /// Maps without the names that belong to them.
    #[error(
        "state file {}: missing, but pins at {} are in use; restore the file, \
         or run `serin detach` to end that data plane", state.display(), pins.display()
    )]
    Orphaned {
        /// The state file.
        state: PathBuf,
        /// The pins.
        pins: PathBuf,
    },
    /// The runtime failed.
    #[error("the daemon's runtime failed: {0}; see dmesg and ulimit -n")]
    Runtime(#[from] std::io::Error),
}

/// Runs until told to stop. The data plane goes on without it.
pub async fn run(file: &Path) -> Result<(), DaemonError> {
    let config = Config::load(file)?;
    preflight::check_privileges()?;
    let mut socket = Socket::claim(&config.api.socket)?;
    let http = http::bind(config.api.http).await?;
    let saved = StateFile::new(&config.node.state).load()?;
    let saved = saved.unwrap_or_default();
    let view = look_around(&config, &saved, None).await?;
    let mut services = saved.services.values();
    let moving = services.any(|service| service.is_moving() || service.is_touched());
    let control = open(config, file, view, moving)?;
    let (errands, waiting) = mpsc::channel(ERRANDS);
    let targets = watch::Sender::new(compose::targets(control.state()));
    let views = neighbour::watch(targets.subscribe())?;
    let shared = Shared::new(control, errands);
    let listener = socket.bind()?;
    tracing::info!("ready; orders are taken at {}", socket.path().display());
    let server = axum::serve(listener, router(Arc::clone(&shared))).into_future();
    let readers = http::serve(http, Arc::clone(&shared));
    let daemon = Loop::new(shared, waiting, targets, views)?.turn();
    manager::ready();
    tokio::select! {
        broken = server => Ok(broken?),
        broken = readers => Ok(broken?),
        done = daemon => {
            manager::stopping();
            done
        }
        never = manager::live() => never,
    }
}

/// What a running daemon knows of interfaces when it looks around again.
struct Before {
    /// Those of the configuration in force.
    interfaces: Vec<String>,
    view: View,
    /// The program is in drivers.
    native: bool,
}

/// Next hops of everything that configuration and state name, and all interfaces.
async fn look_around(
    config: &Config,
    state: &State,
    before: Option<&Before>,
) -> Result<View, DaemonError> {
    let known = compose::targets(state);
    let wanted = known
        .union(&preflight::addresses(config))
        .copied()
        .collect();
    let mut view = neighbour::survey(&wanted, PATIENCE).await?;
    if let Some(before) = before {
        interfaces::keep_renamed(&config.node.interfaces, &before.view, &mut view);
    }
    let always = config.node.attach == Attach::Native;
    if before.map_or(always, |before| before.native) {
        interfaces::confine(&config.node.interfaces, &mut view);
    }
    let in_force = before.map(|before| &*before.interfaces);
    preflight::check_interfaces(config, &view, in_force)?;
    preflight::check(config, &view, &known)?;
    Ok(view)
}

/// Adopts or makes the data plane; one that was made here does not outlive a failure.
fn open(
    config: Config,
    file: &Path,
    view: View,
    moving: bool,
) -> Result<Control<Kernel>, DaemonError> {
    let pins = config.node.pins.clone();
    let kernel = Kernel::open(&Settings {
        object: crate::object::SERIN,
        program: PROGRAM,
        pins: &pins,
        node: node(&config),
        flows: config.node.connections,
        moving,
        sparing: false,
    })?;
    let fresh = kernel.is_fresh();
    start(kernel, config, file, view).inspect_err(|_| {
        if let Err(error) = abandon(&pins, fresh) {
            tracing::error!("removing what the failed start has made: {error}");
        }
    })
}

/// The program goes on the interfaces first: it passes everything until it knows a listener, and
/// then must be at the backends' side too. Where it takes another's place, that one goes on until
/// the maps are filled.
fn start(
    mut kernel: Kernel,
    config: Config,
    file: &Path,
    mut view: View,
) -> Result<Control<Kernel>, DaemonError> {
    let image = kernel.image()?;
    let mut saved = match StateFile::new(&config.node.state).load()? {
        Some(saved) => saved,
        None if image.listeners.is_empty() && !kernel.takes_over() => State::default(),
        None => {
            let (state, pins) = (config.node.state, config.node.pins);
            return Err(DaemonError::Orphaned { state, pins });
        }
    };
    let takes_over = kernel.takes_over();
    let mut conditions = BTreeMap::new();
    if takes_over {
        let before = kernel.audiences_before(&saved.audience_sets())?;
        let services = saved.services.values_mut();
        services.for_each(|service| service.adopt_sets(&before));
    } else {
        conditions = interfaces::attach_all(&mut kernel, &config, &view)?;
    }
    if interfaces::are_native(&mut kernel, &config, &view)? {
        interfaces::confine(&config.node.interfaces, &mut view);
    }
    let source = file.to_owned();
    let parts = Parts {
        config,
        source,
        saved,
        image,
        view,
        dataplane: kernel,
        takes_over,
    };
    let mut control = Control::start(parts, now())?;
    if takes_over {
        let (config, view) = (control.config().clone(), control.view().clone());
        control.dataplane().take_over()?;
        conditions = interfaces::attach_all(control.dataplane(), &config, &view)?;
    }
    for (name, condition) in conditions {
        control.note_interface(&name, &condition);
    }
    let in_force = control.config().clone();
    interfaces::leave(&mut control, &in_force)?;
    Ok(control)
}
