//! The program on a bond: it runs natively in the drivers of the bond's ports.

use std::time::Duration;

use anyhow::{Context, Result};
use serin_tests::{
    config::Attach,
    deadline,
    mac::Mac,
    netns::Namespace,
    topology::{FRONT, Lab, UPLINK},
    veth::{self, End},
    xdp_pass::{self, PassLink},
};

use crate::stage::Stage;

#[test]
fn a_release_over_a_bond_survives_the_loss_of_its_active_port() -> Result<()> {
    let lab = Lab::routed(2)?;
    let _pass = bond_the_front(&lab)?;
    let mut stage = Stage::prepare(lab, "nat", Attach::Native)?;
    stage.start()?;
    assert_eq!(stage.interface(FRONT)?, "attached, native");

    stage.release(|| {
        stage.lab.edge.ip("link set fa down")?;
        wait_for_active_port(&stage.lab.edge, "fb")
    })
}

/// Puts two veth pairs, bonded at either end, in the place of the one between clients and edge.
fn bond_the_front(lab: &Lab) -> Result<PassLink> {
    lab.edge.ip(&format!("link del {FRONT}"))?;
    for (number, edge, clients) in [(1, "fa", "ca"), (2, "fb", "cb")] {
        let end = |namespace, interface, mac| End {
            namespace,
            interface,
            mac,
            addresses: &[],
        };
        veth::connect(
            &end(&lab.edge, edge, Mac::local(5, number)),
            &end(&lab.clients, clients, Mac::local(6, number)),
        )?;
    }
    let (edge, clients) = (["fa", "fb"], ["ca", "cb"]);
    bond(&lab.edge, FRONT, edge, ["10.70.0.1/24", "fd70::1/64"])?;
    bond(
        &lab.clients,
        UPLINK,
        clients,
        ["10.70.0.2/24", "fd70::2/64"],
    )?;
    lab.route_clients()?;
    xdp_pass::attach(&lab.clients, UPLINK)
}

/// One port is active; the other takes over when its carrier is gone.
fn bond(namespace: &Namespace, name: &str, ports: [&str; 2], [v4, v6]: [&str; 2]) -> Result<()> {
    let join = ports.map(|port| format!("link set {port} down\nlink set {port} master {name}"));
    namespace.ip(&format!(
        "link add {name} type bond mode active-backup miimon 20\n{}\nlink set {name} up\n\
         address add {v4} dev {name}\naddress add {v6} dev {name} nodad",
        join.join("\n")
    ))
}

fn wait_for_active_port(namespace: &Namespace, port: &str) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(5);
    deadline::until(&format!("{port} to be the active port"), LIMIT, || {
        let links = namespace.links()?;
        let bond = links.iter().find(|link| link["ifname"] == FRONT);
        let bond = bond.context("the bond is gone")?;
        let active = &bond["linkinfo"]["info_data"]["active_slave"];
        Ok((active == port).then_some(()))
    })
}
