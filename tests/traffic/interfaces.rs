//! Interfaces come late, go and return, are renamed and go down: traffic follows by itself, and
//! what the other interfaces carry does not notice.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serin_tests::{
    client,
    config::{Attach, Config, Service},
    daemon::Daemon,
    deadline,
    topology::{FRONT, Lab},
};

use crate::{
    crowd::Crowd,
    report,
    stage::{Stage, VIPS, Way, user},
};

in_both_modes!(an_interface_made_anew_carries_traffic_again_and_the_others_lose_nothing);

const LIMIT: Duration = Duration::from_secs(5);
/// From an interface's return until the program is on it.
const SOON: Duration = Duration::from_secs(1);

fn an_interface_made_anew_carries_traffic_again_and_the_others_lose_nothing(
    attach: Attach,
) -> Result<()> {
    let mut stage = Stage::with(Way::Nat, attach, 2, |_| ())?;
    stage.serin("cutover shop")?;
    let crowd = Crowd::gather(&stage.lab)?;

    for _ in 0..3 {
        stage.lab.edge.ip("link del back0")?;
        wait_for(&stage, "back0", "gone")?;
        assert_eq!(links(&stage)?, indices(&stage.lab, &[FRONT, "back1"])?);
        crowd.round()?;
        stage.lab.join_again(0)?;
        let returned = Instant::now();
        wait_for(&stage, "back0", "attached")?;
        assert!(returned.elapsed() < SOON, "{:?}", returned.elapsed());
        crowd.round()?;
    }

    crowd.disperse()?.assert_unharmed();
    stage.serin("rollback shop")?;
    deadline::until("users on b1 again", LIMIT, || Ok(ask_all(&stage.lab).ok()))?;
    let all = indices(&stage.lab, &[FRONT, "back0", "back1"])?;
    assert_eq!(links(&stage)?, all, "a link an interface, and no other");
    Ok(())
}

#[test]
fn an_interface_that_comes_after_the_start_is_waited_for() -> Result<()> {
    let lab = Lab::routed(2)?;
    let mut daemon = prepare(&lab);
    daemon.config.node.interfaces.push("late0".to_owned());
    daemon.write_config()?;

    daemon.start(&lab)?;
    let said = condition(&daemon, "late0")?;
    lab.edge
        .ip("link add late0 type veth peer far0\nlink set late0 up\nlink set far0 up")?;
    let came = Instant::now();
    deadline::until("late0 to be attached", LIMIT, || {
        let said = condition(&daemon, "late0")?;
        Ok((said == "attached, native").then_some(()))
    })?;

    assert!(came.elapsed() < SOON, "{:?}", came.elapsed());
    assert_eq!(said, "not found; attached when it appears");
    let log = daemon.log();
    assert!(log.contains("WARN interface `late0`: not found"), "{log}");
    Ok(())
}

#[test]
fn apply_takes_no_interface_that_does_not_exist_but_minds_none_that_is_gone() -> Result<()> {
    let mut stage = Stage::with(Way::Nat, Attach::Native, 2, |_| ())?;
    stage.serin("cutover shop")?;
    stage.lab.edge.ip("link del back0")?;
    wait_for(&stage, "back0", "gone")?;

    stage.shop().pool[1].backends[0].weight = 7;
    stage.apply()?;
    let interfaces = &mut stage.daemon.config.node.interfaces;
    interfaces.push("nowhere0".to_owned());
    stage.daemon.write_config()?;
    let refused = stage.daemon.output(&["apply"])?;

    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(said.contains("interface `nowhere0`: not found"), "{said}");
    Ok(())
}

#[test]
fn a_renamed_interface_loses_nothing() -> Result<()> {
    let stage = Stage::with(Way::Nat, Attach::Native, 2, |_| ())?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;
    let before = links(&stage)?;

    for (old, new) in [(FRONT, "wan0"), ("back0", "lan0")] {
        stage.lab.edge.ip(&format!("link set {old} name {new}"))?;
        crowd.round()?;
        crowd.round()?;
    }

    stage.serin("weight shop b1 3")?;
    stage.apply()?;
    crowd.round()?;
    assert_eq!(links(&stage)?, before);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn a_name_that_another_interface_takes_is_that_ones() -> Result<()> {
    let stage = Stage::with(Way::Nat, Attach::Native, 2, |_| ())?;

    stage.lab.edge.ip("link set back1 name old1\n\
         link add back1 type veth peer far1\nlink set back1 up\nlink set far1 up")?;

    let wanted = indices(&stage.lab, &[FRONT, "back0", "back1"])?;
    deadline::until("the program to be on the new back1 alone", LIMIT, || {
        Ok((links(&stage)? == wanted).then_some(()))
    })
}

#[test]
fn an_interface_that_was_down_carries_traffic_when_it_is_up_again() -> Result<()> {
    let stage = Stage::with(Way::Nat, Attach::Native, 2, |_| ())?;
    ask_all(&stage.lab)?;
    let before = links(&stage)?;

    stage.lab.edge.ip("link set back0 down")?;
    wait_for(&stage, "back0", "attached, native; down")?;
    stage.lab.edge.ip("link set back0 up")?;

    wait_for(&stage, "back0", "attached, native")?;
    // Going down took the IPv6 addresses away, and nobody here puts them back.
    let vip = VIPS[0];
    deadline::until("answers", LIMIT, || {
        Ok(client::get(&stage.lab.clients, user(1, vip), vip).ok())
    })?;
    assert_eq!(links(&stage)?, before);
    Ok(())
}

#[test]
fn an_interface_that_was_made_anew_while_no_daemon_ran_is_attached_at_the_start() -> Result<()> {
    let mut stage = Stage::with(Way::Nat, Attach::Native, 2, |_| ())?;
    stage.daemon.terminate()?;
    stage.lab.edge.ip("link del back0")?;
    stage.lab.join_again(0)?;

    stage.daemon.start(&stage.lab)?;

    let all = indices(&stage.lab, &[FRONT, "back0", "back1"])?;
    assert_eq!(links(&stage)?, all);
    deadline::until("answers", LIMIT, || Ok(ask_all(&stage.lab).ok()))
}

/// Native XDP would lose what it sends to a device without a program, and nobody would be told.
#[test]
fn a_backend_behind_an_interface_that_is_not_listed_is_refused_or_reached_in_generic_mode()
-> Result<()> {
    let lab = Lab::routed(2)?;
    let mut daemon = prepare(&lab);
    daemon.config.node.interfaces.retain(|name| name != "back1");
    daemon.write_config()?;
    let refused = daemon.attempt(&lab, &daemon.config_path(), &[])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    assert!(
        said.contains("backend `g1`") && said.contains("none of node.interfaces"),
        "{said}"
    );

    daemon.config.node.attach = Attach::Auto;
    daemon.write_config()?;
    daemon.start(&lab)?;
    assert_eq!(condition(&daemon, FRONT)?, "attached, generic");
    let log = daemon.log();
    assert!(log.contains("none of node.interfaces"), "{log}");
    Ok(())
}

#[test]
fn a_route_that_comes_to_an_unlisted_interface_is_told_and_not_taken() -> Result<()> {
    let stage = Stage::with(Way::Nat, Attach::Native, 2, |_| ())?;
    stage.serin("cutover shop")?;
    let edge = &stage.lab.edge;
    edge.ip("link add aside0 type veth peer far0\nlink set aside0 up\nlink set far0 up")?;
    let g1 = stage.lab.backends[1].v4;
    edge.ip(&format!(
        "neigh add {g1} lladdr 02:00:00:00:00:77 dev aside0 nud permanent\n\
         route add {g1}/32 dev aside0"
    ))?;
    let next_hop = |wanted: &str| {
        deadline::until(&format!("g1 to be {wanted}"), LIMIT, || {
            let status = stage.status()?;
            let g1 = report::find(&status, "g1").context("no g1")?;
            Ok((g1["next_hop"] == wanted).then_some(()))
        })
    };
    next_hop("unlisted-interface")?;
    let log = stage.daemon.log();
    assert!(log.contains("is routed over `aside0`"), "{log}");
    let drops = || {
        let status = stage.serin("status")?;
        status["reasons"]["no_port"].as_u64().context("a count")
    };
    let before = drops()?;
    assert!(client::get(&stage.lab.clients, user(1, VIPS[0]), VIPS[0]).is_err());
    assert!(drops()? > before, "a drop that is counted");

    edge.ip(&format!("route del {g1}/32 dev aside0"))?;
    next_hop("resolved")?;
    ask_all(&stage.lab)
}

fn prepare(lab: &Lab) -> Daemon {
    let shop = Service::shop(lab, "nat", 8080);
    Daemon::prepare(lab, Attach::Native, vec![shop]).expect("a place for its files")
}

/// Users of both families are answered.
fn ask_all(lab: &Lab) -> Result<()> {
    for vip in VIPS {
        for number in 0..20 {
            client::get(&lab.clients, user(number, vip), vip)
                .map_err(|failure| anyhow::anyhow!("{failure}"))?;
        }
    }
    Ok(())
}

fn wait_for(stage: &Stage, interface: &str, start: &str) -> Result<()> {
    deadline::until(&format!("{interface} to be {start}"), LIMIT, || {
        let said = condition(&stage.daemon, interface)?;
        Ok(said.starts_with(start).then_some(()))
    })
}

fn condition(daemon: &Daemon, interface: &str) -> Result<String> {
    let status = daemon.serin(&["status"])?;
    let said = status["interfaces"][interface].as_str();
    said.map(str::to_owned).context("nothing said of it")
}

/// The interfaces that links are pinned for.
fn links(stage: &Stage) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(pins(&stage.daemon.config))? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let index = name.strip_prefix("link_").map(str::parse::<u64>);
        found.extend(index.and_then(Result::ok));
    }
    found.sort_unstable();
    Ok(found)
}

fn pins(config: &Config) -> String {
    format!("{}/v{}", config.node.pins, lb_common::maps::ABI_VERSION)
}

/// The indices of these interfaces of the edge, which must be there and have a program.
fn indices(lab: &Lab, names: &[&str]) -> Result<Vec<u64>> {
    let all = lab.edge.links()?;
    let index = |name: &&str| {
        let link = all.iter().find(|link| link["ifname"] == **name);
        link.and_then(|link| link["ifindex"].as_u64())
    };
    let found: Option<Vec<u64>> = names.iter().map(index).collect();
    let mut found = found.with_context(|| format!("{names:?} in {all:?}"))?;
    found.sort_unstable();
    Ok(found)
}
