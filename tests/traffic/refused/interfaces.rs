//! Hosts that are not fit for the config.

use anyhow::Result;
use serin_tests::{
    client,
    config::{Attach, Service},
    daemon::Daemon,
    topology::{FRONT, Lab},
    xdp_pass,
};

use super::{Refusal, assert_clean};
use crate::stage::{Stage, VIPS, Way, user};

fn prepare(lab: &Lab) -> Result<Daemon> {
    Daemon::prepare(lab, Attach::Native, vec![Service::shop(lab, "nat", 8080)])
}

#[test]
fn a_start_with_no_interface_that_exists_names_it() -> Result<()> {
    let lab = Lab::routed(2)?;
    let mut daemon = prepare(&lab)?;
    daemon.config.node.interfaces = vec!["nowhere0".to_owned()];

    let refusal = Refusal::of(&daemon, &lab)?;

    refusal.assert(1, &["interface `nowhere0`", "not found", "node.interfaces"]);
    assert_clean(&daemon, &lab)
}

#[test]
fn forwarding_that_is_off_is_named_with_the_sysctl_that_turns_it_on() -> Result<()> {
    let lab = Lab::routed(2)?;
    let daemon = prepare(&lab)?;

    for (path, key) in [
        ("net/ipv4/ip_forward", "net.ipv4.conf.all.forwarding=1"),
        (
            "net/ipv6/conf/all/forwarding",
            "net.ipv6.conf.all.forwarding=1",
        ),
    ] {
        lab.edge.sysctl(path, "0")?;
        let refusal = Refusal::of(&daemon, &lab)?;
        lab.edge.sysctl(path, "1")?;

        refusal.assert(1, &["forwarding is off", "service `shop`", key]);
        assert_clean(&daemon, &lab)?;
    }
    Ok(())
}

#[test]
fn a_backend_without_a_route_is_named() -> Result<()> {
    let lab = Lab::routed(2)?;
    let mut daemon = prepare(&lab)?;
    daemon.config.service[0].pool[1].backends[0].address[0] = "203.0.113.9:80".to_owned();

    let refusal = Refusal::of(&daemon, &lab)?;

    refusal.assert(
        1,
        &["backend `g1` at 203.0.113.9", "no route", "add a route"],
    );
    assert_clean(&daemon, &lab)
}

#[test]
fn another_program_on_any_interface_is_left_alone_and_named() -> Result<()> {
    let lab = Lab::routed(2)?;
    let mut daemon = prepare(&lab)?;

    for name in [FRONT, "back1"] {
        let program = xdp_pass::attach(&lab.edge, name)?;
        let refusal = Refusal::of(&daemon, &lab)?;

        refusal.assert(1, &[&format!("interface `{name}`"), "another XDP program"]);
        let links = lab.edge.links()?;
        let occupied: Vec<_> = links.iter().filter(|link| !link["xdp"].is_null()).collect();
        assert_eq!(occupied.len(), 1);
        assert_eq!(
            occupied[0]["ifname"], *name,
            "the other's program is still there"
        );
        drop(program);
        assert_clean(&daemon, &lab)?;
    }
    daemon.start(&lab)
}

#[test]
fn a_driver_without_native_xdp_is_named() -> Result<()> {
    let lab = Lab::routed(2)?;
    let mut daemon = prepare(&lab)?;
    lab.edge.ip("link add br9 type bridge\nlink set br9 up")?;
    daemon.config.node.interfaces.push("br9".to_owned());

    let refusal = Refusal::of(&daemon, &lab)?;

    refusal.assert(1, &["interface `br9`", "no native XDP", "node.attach"]);
    assert_clean(&daemon, &lab)
}

#[test]
fn auto_goes_generic_on_all_where_one_driver_has_no_native_xdp_and_says_so() -> Result<()> {
    let lab = Lab::routed(2)?;
    let mut daemon = prepare(&lab)?;
    lab.edge.ip("link add br9 type bridge\nlink set br9 up")?;
    daemon.config.node.interfaces.push("br9".to_owned());
    daemon.config.node.attach = Attach::Auto;
    daemon.write_config()?;

    daemon.start(&lab)?;

    let all = ["front", "back0", "back1", "br9"];
    assert_eq!(modes(&daemon, &all)?, ["generic"; 4]);
    let log = daemon.log();
    assert!(
        log.contains("WARN interface `br9`: its driver has no native XDP; all interfaces"),
        "{log}"
    );

    // What is generic stays so, for a new interface as well.
    daemon.terminate()?;
    lab.edge
        .ip("link add late0 type veth peer far0\nlink set late0 up\nlink set far0 up")?;
    daemon.config.node.interfaces.push("late0".to_owned());
    daemon.write_config()?;
    daemon.start(&lab)?;
    assert_eq!(modes(&daemon, &["front", "br9", "late0"])?, ["generic"; 3]);
    Ok(())
}

#[test]
fn auto_takes_no_driver_without_native_xdp_beside_native_ones_until_it_starts_again() -> Result<()>
{
    let lab = Lab::routed(2)?;
    let mut daemon = prepare(&lab)?;
    daemon.config.node.attach = Attach::Auto;
    daemon.write_config()?;
    daemon.start(&lab)?;
    assert_eq!(modes(&daemon, &["front", "back0"])?, ["native"; 2]);
    lab.edge.ip("link add br9 type bridge\nlink set br9 up")?;
    daemon.config.node.interfaces.push("br9".to_owned());
    daemon.write_config()?;

    let refused = daemon.output(&["apply"])?;

    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in ["interface `br9`", "no native XDP", "start serin again"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(modes(&daemon, &["front", "back0"])?, ["native"; 2]);

    daemon.terminate()?;
    daemon.start(&lab)?;
    let all = ["front", "back0", "back1", "br9"];
    assert_eq!(modes(&daemon, &all)?, ["generic"; 4]);
    Ok(())
}

/// What the status says of these interfaces, without what it says of their carrier.
fn modes(daemon: &Daemon, interfaces: &[&str]) -> Result<Vec<String>> {
    let status = daemon.serin(&["status"])?;
    let mode = |name: &&str| {
        let said = status["interfaces"][*name].as_str().unwrap_or_default();
        let mode = said.strip_prefix("attached, ").unwrap_or(said);
        mode.trim_end_matches("; down").to_owned()
    };
    Ok(interfaces.iter().map(mode).collect())
}

#[test]
fn a_start_that_was_refused_is_no_hindrance_to_the_next() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.daemon.terminate()?;
    let interfaces = stage.daemon.config.node.interfaces.clone();
    stage.daemon.config.node.interfaces = vec!["nowhere0".to_owned()];

    let refusal = Refusal::of(&stage.daemon, &stage.lab)?;
    let orphaned = client::get(&stage.lab.clients, user(1, VIPS[0]), VIPS[0]);
    stage.daemon.config.node.interfaces = interfaces;
    stage.daemon.write_config()?;
    stage.daemon.start(&stage.lab)?;

    refusal.assert(1, &["interface `nowhere0`"]);
    assert!(orphaned.is_ok(), "the data plane goes on: {orphaned:?}");
    assert!(client::get(&stage.lab.clients, user(2, VIPS[0]), VIPS[0]).is_ok());
    Ok(())
}
