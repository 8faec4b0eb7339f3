//! Those who are told of what happens: each has a task of its own, which reads the audit log after
//! the place that it has come to, and tells what is there. The log is the queue, so that neither a
//! crash nor a target that is away loses an entry or changes their order.

mod board;
mod courier;
mod cursor;
mod message;
mod pause;
mod post;
mod secret;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tokio::task::AbortHandle;

pub use board::Board;

use self::{courier::Courier, cursor::Cursor};
use crate::{config::Notify, journal::Journal};

/// All targets; their tasks end when this is dropped.
pub struct Notifier {
    directory: PathBuf,
    journal: Journal,
    board: Board,
    running: BTreeMap<String, Running>,
}

struct Running {
    target: Notify,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notifier {
    /// Nobody yet; where they have come to is kept beside the state file.
    pub fn new(state: &Path, journal: Journal, board: Board) -> Self {
        let directory = state.parent().unwrap_or(Path::new("/")).to_owned();
        Self {
            directory,
            journal,
            board,
            running: BTreeMap::new(),
        }
    }

    /// Tells these targets and no others. One that is new is told what happens from now on. To be
    /// called in a tokio runtime.
    pub fn follow(&mut self, targets: &[Notify]) {
        self.running
            .retain(|_, running| targets.contains(&running.target));
        let names: Vec<&str> = targets.iter().map(|target| &*target.name).collect();
        self.board.keep(&names);
        Cursor::forget_others(&self.directory, &names);
        for target in targets {
            if self.running.contains_key(&target.name) {
                continue;
            }
            let last = self.journal.next(None) - 1;
            let cursor = Cursor::open(&self.directory, &target.name, last);
            let journal = self.journal.clone();
            let courier = Courier::new(target.clone(), journal, cursor, self.board.clone());
            let task = tokio::spawn(courier.run()).abort_handle();
            let running = Running {
                target: target.clone(),
                task,
            };
            self.running.insert(target.name.clone(), running);
        }
    }
}
