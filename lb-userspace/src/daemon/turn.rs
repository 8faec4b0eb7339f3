//! The daemon's loop: whatever comes, then what is due.

use std::{
    collections::BTreeSet,
    future::pending,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::sleep,
};

use super::{DaemonError, interfaces, look_around, preflight};
use crate::{
    api::{
        model::{Applied, ApplyOrder},
        server::{Errand, Shared},
    },
    config::Config,
    control::ControlError,
    dataplane::kernel::{Kernel, now},
    neighbour::View,
    state::compose,
};

/// After something that was due has failed, it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the loop waits for.
pub struct Loop {
    shared: Arc<Shared<Kernel>>,
    errands: mpsc::Receiver<Errand>,
    targets: watch::Sender<BTreeSet<IpAddr>>,
    views: watch::Receiver<View>,
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Loop {
    /// A loop over this core.
    pub fn new(
        shared: Arc<Shared<Kernel>>,
        errands: mpsc::Receiver<Errand>,
        targets: watch::Sender<BTreeSet<IpAddr>>,
        views: watch::Receiver<View>,
    ) -> Result<Self, DaemonError> {
        Ok(Self {
            shared,
            errands,
            targets,
            views,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Turns until a signal or a `detach`.
    pub async fn turn(mut self) -> Result<(), DaemonError> {
        loop {
            let pause = self.tend();
            tokio::select! {
                _ = self.terminate.recv() => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
                _ = self.reload.recv() => self.reload().await,
                Ok(()) = self.views.changed() => self.follow(),
                Some(errand) = self.errands.recv() => {
                    if self.run(errand).await {
                        return Ok(());
                    }
                }
                () = self.shared.changed.notified() => {}
                () = rest(pause) => {}
            }
        }
    }

    /// Does what is due, and says how long nothing will be.
    fn tend(&mut self) -> Option<Duration> {
        let mut control = self.shared.control();
        let pause = control.tend(now(), Instant::now()).unwrap_or_else(|error| {
            tracing::error!("settling or sweeping: {error}");
            Some(RETRY)
        });
        let wanted = compose::targets(control.state());
        self.targets.send_if_modified(|targets| {
            let differs = *targets != wanted;
            *targets = wanted;
            differs
        });
        pause
    }

    /// Routes, neighbours or interfaces have changed.
    fn follow(&mut self) {
        let view = self.views.borrow_and_update().clone();
        let mut control = self.shared.control();
        interfaces::follow(&mut control, &view);
        if let Err(error) = control.follow(view) {
            tracing::error!("following routes and neighbours: {error}");
        }
    }

    async fn reload(&mut self) {
        match self.apply(&ApplyOrder::default()).await {
            Ok(applied) => tracing::info!("reloaded: {} writes", applied.writes.len()),
            Err(error) => tracing::error!("reload refused, nothing was changed: {error}"),
        }
    }

    /// Carries out an errand; true if it was the last.
    async fn run(&mut self, errand: Errand) -> bool {
        match errand {
            Errand::Apply(order, answer) => {
                let result = self.apply(&order).await;
                // A client that has gone away does not care.
                let _gone = answer.send(result);
                false
            }
            Errand::Detach(answer) => {
                let result = self.shared.control().dataplane().remove();
                let detached = result.is_ok();
                let _gone = answer.send(result.map_err(ControlError::from));
                // The answer is on its way; the runtime ends with this loop.
                sleep(crate::api::server::FAREWELL).await;
                detached
            }
        }
    }

    async fn apply(&mut self, order: &ApplyOrder) -> Result<Applied, ControlError> {
        let config = self.shared.control().read_config(order.file.as_deref())?;
        let state = self.shared.control().state().clone();
        let view = look_around(&config, &state).await.map_err(unfit)?;
        let mut control = self.shared.control();
        control.follow(view.clone())?;
        if order.dry_run {
            let writes = control.apply(config, true, now())?;
            return Ok(Applied {
                writes,
                dry_run: true,
                notes: Vec::new(),
            });
        }
        let before = control.config().clone();
        interfaces::change(&mut control, &config, &view)?;
        match control.apply(config.clone(), false, now()) {
            Ok(writes) => {
                interfaces::leave(&mut control, &config)?;
                Ok(Applied {
                    writes,
                    dry_run: false,
                    notes: notes(order, &config),
                })
            }
            Err(error) => {
                interfaces::leave(&mut control, &before)?;
                Err(error)
            }
        }
    }
}

fn unfit(error: DaemonError) -> ControlError {
    if let DaemonError::Control(error) = error {
        error
    } else {
        ControlError::Host(error.to_string())
    }
}

/// What the user of another file should know.
fn notes(order: &ApplyOrder, config: &Config) -> Vec<String> {
    let file = order.file.iter().map(|file| {
        format!(
            "{}: in force until the daemon starts again; it then reads its own file",
            file.display()
        )
    });
    file.chain(preflight::remarks(config)).collect()
}

async fn rest(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => pending().await,
    }
}
