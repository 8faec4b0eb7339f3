//! Next hops change while traffic flows: it follows.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use serin_tests::{
    client,
    config::Attach,
    deadline,
    mac::Mac,
    syns::SynRecorder,
    topology::UPLINK,
    veth::{self, End},
    xdp_pass::PassLink,
};

use crate::{
    crowd::Crowd,
    report::{find, reason},
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(
    an_interface_that_goes_is_told_and_attached_again_when_it_returns,
    replies_reach_a_client_whose_neighbour_entry_is_gone,
);

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn traffic_follows_a_backend_to_another_mac() -> Result<()> {
    let stage = Stage::with(Way::Nat, Attach::Native, 2, |_| ())?;
    let backend = &stage.lab.backends[0].namespace;
    // As most hosts' network managers do, the backend announces itself.
    backend.sysctl(&format!("net/ipv4/conf/{UPLINK}/arp_notify"), "1")?;
    backend.sysctl(&format!("net/ipv6/conf/{UPLINK}/ndisc_notify"), "1")?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    backend.ip(&format!("link set {UPLINK} address {}", Mac::local(9, 9)))?;

    // Packets to the old address are lost until the news is in; TCP sends them again.
    crowd.round()?;
    crowd.disperse()?.assert_unharmed();
    assert_next_hop(&stage, "resolved")
}

#[test]
fn traffic_follows_a_backend_whose_entry_is_deleted() -> Result<()> {
    let stage = Stage::with(Way::Nat, Attach::Native, 2, |_| ())?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    for _ in 0..3 {
        stage.lab.edge.ip("neigh flush dev back0")?;
        let _may_be_gone = stage.lab.edge.ip("neigh del 10.72.0.2 dev back0");
        let _may_be_gone = stage.lab.edge.ip("neigh del fd72::2 dev back0");
        crowd.round()?;
    }

    crowd.disperse()?.assert_unharmed();
    assert_next_hop(&stage, "resolved")
}

#[test]
fn traffic_follows_a_route_to_another_interface() -> Result<()> {
    let stage = Stage::configured(Way::Nat, Attach::Native, 2, |config| {
        config.node.interfaces.push("detour".to_owned());
    })?;
    let _pass = add_detour(&stage)?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    let syns = SynRecorder::start(&stage.lab.backends[0].namespace)?;
    crowd.round()?;
    let before = syns.seen().len();

    stage
        .lab
        .edge
        .ip("route replace 10.72.0.2/32 via 10.73.0.2 dev detour\n\
         route replace fd72::2/128 via fd73::2 dev detour")?;
    deadline::until("connections by the detour", LIMIT, || {
        let mut new = syns.seen().split_off(before).into_iter();
        Ok(new.any(|syn| syn.sender == DETOUR_MAC).then_some(()))
    })?;
    let moved = syns.seen().len();
    crowd.round()?;

    let late = syns.seen().split_off(moved);
    assert!(late.len() > 100 && late.iter().all(|syn| syn.sender == DETOUR_MAC));
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

const DETOUR_MAC: Mac = Mac::local(4, 1);

/// A second way from the edge to the first backend, which no route uses yet.
fn add_detour(stage: &Stage) -> Result<PassLink> {
    let detour = End {
        namespace: &stage.lab.edge,
        interface: "detour",
        mac: DETOUR_MAC,
        addresses: &["10.73.0.1/24", "fd73::1/64"],
    };
    let far = End {
        namespace: &stage.lab.backends[0].namespace,
        interface: "far",
        mac: Mac::local(4, 2),
        addresses: &["10.73.0.2/24", "fd73::2/64"],
    };
    veth::connect(&detour, &far)?;
    far.pass()
}

fn an_interface_that_goes_is_told_and_attached_again_when_it_returns(attach: Attach) -> Result<()> {
    let mut stage = Stage::with(Way::Nat, attach, 2, |_| ())?;
    ask_everybody(&stage)?;

    stage.lab.edge.ip("link del back0")?;
    wait_for_interface(&stage, "gone")?;
    let lost = VIPS.map(|vip| client::get(&stage.lab.clients, user(1, vip), vip).is_ok());
    assert_eq!(lost, [false; 2]);
    assert_next_hop(&stage, "no-route")?;
    stage.serin("cutover shop")?;
    ask_everybody(&stage)?;
    stage.lab.join_again(0)?;
    wait_for_interface(&stage, "attached")?;
    deadline::until("b1 to be resolved", LIMIT, || {
        Ok(assert_next_hop(&stage, "resolved").ok())
    })?;
    stage.serin("rollback shop")?;
    ask_everybody(&stage)?;

    let log = stage.daemon.log();
    let told = log
        .lines()
        .filter(|line| line.contains("interface `back0`: gone"));
    assert_eq!(told.count(), 1, "{log}");
    assert!(log.contains("interface `back0`: attached"), "{log}");
    Ok(())
}

/// Twenty users of each family are answered.
fn ask_everybody(stage: &Stage) -> Result<()> {
    for vip in VIPS {
        for number in 0..20 {
            let from = user(number, vip);
            client::get(&stage.lab.clients, from, vip)
                .map_err(|failure| anyhow::anyhow!("{from}: {failure}"))?;
        }
    }
    Ok(())
}

/// Waits until `serin status` says so of the first backend's interface.
fn wait_for_interface(stage: &Stage, condition: &str) -> Result<()> {
    deadline::until(&format!("back0 to be {condition}"), LIMIT, || {
        let status = stage.serin("status")?;
        let said = status["interfaces"]["back0"].as_str().unwrap_or_default();
        Ok(said.starts_with(condition).then_some(()))
    })
}

/// What `serin status` says of b1's next hops.
fn assert_next_hop(stage: &Stage, wanted: &str) -> Result<()> {
    let status = stage.status()?;
    let b1 = find(&status, "b1").context("no b1")?;
    anyhow::ensure!(b1["next_hop"] == wanted, "{b1}");
    Ok(())
}

fn replies_reach_a_client_whose_neighbour_entry_is_gone(attach: Attach) -> Result<()> {
    let stage = Stage::with(Way::Nat, attach, 2, |_| ())?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    let before = reason(&stage.daemon, "reply_unresolved")?;

    for _ in 0..10 {
        stage.lab.edge.ip("neigh flush dev front")?;
        let _may_be_gone = stage.lab.edge.ip("neigh del 10.70.0.2 dev front");
        let _may_be_gone = stage.lab.edge.ip("neigh del fd70::2 dev front");
        deadline::pass(Duration::from_millis(100))?;
    }

    assert!(reason(&stage.daemon, "reply_unresolved")? > before);
    crowd.disperse()?.assert_unharmed();
    for vip in VIPS {
        stage.lab.edge.ip("neigh flush dev front")?;
        let from = SocketAddr::new(user(1, vip), 0);
        let datagram = client::ask_udp(&stage.lab.clients, from, vip);
        assert_eq!(datagram.map(|answer| answer.client), Ok(from.ip()));
    }
    Ok(())
}
