//! DNS over UDP: each datagram stands for itself, and none is lost over three releases.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use serin_tests::{
    clock,
    config::{Attach, Service},
    daemon::Daemon,
    deadline,
    dns::{Asked, Resolver},
    real::{self, Dnsmasq},
    topology::{Lab, VIP_V4, VIP_V6},
};

use crate::stage::{names, user, words};

const DNS: u16 = 53;
const VIPS: [SocketAddr; 2] = [SocketAddr::new(VIP_V4, DNS), SocketAddr::new(VIP_V6, DNS)];
const RELEASES: [(&str, &str); 3] = [
    ("cutover shop --to green", "v2"),
    ("cutover shop --to blue", "v1"),
    ("share shop 100%", "v2"),
];
/// Questions after each release, at least.
const QUESTIONS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(20);

in_both_modes!(no_question_fails_and_answers_change_with_each_release);

fn no_question_fails_and_answers_change_with_each_release(attach: Attach) -> Result<()> {
    let lab = Lab::routed(4)?;
    let named = lab.backends.iter().zip(names(4));
    let servers =
        named.map(|(backend, (version, name))| Dnsmasq::start(backend, version, &name, 5353));
    let _servers: Vec<_> = servers.collect::<Result<_>>()?;
    let mut shop = Service::shop(&lab, "nat", 5353);
    let listen = |vip: SocketAddr| [format!("udp://{vip}"), format!("tcp://{vip}")];
    shop.listen = VIPS.into_iter().flat_map(listen).collect();
    let daemon = Daemon::run(&lab, attach, vec![shop])?;
    let resolvers = VIPS.map(|vip| {
        let sources = (0..50).map(|number| user(number, vip)).collect();
        Resolver::start(&lab.clients, sources, vip)
    });
    let resolvers = resolvers.into_iter().collect::<Result<Vec<_>>>()?;
    wait_for_questions(&resolvers, 0)?;

    for (order, version) in RELEASES {
        daemon.serin(&words(order))?;
        let since = clock::now_ns();
        for vip in VIPS {
            let from = user(60, vip);
            let by_udp = real::dig(&lab.clients, from, vip, &[])?;
            let by_tcp = real::dig(&lab.clients, from, vip, &["+tcp"])?;
            assert!(
                by_udp.starts_with(version) && by_tcp.starts_with(version),
                "{by_udp} {by_tcp}"
            );
        }
        wait_for_questions(&resolvers, since)?;
        for resolver in &resolvers {
            assert_answers(&resolver.asked(), since, version);
        }
    }

    let asked: Vec<Asked> = resolvers.iter().flat_map(Resolver::asked).collect();
    let failed: Vec<&Asked> = asked.iter().filter(|asked| asked.answer.is_err()).collect();
    eprintln!(
        "{attach:?}: {} questions, {} failed",
        asked.len(),
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    Ok(())
}

fn wait_for_questions(resolvers: &[Resolver], since: u64) -> Result<()> {
    deadline::until("questions from both families", PATIENCE, || {
        let enough = |resolver: &Resolver| after(&resolver.asked(), since).count() >= QUESTIONS;
        Ok(resolvers.iter().all(enough).then_some(()))
    })
}

fn after(asked: &[Asked], since: u64) -> impl Iterator<Item = &Asked> {
    asked.iter().filter(move |asked| asked.at_ns > since)
}

/// All questions since then are answered by this version, and by both of its servers.
fn assert_answers(asked: &[Asked], since: u64, version: &str) {
    let answers = after(asked, since).filter_map(|asked| asked.answer.as_ref().ok());
    let mut servers: Vec<&String> = answers.collect();
    assert!(
        servers.iter().all(|who| who.starts_with(version)),
        "{servers:?} are not {version}"
    );
    servers.sort();
    servers.dedup();
    assert_eq!(servers.len(), 2, "{servers:?}");
}
