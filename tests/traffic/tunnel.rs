//! Packets travel to the backends inside others, `serin decap` takes them out there, and the answers
//! go straight to the clients.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use serin_tests::{
    client,
    config::Attach,
    decap::Decap,
    topology::{Backend, Lab},
};

use crate::{
    report,
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(
    ipip_reaches_the_backends_and_replies_bypass_the_edge,
    gue_reaches_the_backends_and_replies_bypass_the_edge,
    either_family_travels_inside_of_the_backends_own,
    an_upload_that_is_too_big_for_the_way_is_told_so_and_completes,
    an_upload_whose_sender_is_not_told_stalls,
);

const ASKING: u32 = 20;
/// What an upload is long.
const UPLOAD: usize = 20 << 20;
/// The port of the sinks; the services of these tests listen there as well.
const SINK: u16 = 8090;

fn ipip_reaches_the_backends_and_replies_bypass_the_edge(attach: Attach) -> Result<()> {
    reaches(Way::Ipip, attach, "ipip")
}

fn gue_reaches_the_backends_and_replies_bypass_the_edge(attach: Attach) -> Result<()> {
    reaches(Way::Gue, attach, "gue")
}

fn reaches(way: Way, attach: Attach, exit: &str) -> Result<()> {
    let stage = Stage::set(way, attach)?;
    let decaps = decapsulate(&stage.lab, attach)?;
    // A reply that came to the edge would end there.
    stage
        .lab
        .edge
        .ip("route del 10.71.0.0/16\nroute del fd71::/48")?;

    let served = ask_from_many(&stage)?;

    assert_eq!(served, ["b1", "b2"].map(str::to_owned).into());
    for decap in &decaps[..2] {
        assert!(decap.exits(exit)? > 0);
        assert_eq!(decap.exits("malformed")? + decap.exits("other_source")?, 0);
    }
    for reason in ["reply_transmitted", "reply_redirected", "reply_unresolved"] {
        assert_eq!(report::reason(&stage.daemon, reason)?, 0, "{reason}");
    }
    assert_eq!(report::lookups(&stage.daemon)?, 0);
    let backends = stage.lab.backends.iter().map(|backend| &backend.namespace);
    for namespace in backends.chain([&stage.lab.clients]) {
        assert_eq!(namespace.checksum_errors()?, 0);
    }
    Ok(())
}

fn either_family_travels_inside_of_the_backends_own(attach: Attach) -> Result<()> {
    for way in [Way::Ipip, Way::Gue] {
        for v6 in [false, true] {
            let stage = Stage::with(way, attach, 2, |shop| {
                for backend in shop.pool.iter_mut().flat_map(|pool| &mut pool.backends) {
                    backend
                        .address
                        .retain(|address| address.contains(':') == v6);
                }
            })?;
            let _decaps = decapsulate(&stage.lab, attach)?;
            assert_eq!(ask_from_many(&stage)?, ["b1".to_owned()].into());
        }
    }
    Ok(())
}

fn an_upload_that_is_too_big_for_the_way_is_told_so_and_completes(attach: Attach) -> Result<()> {
    for way in [Way::Ipip, Way::Gue] {
        let stage = sinking(way, attach, None)?;
        let _decaps = decapsulate(&stage.lab, attach)?;
        let _sinks = sinks(&stage.lab)?;
        for vip in VIPS {
            let told = report::reason(&stage.daemon, "too_big")?;
            // The client has the usual MTU of 1500, of which the outer headers take their part.
            let arrived = upload(&stage.lab, vip, Duration::from_secs(20))?;
            assert_eq!(arrived, UPLOAD as u64, "{vip}");
            let told = report::reason(&stage.daemon, "too_big")? - told;
            assert!((1..100).contains(&told), "{told} answers to {vip}");
        }
    }
    Ok(())
}

fn an_upload_whose_sender_is_not_told_stalls(attach: Attach) -> Result<()> {
    let stage = sinking(Way::Ipip, attach, Some(0))?;
    let _decaps = decapsulate(&stage.lab, attach)?;
    let _sinks = sinks(&stage.lab)?;
    for vip in VIPS {
        let error = upload(&stage.lab, vip, Duration::from_secs(2));
        assert!(error.is_err(), "{vip}: {error:?}");
    }
    assert_eq!(report::reason(&stage.daemon, "too_big")?, 0);
    assert!(report::reason(&stage.daemon, "too_big_untold")? > 0);
    Ok(())
}

/// A stage whose service listens at the port of the sinks.
fn sinking(way: Way, attach: Attach, too_big_per_second: Option<u32>) -> Result<Stage> {
    let mut stage = Stage::with(way, attach, 2, |shop| {
        shop.listen = VIPS
            .map(|vip| format!("tcp://{}", SocketAddr::new(vip.ip(), SINK)))
            .to_vec();
    })?;
    if too_big_per_second.is_some() {
        stage.daemon.terminate()?;
        stage.daemon.config.node.too_big_per_second = too_big_per_second;
        stage.daemon.write_config()?;
        stage.daemon.start(&stage.lab)?;
    }
    Ok(stage)
}

/// `serin decap` on each backend.
pub fn decapsulate(lab: &Lab, attach: Attach) -> Result<Vec<Decap>> {
    let on = |backend: &Backend| Decap::start(&backend.namespace, attach);
    lab.backends.iter().map(on).collect()
}

/// Asks over both families and protocols; returns who answered.
fn ask_from_many(stage: &Stage) -> Result<BTreeSet<String>> {
    let mut served = BTreeSet::new();
    for number in 0..ASKING {
        for vip in VIPS {
            let source = user(number, vip);
            // Connected sockets: an answer that is not from the VIP is no answer.
            let tcp = client::get(&stage.lab.clients, source, vip);
            let udp = client::ask_udp(&stage.lab.clients, SocketAddr::new(source, 0), vip);
            for answer in [tcp, udp] {
                let answer = answer.map_err(|failure| anyhow!("{source}: {failure}"))?;
                assert_eq!((answer.version.as_str(), answer.client), ("v1", source));
                served.insert(answer.backend);
            }
        }
    }
    Ok(served)
}

/// On each backend: reads two connections to their end, and answers with the number of bytes.
fn sinks(lab: &Lab) -> Result<Vec<JoinHandle<()>>> {
    let on = |backend: &Backend| {
        let listener = {
            let _inside = backend.namespace.enter()?;
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, SINK))?
        };
        backend.namespace.thread("sink", move || {
            listener
                .set_nonblocking(true)
                .expect("a listener can be made not to wait");
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_mins(1) {
                match listener.accept() {
                    Ok((stream, _)) => swallow(stream),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::park_timeout(Duration::from_millis(5));
                    }
                    Err(_) => return,
                }
            }
        })
    };
    lab.backends.iter().map(on).collect()
}

/// A client that gives up is nothing to report: it tells by itself.
fn swallow(mut stream: TcpStream) {
    let patience = stream.set_read_timeout(Some(Duration::from_secs(5)));
    if patience.and(stream.set_nonblocking(false)).is_err() {
        return;
    }
    if let Ok(length) = std::io::copy(&mut stream, &mut std::io::sink()) {
        let _ = stream.write_all(&length.to_be_bytes());
    }
}

/// Sends the bytes, and returns how many the other side has read.
fn upload(lab: &Lab, vip: SocketAddr, patience: Duration) -> Result<u64> {
    let target = SocketAddr::new(vip.ip(), SINK);
    let source = SocketAddr::new(user(1, vip), 0);
    let connected = client::connect(&lab.clients, source, target);
    let mut stream = connected.map_err(|failure| anyhow!("{source}: {failure}"))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(&vec![0xa5; UPLOAD])?;
    stream.shutdown(Shutdown::Write)?;
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    Ok(u64::from_be_bytes(length))
}
