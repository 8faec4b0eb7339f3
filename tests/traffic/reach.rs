//! Requests reach the active pool, and answers come back.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::Result;
use serin_tests::{
    client,
    config::Attach,
    topology::{FRONT_MAC, Lab},
};

use crate::{
    report,
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(
    nat_reaches_the_active_pool_and_shows_it_the_client,
    l2_reaches_the_active_pool_and_replies_bypass_the_edge,
);

const ASKING: u32 = 20;

fn nat_reaches_the_active_pool_and_shows_it_the_client(attach: Attach) -> Result<()> {
    let stage = Stage::set(Way::Nat, attach)?;

    let served = ask_from_many(&stage)?;

    assert_eq!(served, ["b1", "b2"].map(str::to_owned).into());
    assert_eq!(lookups_and_drops(&stage)?, (0, 0));
    assert_eq!(checksum_errors(&stage.lab)?, 0);
    Ok(())
}

fn l2_reaches_the_active_pool_and_replies_bypass_the_edge(attach: Attach) -> Result<()> {
    let stage = Stage::set(Way::L2, attach)?;
    // A reply that came to the edge would end there.
    stage
        .lab
        .edge
        .ip("route del 10.71.0.0/16\nroute del fd71::/48")?;
    let syns = stage.syns()?;

    let served = ask_from_many(&stage)?;

    assert_eq!(served, ["b1", "b2"].map(str::to_owned).into());
    let senders: BTreeSet<_> = syns
        .iter()
        .flat_map(serin_tests::syns::SynRecorder::seen)
        .map(|syn| syn.sender.0)
        .collect();
    assert_eq!(senders, [FRONT_MAC.0].into(), "frames come from the edge");
    for reason in ["reply_transmitted", "reply_redirected", "reply_unresolved"] {
        assert_eq!(report::reason(&stage.daemon, reason)?, 0, "{reason}");
    }
    assert_eq!(lookups_and_drops(&stage)?, (0, 0));
    assert_eq!(checksum_errors(&stage.lab)?, 0);
    Ok(())
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
                let answer = answer.map_err(|failure| anyhow::anyhow!("{source}: {failure}"))?;
                assert_eq!((answer.version.as_str(), answer.client), ("v1", source));
                served.insert(answer.backend);
            }
        }
    }
    Ok(served)
}

/// At rest the flow table is never looked at, and nothing is dropped.
fn lookups_and_drops(stage: &Stage) -> Result<(u64, u64)> {
    let mut drops = 0;
    for reason in [
        "reply_unroutable",
        "no_record",
        "no_table",
        "empty_pool",
        "no_backend",
        "no_route",
        "no_port",
    ] {
        drops += report::reason(&stage.daemon, reason)?;
    }
    Ok((report::lookups(&stage.daemon)?, drops))
}

/// Packets that clients or backends threw away for a wrong checksum.
fn checksum_errors(lab: &Lab) -> Result<u64> {
    let backends = lab.backends.iter().map(|backend| &backend.namespace);
    let errors = backends
        .chain([&lab.clients])
        .map(serin_tests::netns::Namespace::checksum_errors);
    errors.sum()
}
