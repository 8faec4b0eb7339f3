//! Labs share the machine: a few at a time, or one that measures, alone.
//!
//! Most tests wait more than they work, so a few labs fit on two cores. What is held to a time or to
//! a part of a core would measure the others.

use std::{
    cell::Cell,
    fs::File,
    os::unix::fs::OpenOptionsExt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::{deadline, leftovers};

/// Held in common by labs, and exclusively by one that measures.
const MACHINE: &str = "/run/lock/serin-tests.lock";
/// Held by whoever is next, so that one that measures is not overtaken by labs for ever.
const NEXT: &str = "/run/lock/serin-tests.next.lock";
const LONGEST_TURN: Duration = Duration::from_mins(15);
/// A wait that is worth a word.
const LONG: Duration = Duration::from_mins(1);

thread_local! {
    /// Whether this thread has the machine for itself: then its labs have their turn by that.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// A lab's place on the machine, until dropped.
#[derive(Debug)]
pub struct Turn {
    // A file lock, because the kernel frees it however its holder ends.
    _lock: Option<Flock<File>>,
}

/// The whole machine, until dropped: for this thread's labs, and nobody else's.
#[derive(Debug)]
pub struct Alone {
    _lock: Flock<File>,
}

/// Waits until nobody who measures has the machine, or is next.
pub fn turn() -> Result<Turn> {
    if ALONE.get() {
        return Ok(Turn { _lock: None });
    }
    let lock = take(FlockArg::LockSharedNonblock)?;
    Ok(Turn { _lock: Some(lock) })
}

/// Waits until no lab is on this machine, of this process or of any other. To be dropped by the thread
/// that took it, after its labs.
pub fn alone() -> Result<Alone> {
    let lock = take(FlockArg::LockExclusiveNonblock)?;
    ALONE.set(true);
    Ok(Alone { _lock: lock })
}

impl Drop for Alone {
    fn drop(&mut self) {
        ALONE.set(false);
    }
}

fn take(how: FlockArg) -> Result<Flock<File>> {
    let _next = wait(NEXT, FlockArg::LockExclusiveNonblock)?;
    let lock = wait(MACHINE, how)?;
    // One at a time, or two would remove the same.
    leftovers::sweep()?;
    Ok(lock)
}

fn wait(path: &str, how: FlockArg) -> Result<Flock<File>> {
    let mut file = Some(open(path)?);
    let began = Instant::now();
    let mut told = false;
    let what = format!("other labs on this machine to end (they hold {path})");
    deadline::until(&what, LONGEST_TURN, || {
        let ours = file.take().map_or_else(|| open(path), Ok)?;
        match Flock::lock(ours, how) {
            Ok(lock) => return Ok(Some(lock)),
            Err((back, Errno::EWOULDBLOCK)) => file = Some(back),
            Err((_, errno)) => bail!("locking {path}: {errno}"),
        }
        if !told && began.elapsed() > LONG {
            eprintln!("waiting for {what}");
            told = true;
        }
        Ok(None)
    })
}

fn open(path: &str) -> Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening {path}; labs need root"))
}
