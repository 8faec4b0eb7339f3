//! What else happens while a release goes on: nothing that it could help.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;
use tokio::{runtime, time::timeout};

use super::{scene::Trouble, stage::Stage};
use crate::{
    flood::Flood,
    load::{self, Load},
    manner,
    netns::Namespace,
    topology::{VIP_V4, client_v4},
};

/// SYNs of a flood, at 20 000 a second.
const FLOOD: u32 = 60_000;
/// Who looks for open ports, and at how many.
const SCANNERS: u32 = 200;
const PORTS: u16 = 200;
/// How long the bad client waits for a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// It ends when dropped, or by itself.
pub(super) struct Troubles {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _load: Option<Load>,
}

impl Troubles {
    /// Begins, once the release has.
    pub(super) fn begin(stage: &Stage, trouble: Trouble, candidate: &str) -> Result<Self> {
        let clients = &stage.lab.clients;
        let stop = Arc::new(AtomicBool::new(false));
        let (mut thread, mut load) = (None, None);
        match trouble {
            Trouble::None => {}
            Trouble::Flood => thread = Some(sending(clients, |flood| flood.syns(80, FLOOD))?),
            Trouble::Scan => {
                thread = Some(sending(clients, |flood| flood.scan(SCANNERS, PORTS))?);
            }
            Trouble::Pest => {
                let user = stage.drawn(candidate)?;
                thread = Some(pest(clients, user, Arc::clone(&stop))?);
            }
            Trouble::Gateway => load = Some(stage.gateway(stage.drawn(candidate)?)?),
        }
        Ok(Self {
            stop,
            thread,
            _load: load,
        })
    }
}

impl Drop for Troubles {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

fn sending(
    clients: &Namespace,
    send: impl FnOnce(Flood) -> Result<()> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let flood = Flood::from(clients)?;
    clients.thread("flood", move || {
        if let Err(error) = send(flood) {
            eprintln!("{error:#}");
        }
    })
}

/// One client that connects, asks nothing and resets, again and again.
fn pest(clients: &Namespace, user: u32, stop: Arc<AtomicBool>) -> Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (from, to) = (client_v4(user), SocketAddr::new(VIP_V4, 80));
    clients.thread("pest", move || {
        runtime.block_on(async {
            while !stop.load(Ordering::Relaxed) {
                // That nothing comes of it is what it is for.
                if let Ok(Ok(stream)) = timeout(PATIENCE, load::open(from, to)).await {
                    manner::reset(stream);
                }
            }
        });
    })
}
