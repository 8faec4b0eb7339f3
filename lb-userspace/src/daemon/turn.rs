//! The daemon's loop: whatever comes, then what is due.

use std::{
    collections::{BTreeMap, BTreeSet},
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

use super::{Before, DaemonError, interfaces, look_around, preflight};
use crate::{
    api::{
        model::{Applied, ApplyOrder},
        server::{Errand, Shared},
    },
    config::Config,
    control::ControlError,
    dataplane::kernel::{Kernel, now},
    gates::Gates,
    health::{Checks, Verdicts},
    journal::Actor,
    neighbour::View,
    notify::Notifier,
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
    checks: Checks,
    notifier: Notifier,
    gates: Gates,
    verdicts: watch::Receiver<Verdicts>,
    /// A configuration that waits for sessions to be pinned, and who wants it.
    armed: Option<(ApplyOrder, Config, Actor)>,
    /// An interface is there that the program is not on.
    unattached: bool,
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
        let mut checks = Checks::default();
        let control = shared.control();
        checks.follow(control.config(), control.state());
        let (told, journal) = (control.config().notify.clone(), control.journal());
        let state = control.config().node.state.clone();
        drop(control);
        let mut notifier = Notifier::new(&state, journal, shared.board.clone());
        notifier.follow(&told);
        Ok(Self {
            notifier,
            shared,
            errands,
            targets,
            views,
            verdicts: checks.verdicts(),
            checks,
            gates: Gates::default(),
            armed: None,
            unattached: false,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Turns until a signal or a `detach`.
    pub async fn turn(mut self) -> Result<(), DaemonError> {
        loop {
            self.apply_armed().await;
            let heard = self.gates.answer(&self.shared);
            let pause = self.tend();
            let pause = if heard {
                pause
            } else {
                Some(at_most(RETRY, pause))
            };
            self.gates.follow(&self.shared);
            tokio::select! {
                _ = self.terminate.recv() => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
                _ = self.reload.recv() => self.reload().await,
                Ok(()) = self.views.changed() => self.follow(),
                Ok(()) = self.verdicts.changed() => {}
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
        if self.unattached {
            let view = control.view().clone();
            self.unattached = !interfaces::follow(&mut control, &view);
        }
        let verdicts = self.verdicts.borrow_and_update();
        let pause = control.attend(&verdicts, now(), Instant::now());
        let wanted = compose::targets(control.state());
        self.targets.send_if_modified(|targets| {
            let differs = *targets != wanted;
            *targets = wanted;
            differs
        });
        if self.unattached {
            return Some(at_most(RETRY, pause));
        }
        pause
    }

    /// Routes, neighbours or interfaces have changed.
    fn follow(&mut self) {
        let mut view = self.views.borrow_and_update().clone();
        let mut control = self.shared.control();
        let config = control.config().clone();
        let configured = &config.node.interfaces;
        interfaces::keep_renamed(configured, control.view(), &mut view);
        self.unattached = !interfaces::follow(&mut control, &view);
        match interfaces::are_native(control.dataplane(), &config, &view) {
            Ok(true) => interfaces::confine_anew(configured, control.view(), &mut view),
            Ok(false) => {}
            Err(error) => tracing::error!("{error}"),
        }
        if let Err(error) = control.follow(view) {
            tracing::error!("following routes and neighbours: {error}");
        }
    }

    async fn reload(&mut self) {
        match self.apply(&ApplyOrder::default(), &Actor::daemon()).await {
            Ok(Applied {
                arming_s: Some(left),
                ..
            }) => tracing::info!("the reload follows in {left} s, once sessions are pinned"),
            Ok(applied) => tracing::info!("reloaded: {} writes", applied.writes.len()),
            Err(error) => tracing::error!("reload refused, nothing was changed: {error}"),
        }
    }

    /// Carries out an errand; true if it was the last.
    async fn run(&mut self, errand: Errand) -> bool {
        match errand {
            Errand::Apply(order, actor, answer) => {
                let result = self.apply(&order, &actor).await;
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

    async fn apply(&mut self, order: &ApplyOrder, by: &Actor) -> Result<Applied, ControlError> {
        let config = self.shared.control().read_config(order.file.as_deref())?;
        self.take(order, config, by).await
    }

    /// Takes the configuration that has waited for sessions, once they are pinned.
    async fn apply_armed(&mut self) {
        let due = self.shared.control().apply_due_s(now());
        let Some((order, config, by)) = self.armed.take() else {
            return;
        };
        match due {
            None => tracing::info!("the configuration that waited is not taken"),
            Some(0) => {
                let taken = self.take(&order, config, &by).await;
                let Err(error) = taken else {
                    return;
                };
                tracing::error!("the configuration that waited is not taken: {error}");
                if let Err(error) = self.shared.control().drop_apply(&error.to_string()) {
                    tracing::error!("{error}");
                }
            }
            Some(_) => self.armed = Some((order, config, by)),
        }
    }

    async fn take(
        &mut self,
        order: &ApplyOrder,
        config: Config,
        by: &Actor,
    ) -> Result<Applied, ControlError> {
        let (state, before) = {
            let mut control = self.shared.control();
            let (config, view) = (control.config().clone(), control.view().clone());
            let native = interfaces::are_native(control.dataplane(), &config, &view)?;
            let before = Before {
                interfaces: config.node.interfaces,
                view,
                native,
            };
            (control.state().clone(), before)
        };
        let view = look_around(&config, &state, Some(&before)).await;
        let view = view.map_err(unfit)?;
        let mut control = self.shared.control();
        if order.dry_run {
            let notes = control.drift_remarks(&config);
            let writes = control.apply(config, view, true, now())?;
            return Ok(Applied {
                writes,
                dry_run: true,
                notes,
                ..Applied::default()
            });
        }
        control.act_for(by.clone());
        let armed = control.arm_for(&config, now());
        control.act_for(Actor::daemon());
        if let Some(left) = armed? {
            let orders = control.apply_waits();
            drop(control);
            self.armed = Some((order.clone(), config, by.clone()));
            return Ok(Applied {
                arming_s: Some(left),
                orders,
                ..Applied::default()
            });
        }
        interfaces::change(&mut control, &config, &view)?;
        let drift = control.drift_remarks(&config);
        control.act_for(by.clone());
        let applied = control.apply(config.clone(), view, false, now());
        control.act_for(Actor::daemon());
        let in_force = control.config().clone();
        self.checks.follow(&in_force, control.state());
        let left = interfaces::leave(&mut control, &in_force);
        drop(control);
        self.notifier.follow(&in_force.notify);
        let writes = applied?;
        // The configuration is in force; this is not the moment to call it refused.
        let complaint = left.err().map(|error| error.to_string());
        Ok(Applied {
            writes,
            arming_s: None,
            orders: BTreeMap::new(),
            dry_run: false,
            notes: [drift, notes(order, &config)]
                .concat()
                .into_iter()
                .chain(complaint)
                .collect(),
        })
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

fn at_most(limit: Duration, pause: Option<Duration>) -> Duration {
    pause.map_or(limit, |pause| pause.min(limit))
}

async fn rest(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => pending().await,
    }
}
