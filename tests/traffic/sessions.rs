//! UDP: `datagram = "session"` keeps sessions that are there, `"stateless"` none.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Error, Result, ensure};
use ipnet::IpNet;
use serin_tests::{client, config::Attach, deadline, http::Answer};

use crate::{
    audience::table,
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(known_sessions_stay_through_a_cutover_and_back_and_new_ones_take_the_new_answer);

const SESSIONS: u16 = 20;
/// Pause between two datagrams of all sessions: well below `idle`.
const PAUSE: Duration = Duration::from_millis(150);
const LIMIT: Duration = Duration::from_secs(30);

fn known_sessions_stay_through_a_cutover_and_back_and_new_ones_take_the_new_answer(
    attach: Attach,
) -> Result<()> {
    let stage = with_sessions(attach)?;
    let old = Sessions::begin(&stage, 20_000)?;

    stage.serin("cutover shop")?;
    assert_eq!(version(&stage, 30_000)?, "v2", "a new session");
    let new = Sessions::begin(&stage, 40_000)?;
    stage.serin("rollback shop")?;
    assert_eq!(version(&stage, 30_001)?, "v1", "another new session");

    old.end("v1")?;
    new.end("v2")
}

#[test]
fn a_daemon_killed_while_sessions_are_pinned_makes_the_step_when_it_is_back() -> Result<()> {
    let mut stage = with_sessions(Attach::Native)?;
    let old = Sessions::begin(&stage, 20_000)?;
    let order = stage.daemon.spawn(&["cutover", "shop"])?;
    deadline::until("the order to wait", LIMIT, || {
        Ok((stage.status()?["pending"] == "cutover").then_some(()))
    })?;

    stage.daemon.kill()?;
    let left = order.wait_with_output()?;
    stage.daemon.start(&stage.lab)?;

    assert_eq!(left.status.code(), Some(4), "the daemon can't be reached");
    deadline::until("the order to be carried out", LIMIT, || {
        Ok((stage.status()?["active"] == "green").then_some(()))
    })?;
    assert_eq!(version(&stage, 30_000)?, "v2");
    old.end("v1")
}

#[test]
fn known_sessions_stay_when_other_audiences_are_applied() -> Result<()> {
    let mut stage = with_sessions(Attach::Native)?;
    // Audiences have a candidate to go to, and hardly anybody else is sent there.
    stage.serin("share shop 1ppm")?;
    let old = Sessions::begin(&stage, 20_000)?;
    let sources = VIPS.map(|vip| IpNet::from(user(7, vip)).to_string());
    let staff = [
        ("name", toml::Value::from("staff")),
        ("pool", "candidate".into()),
        ("sources", sources.to_vec().into()),
    ];
    stage.shop().audience = vec![table(staff)];

    stage.apply()?;

    let new = Sessions::begin(&stage, 40_000)?;
    old.end("v1")?;
    new.end("v2")
}

#[test]
fn without_sessions_each_datagram_takes_the_new_answer() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    for (order, expected) in [("cutover shop", "v2"), ("rollback shop", "v1")] {
        stage.serin(order)?;
        for _ in 0..5 {
            assert_eq!(version(&stage, 20_000)?, expected, "{order}");
        }
    }
    Ok(())
}

fn with_sessions(attach: Attach) -> Result<Stage> {
    Stage::with(Way::Nat, attach, 4, |shop| {
        "session".clone_into(&mut shop.datagram);
        "2s".clone_into(&mut shop.idle);
    })
}

/// Which version answers a datagram from this port.
fn version(stage: &Stage, port: u16) -> Result<String> {
    let from = SocketAddr::new(user(1, VIPS[0]), port);
    Ok(client::ask_udp(&stage.lab.clients, from, VIPS[0])
        .map_err(Error::msg)?
        .version)
}

/// Sessions of both families that send and are answered, until they are ended.
struct Sessions {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<String>>>,
}

impl Sessions {
    /// Each has been answered once when this returns.
    fn begin(stage: &Stage, first_port: u16) -> Result<Self> {
        let (ready, is_ready) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let talk = move || {
            let sockets = open(first_port)?;
            let mut versions = round(&sockets)?;
            // Whoever began us waits for one word.
            let _ = ready.send(());
            while !until.load(Ordering::Relaxed) {
                versions.extend(round(&sockets)?);
                deadline::pass(PAUSE)?;
            }
            versions.extend(round(&sockets)?);
            Ok(versions)
        };
        let thread = stage.lab.clients.thread("sessions", talk)?;
        is_ready.recv().context("no session was answered")?;
        Ok(Self { stop, thread })
    }

    /// All answers must have come from this version.
    fn end(self, version: &str) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let versions = self.thread.join().ok().context("a panic")??;
        let strange = versions.iter().filter(|got| *got != version).count();
        ensure!(strange == 0, "{strange} of {} answers", versions.len());
        ensure!(versions.len() > usize::from(SESSIONS), "too few answers");
        Ok(())
    }
}

/// Called in the clients' namespace.
fn open(first_port: u16) -> Result<Vec<UdpSocket>> {
    let mut sockets = Vec::new();
    for vip in VIPS {
        for port in first_port..first_port + SESSIONS {
            let socket = UdpSocket::bind((user(7, vip), port))?;
            socket.set_read_timeout(Some(client::PATIENCE))?;
            socket.connect(vip)?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// A datagram of each session, and the version that answers it.
fn round(sockets: &[UdpSocket]) -> Result<Vec<String>> {
    let ask = |socket: &UdpSocket| {
        let mut answer = [0; 2048];
        socket.send(b"who are you?")?;
        let length = client::uninterrupted(|| socket.recv(&mut answer))?;
        Ok(Answer::from_body(&answer[..length])
            .map_err(Error::msg)?
            .version)
    };
    sockets.iter().map(ask).collect()
}
