//! The daemon stops, starts, is replaced, or is there twice: packets fare as before.

use std::{path::Path, process::Output, time::Duration};

use anyhow::{Context, Result, ensure};
use lb_common::maps::{ABI_VERSION, name::PROGRAMS};
use serin_tests::{
    config::{Attach, Config},
    deadline, serial,
    volley::Barrage,
};

use crate::{
    crowd::Crowd,
    report::{assert_counters_grew, find},
    stage::{Stage, Way},
    takeover::{assert_answers, dies_at, names},
};

in_both_modes!(a_stopped_daemon_leaves_the_data_plane_and_a_new_one_reports_the_same);

/// Of the status: where every user goes.
const MAPPING: [&str; 4] = ["active", "candidate", "share_ppm", "epoch"];

fn a_stopped_daemon_leaves_the_data_plane_and_a_new_one_reports_the_same(
    attach: Attach,
) -> Result<()> {
    let mut stage = Stage::set(Way::Nat, attach)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("share shop 30%")?;
    stage.serin("weight shop g1 4")?;
    let before = stage.status()?;
    let with_daemon = crowd.round()?;

    stage.daemon.terminate()?;
    let without_daemon = crowd.round()?;
    stage.daemon.start(&stage.lab)?;
    let after = stage.status()?;

    assert_eq!(with_daemon, without_daemon);
    for key in MAPPING {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(
        find(&after, "g1").map(|g1| g1["weight"].clone()),
        Some(4.into())
    );
    assert_counters_grew(&before, &after);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

#[test]
fn a_restart_puts_its_own_program_in_place_without_a_gap() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    crowd.round()?;

    let first = program_ids(&stage)?;
    for _ in 0..5 {
        stage.daemon.terminate()?;
        stage.daemon.start(&stage.lab)?;
    }
    let last = program_ids(&stage)?;

    crowd.disperse()?.assert_unharmed();
    assert!(
        first.iter().zip(&last).all(|(first, last)| first < last),
        "{first:?} {last:?}"
    );
    assert!(
        last.iter().all(|id| *id == last[0]),
        "one program on all interfaces: {last:?}"
    );
    Ok(())
}

#[test]
fn tail_calls_outlive_a_restart_that_dies_at_any_moment() -> Result<()> {
    // Before the links get the program, after each of them, and before and after all is tidied up.
    const MOMENTS: u32 = 5;
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.daemon.terminate()?;
    for moment in 1..=MOMENTS {
        ensure!(dies_at(&stage, moment)?, "moment {moment}");
        assert_answers(&stage).with_context(|| format!("moment {moment}"))?;
    }

    stage.daemon.start(&stage.lab)?;

    assert_answers(&stage)?;
    let own = Path::new(&stage.daemon.config.node.pins).join(format!("v{ABI_VERSION}"));
    let pins = names(&own)?;
    let tail_calls = pins.iter().filter(|name| name.starts_with(PROGRAMS));
    assert_eq!(tail_calls.collect::<Vec<_>>(), [PROGRAMS]);
    Ok(())
}

#[test]
fn twenty_restarts_lose_no_packet() -> Result<()> {
    // Queues between the interfaces overflow where others take the CPU.
    let _alone = serial::alone()?;
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    stage.serin("share shop 30%")?;
    let barrage = Barrage::start(&stage.lab)?;

    for _ in 0..20 {
        stage.daemon.terminate()?;
        stage.daemon.start(&stage.lab)?;
    }

    let tally = barrage.stop()?;
    println!("20 restarts: {tally}");
    assert_eq!(tally.lost, 0, "{tally}");
    assert!(tally.sent > 200_000, "{tally}");
    Ok(())
}

#[test]
fn a_barrage_tells_of_packets_that_are_lost() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let barrage = Barrage::start(&stage.lab)?;

    stage.lab.edge.ip("link set back0 down")?;

    deadline::pass(Duration::from_secs(3))?;
    assert!(barrage.stop()?.lost > 0);
    Ok(())
}

/// The program on each of the edge's interfaces.
fn program_ids(stage: &Stage) -> Result<Vec<u64>> {
    let links = stage.lab.edge.links()?;
    let id = |name: &String| {
        let link = links.iter().find(|link| link["ifname"] == **name);
        link.and_then(|link| link["xdp"]["prog"]["id"].as_u64())
    };
    let ids: Option<Vec<u64>> = stage.lab.edge_interfaces.iter().map(id).collect();
    ids.with_context(|| format!("an interface has no program: {links:?}"))
}

#[test]
fn a_second_daemon_is_refused_and_changes_nothing() -> Result<()> {
    let stage = Stage::set(Way::Nat, Attach::Native)?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("share shop 30%")?;
    let users = crowd.round()?;
    let (before, programs) = (stage.status()?, program_ids(&stage)?);

    let same = attempt(&stage, |_| ())?;
    let same_pins = attempt(&stage, |config| config.api.socket.push('2'))?;
    let same_socket = attempt(&stage, |config| config.node.pins.push('2'))?;

    for (refused, object) in [
        (same, &stage.daemon.config.api.socket),
        (same_pins, &stage.daemon.config.node.pins),
        (same_socket, &stage.daemon.config.api.socket),
    ] {
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert_eq!(said.matches("serin: ").count(), 1, "{said}");
        assert!(said.contains(object) && said.contains("stop it"), "{said}");
    }
    let after = stage.status()?;
    assert_eq!(
        MAPPING.map(|key| &before[key]),
        MAPPING.map(|key| &after[key])
    );
    assert_eq!(program_ids(&stage)?, programs);
    assert_eq!(crowd.round()?, users);
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// Starts another daemon by a changed copy of the config.
fn attempt(stage: &Stage, change: impl FnOnce(&mut Config)) -> Result<Output> {
    let mut config = stage.daemon.config.clone();
    change(&mut config);
    let file = stage.daemon.config_path().with_file_name("second.toml");
    std::fs::write(&file, config.text())?;
    let output = stage.daemon.attempt(&stage.lab, &file, &[])?;
    ensure!(!output.status.success());
    Ok(output)
}
