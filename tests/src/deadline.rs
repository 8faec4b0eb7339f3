//! Waiting for something to become true, never longer than a limit.

use std::{
    env,
    sync::OnceLock,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::interrupt;

const POLL: Duration = Duration::from_millis(5);

/// Repeats `attempt` until it gives a value.
///
/// Fails when `attempt` fails, when `limit` has passed (the error then names `what`), and when the
/// user interrupts.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    let limit = limit * patience();
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        interrupt::check()?;
        ensure!(
            begun.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        sleep(POLL);
    }
}

/// How many times slower this machine is than those that limits are made for: more than once where
/// every instruction is emulated.
fn patience() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| {
        let factor = env::var("SERIN_PATIENCE").ok();
        factor.and_then(|text| text.parse().ok()).unwrap_or(1)
    })
}

/// Lets traffic run for a while; an interrupt cuts it short with an error.
pub fn pass(time: Duration) -> Result<()> {
    let begun = Instant::now();
    until("the end of a pause", time + POLL * 20, || {
        Ok((begun.elapsed() >= time).then_some(()))
    })
}
