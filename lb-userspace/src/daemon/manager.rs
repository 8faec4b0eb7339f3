//! What the service manager is told (`sd_notify(3)`): that the daemon is ready, that it lives, that it
//! stops. Without one that asks, nobody is told.

use std::future::pending;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{MissedTickBehavior, interval};

/// Orders are taken from now on.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// Tells, for ever, that the daemon's thread still turns: twice in the time that the manager gives it.
pub async fn live<T>() -> T {
    let Some(limit) = watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return pending().await;
    };
    let mut beat = interval(limit / 2);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        tell(NotifyState::Watchdog);
    }
}

/// The daemon ends, as it was asked to.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = notify(&[state]) {
        tracing::error!("the service manager can't be told: {error}; see NOTIFY_SOCKET");
    }
}
