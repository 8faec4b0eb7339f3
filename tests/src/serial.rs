//! Tests that measure traffic take turns: two labs at once would share two cores and measure each other.

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::deadline;

const LOCK: &str = "/run/lock/serin-tests.lock";
const LONGEST_TURN: Duration = Duration::from_mins(15);

/// Whether a lab of this very process has the turn; then waiting for it is nothing to report.
static OURS: AtomicBool = AtomicBool::new(false);

/// Holds the machine until dropped.
#[derive(Debug)]
pub struct Turn {
    _lock: Flock<File>,
}

/// Waits for the machine to be free of other labs, of this process and of any other.
///
/// A file lock, because the kernel frees it however its holder ends.
pub fn turn() -> Result<Turn> {
    let mut file = Some(open()?);
    let mut told = false;
    let what = format!("another lab on this machine to end (it holds {LOCK})");
    let lock = deadline::until(&what, LONGEST_TURN, || {
        let ours = file.take().map_or_else(open, Ok)?;
        match Flock::lock(ours, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((back, Errno::EWOULDBLOCK)) => file = Some(back),
            Err((_, errno)) => bail!("locking {LOCK}: {errno}"),
        }
        if !told && !OURS.load(Ordering::Relaxed) {
            eprintln!("waiting for {what}");
            told = true;
        }
        Ok(None)
    })?;
    OURS.store(true, Ordering::Relaxed);
    Ok(Turn { _lock: lock })
}

impl Drop for Turn {
    fn drop(&mut self) {
        OURS.store(false, Ordering::Relaxed);
    }
}

fn open() -> Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(LOCK)
        .with_context(|| format!("opening {LOCK}; labs need root"))
}
