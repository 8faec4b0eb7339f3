//! What may be wrong with a server.

use std::sync::{Mutex, PoisonError};

use nix::sys::socket::{setsockopt, sockopt};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rand_distr::{Distribution as _, LogNormal};
use std::time::Duration;
use tokio::{net::TcpStream, sync::Notify};

/// How a server answers TCP; well and at once, unless told otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// What chance begins with.
    pub seed: u64,
    /// Median of the time that an answer takes, in microseconds: lognormal, σ 0.5. At once if 0.
    pub takes_us: u32,
    /// Of a thousand connections over IPv4 so many are reset when they ask.
    pub resets_v4: u32,
    /// The same over IPv6.
    pub resets_v6: u32,
    /// It dies, and all its connections with it, when it has accepted so many.
    pub dies_after: Option<u64>,
}

/// A manner as it is shown.
#[derive(Debug)]
pub(crate) struct Mannered {
    manner: Manner,
    chance: Mutex<SmallRng>,
    /// Told when the server dies.
    pub(crate) death: Notify,
}

impl Mannered {
    pub(crate) fn new(manner: Manner) -> Self {
        Self {
            manner,
            chance: Mutex::new(SmallRng::seed_from_u64(manner.seed)),
            death: Notify::new(),
        }
    }

    /// A connection is the so-manieth.
    pub(crate) fn accepted(&self, number: u64) {
        if self.manner.dies_after.is_some_and(|last| number >= last) {
            self.death.notify_one();
        }
    }

    /// Whether this connection is to be reset.
    pub(crate) fn resets(&self, v6: bool) -> bool {
        let permille = if v6 {
            self.manner.resets_v6
        } else {
            self.manner.resets_v4
        };
        permille > 0 && self.with_chance(|chance| chance.random_range(0..1000) < permille)
    }

    /// How long it takes to answer.
    pub(crate) fn service_time(&self) -> Duration {
        if self.manner.takes_us == 0 {
            return Duration::ZERO;
        }
        let spread = LogNormal::new(0.0, 0.5).expect("a spread that is one");
        let factor = self.with_chance(|chance| spread.sample(chance));
        Duration::from_micros(self.manner.takes_us.into()).mul_f64(factor)
    }

    fn with_chance<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends a connection by a reset instead of in order.
pub(crate) fn reset(stream: TcpStream) {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // Of a connection that is gone there is nothing to reset.
    let _ = setsockopt(&stream, sockopt::Linger, &at_once);
    drop(stream);
}
