//! The daemon without its kernel: the real core, API and socket over the twin.

use std::{
    future::pending,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use lb_userspace::{
    api::{
        http::read_only,
        model::{Applied, ApplyOrder},
        server::{Errand, Shared, router},
    },
    control::ControlError,
    state::compose,
};
use tempfile::TempDir;
use tokio::{
    net::UnixListener,
    runtime,
    sync::{mpsc, oneshot},
};

use crate::{
    site::{Site, view},
    twin::Twin,
    world::World,
};

/// A daemon that takes orders at a socket; it ends with its owner.
pub struct Fake {
    pub shared: Arc<Shared<Twin>>,
    pub socket: PathBuf,
    /// Where the same can be read over TCP.
    pub http: SocketAddr,
    directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub fn new(site: Site) -> Self {
        Self::start(site, true)
    }

    /// Its loop has ended; its server has not yet.
    pub fn stopping() -> Self {
        Self::start(Site::new(&[&[1, 1]]), false)
    }

    fn start(site: Site, turns: bool) -> Self {
        let (control, _, directory) = World::new(site).dissolve();
        let socket = directory.path().join("serin.sock");
        let (errands, waiting) = mpsc::channel(16);
        let shared = Shared::new(control, errands);
        let waiting = turns.then_some(waiting);
        let (stop, stopped) = oneshot::channel();
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        listener.set_nonblocking(true).expect("asked");
        let readers = TcpListener::bind("127.0.0.1:0").expect("a port");
        readers.set_nonblocking(true).expect("asked");
        let http = readers.local_addr().expect("bound");
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || serve((listener, readers), &served, waiting, stopped));
        Self {
            shared,
            socket,
            http,
            directory,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn shop() -> Self {
        Self::new(Site::new(&[&[2, 2], &[1, 1, 1]]))
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file that `apply` may be told to read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // Ended already is as good, and a panic of its own has been printed.
        let _ended = self.stop.take().map(|stop| stop.send(()));
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    (listener, readers): (std::os::unix::net::UnixListener, TcpListener),
    shared: &Arc<Shared<Twin>>,
    waiting: Option<mpsc::Receiver<Errand>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = UnixListener::from_std(listener).expect("a listener");
        let server = axum::serve(listener, router(Arc::clone(shared)));
        let readers = tokio::net::TcpListener::from_std(readers).expect("a listener");
        let readers = axum::serve(readers, read_only(Arc::clone(shared)));
        tokio::select! {
            ended = async { server.await } => ended.expect("served"),
            ended = async { readers.await } => ended.expect("served"),
            () = run(shared, waiting) => {}
            _ = stopped => {}
        }
    });
}

/// What the daemon's loop does, without interfaces and neighbours.
async fn run(shared: &Shared<Twin>, waiting: Option<mpsc::Receiver<Errand>>) {
    let Some(mut waiting) = waiting else {
        return pending().await;
    };
    while let Some(errand) = waiting.recv().await {
        match errand {
            Errand::Apply(order, _, answer) => drop(answer.send(apply(shared, &order))),
            Errand::Detach(answer) => drop(answer.send(Ok(()))),
        }
    }
}

fn apply(shared: &Shared<Twin>, order: &ApplyOrder) -> Result<Applied, ControlError> {
    let mut control = shared.control();
    let config = control.read_config(order.file.as_deref())?;
    let pools = config.services.iter().flat_map(|service| &service.pools);
    let places = pools.flat_map(|pool| {
        pool.backends
            .iter()
            .flat_map(lb_userspace::config::Backend::places)
    });
    let mut addresses = compose::targets(control.state());
    addresses.extend(places.map(|place| place.address));
    Ok(Applied {
        writes: control.apply(config, view(&addresses), order.dry_run, 1000)?,
        dry_run: order.dry_run,
        ..Applied::default()
    })
}
