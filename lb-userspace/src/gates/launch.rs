//! The thread that starts commands.
//!
//! The kernel kills what a *thread* has started when that thread ends (`PR_SET_PDEATHSIG`, prctl(2)).
//! Those of a pool come and go; this one stays as long as the daemon, and so even one that is killed
//! leaves no command behind.

use std::{
    io,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Pid, getppid},
};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

static LAUNCHER: Mutex<Option<mpsc::Sender<Work>>> = Mutex::new(None);

/// Has the thread do something, after what it was given before; nothing, if nobody waits for it any more.
pub async fn launch<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, &'static str> {
    const NO_THREAD: &str = "there is no thread to start it; see ulimit -u";
    let launcher = launcher().ok_or(NO_THREAD)?;
    let (answer, wait) = oneshot::channel();
    let work = move || {
        if !answer.is_closed() {
            drop(answer.send(work()));
        }
    };
    launcher.send(Box::new(work)).map_err(|_| NO_THREAD)?;
    wait.await.map_err(|_| NO_THREAD)
}

/// The thread, made when it is first needed.
fn launcher() -> Option<mpsc::Sender<Work>> {
    let mut launcher = LAUNCHER.lock().unwrap_or_else(PoisonError::into_inner);
    if launcher.is_none() {
        *launcher = begin();
    }
    launcher.clone()
}

fn begin() -> Option<mpsc::Sender<Work>> {
    let (launcher, given) = mpsc::channel::<Work>();
    let thread = thread::Builder::new().name("launcher".to_owned());
    let begun = thread.spawn(move || given.into_iter().for_each(|work| work()));
    begun.is_ok().then_some(launcher)
}

/// Between `fork` and `exec`, after the change of user (which would void it): dies with the thread that
/// has started it, whose process is `parent`. Makes two system calls and nothing else.
pub fn die_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent {
        Ok(())
    } else {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}
