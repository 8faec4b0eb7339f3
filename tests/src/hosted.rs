//! A server of our own on a thread in a backend's namespace.

use std::{future::Future, sync::mpsc, thread::JoinHandle};

use anyhow::{Context, Result};
use tokio::{runtime, sync::oneshot};

use crate::topology::Backend;

/// What runs until this is dropped; its connections go with it.
#[derive(Debug)]
pub struct Hosted {
    // Dropping the sender ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hosted {
    /// Runs in a namespace what `begin` makes there, and returns once that listens.
    pub fn start<S: Future<Output = ()>>(
        backend: &Backend,
        role: &str,
        begin: impl AsyncFnOnce() -> Result<S> + Send + 'static,
    ) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = backend.namespace.thread(role, move || {
            let ended = run(stopped, begin, &ready);
            // Whoever started us waits for one word; later ones go nowhere.
            let _ = ready.send(ended);
        })?;
        let hosted = Self {
            stop: Some(stop),
            thread: Some(thread),
        };
        is_ready
            .recv()
            .context("the server's thread is gone")?
            .with_context(|| format!("server {role}"))?;
        Ok(hosted)
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

fn run<S: Future<Output = ()>>(
    stopped: oneshot::Receiver<()>,
    begin: impl AsyncFnOnce() -> Result<S>,
    ready: &mpsc::Sender<Result<()>>,
) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let serve = begin().await?;
        // The receiver waits for this one.
        let _ = ready.send(Ok(()));
        tokio::select! {
            () = serve => {}
            _ = stopped => {}
        }
        Ok(())
    })
}
