//! Looks at the kernel whenever it announces something new.

use std::{collections::BTreeSet, future::pending, net::IpAddr, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tracing::{error, warn};

use super::{
    NeighbourError, View,
    event::Events,
    keep::{self, Keeper},
    kernel::Kernel,
    snapshot::Snapshot,
};

/// Announcements come in groups: a look waits until none has come for this long ...
const CALM: Duration = Duration::from_millis(5);

/// ... but no longer than this after the first.
const PATIENCE: Duration = Duration::from_millis(50);

/// Rest after a look that failed.
const RETRY: Duration = Duration::from_secs(1);

/// What is known of the kernel, and the means to learn more.
pub(super) struct Watcher {
    kernel: Kernel,
    events: Events,
    snapshot: Snapshot,
    keeper: Keeper,
    /// Targets that no Ethernet frame reaches, of which the log tells already.
    stranded: BTreeSet<IpAddr>,
}

impl Watcher {
    pub(super) fn open() -> Result<Self, NeighbourError> {
        // Events first: what changes between the two is announced.
        let events = Events::open()?;
        Ok(Self {
            kernel: Kernel::open()?,
            events,
            snapshot: Snapshot::default(),
            keeper: Keeper::default(),
            stranded: BTreeSet::new(),
        })
    }

    pub(super) fn view(&self) -> View {
        self.snapshot.view()
    }

    /// Looks at the kernel; returns how soon it is to be looked at again, come what may.
    pub(super) async fn refresh(
        &mut self,
        targets: &BTreeSet<IpAddr>,
    ) -> Result<Duration, NeighbourError> {
        let now = Snapshot::take(&self.kernel, targets, &self.snapshot).await?;
        let rest = self.keeper.tend(&self.kernel, &self.snapshot, &now).await;
        self.snapshot = now;
        self.tell_stranded();
        Ok(rest)
    }

    /// Waits for an announcement that changes something, and for those that come with it.
    pub(super) async fn news(&mut self) -> Result<(), NeighbourError> {
        while !self.snapshot.is_news(&self.events.next().await?) {}
        let latest = Instant::now() + PATIENCE;
        loop {
            let calm = (Instant::now() + CALM).min(latest);
            match timeout_at(calm, self.events.next()).await {
                Ok(event) => drop(event?),
                Err(_elapsed) => return Ok(()),
            }
            if Instant::now() >= latest {
                return Ok(());
            }
        }
    }

    fn tell_stranded(&mut self) {
        let stranded = self.snapshot.stranded();
        for address in stranded.difference(&self.stranded) {
            warn!(
                "backend {address} is routed into a tunnel, where XDP's Ethernet frames can't go; \
                 route it over an interface that has a MAC address",
            );
        }
        self.stranded = stranded;
    }
}

/// Follows the targets until nobody looks at the views.
pub(super) async fn run(
    mut watcher: Watcher,
    mut targets: watch::Receiver<BTreeSet<IpAddr>>,
    views: watch::Sender<View>,
) {
    loop {
        let current = targets.borrow_and_update().clone();
        let rest = look(&mut watcher, &current, &views).await;
        tokio::select! {
            () = views.closed() => return,
            () = changed(&mut targets) => {}
            news = watcher.news() => if let Err(error) = news {
                error!("next hops are no longer followed: {error}");
                return;
            },
            () = sleep(rest) => {}
        }
    }
}

async fn look(
    watcher: &mut Watcher,
    targets: &BTreeSet<IpAddr>,
    views: &watch::Sender<View>,
) -> Duration {
    let rest = match watcher.refresh(targets).await {
        Ok(rest) => rest,
        Err(error) => {
            warn!("the next hops known so far stay in use: {error}");
            return RETRY;
        }
    };
    let view = watcher.view();
    views.send_if_modified(|old| {
        let differs = *old != view;
        if differs {
            *old = view;
        }
        differs
    });
    keep::release_strays(&watcher.kernel, &watcher.snapshot).await;
    rest
}

async fn changed(targets: &mut watch::Receiver<BTreeSet<IpAddr>>) {
    if targets.changed().await.is_err() {
        pending::<()>().await;
    }
}
