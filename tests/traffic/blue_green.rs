//! Blue-green releases under load: a preview for staff, a cutover of all at once, a bake, and every
//! way back; nobody notices but by the version.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use serde_json::Value;
use serin_tests::{config::Attach, deadline};

use crate::{
    audience::{assert_staff_alone, audience, staff, table},
    crowd::{Crowd, USERS},
    health::checked,
    stage::{Stage, Way},
};

in_both_modes!(a_blue_green_goes_from_its_staff_to_all_and_both_ways,);

/// Users of both families.
const ALL: usize = 2 * USERS as usize;
const PATIENCE: Duration = Duration::from_secs(30);

/// Staff until approved, then all, watched for three seconds.
fn stage(attach: Attach) -> Result<Stage> {
    Stage::with(Way::Nat, attach, 4, |shop| {
        let preview = table([
            ("audience", "staff".into()),
            ("hold", "1s".into()),
            ("approve", true.into()),
        ]);
        shop.audience = vec![audience(&staff())];
        shop.release = Some(table([
            ("strategy", "blue-green".into()),
            ("bake", "3s".into()),
            ("steps", vec![preview].into()),
        ]));
    })
}

fn until(stage: &Stage, word: &str) -> Result<Value> {
    deadline::until(word, PATIENCE, || {
        let release = stage.status()?["release"].take();
        Ok((release["state"] == word).then_some(release))
    })
}

/// Every user is on this version.
fn assert_all_on(crowd: &Crowd, version: &str) -> Result<()> {
    let on = crowd.round()?.on(version).len();
    ensure!(on == ALL, "{on} of {ALL} users on {version}");
    Ok(())
}

fn a_blue_green_goes_from_its_staff_to_all_and_both_ways(attach: Attach) -> Result<()> {
    let stage = stage(attach)?;
    let crowd = Crowd::gather(&stage.lab)?;
    assert_all_on(&crowd, "v1")?;

    stage.serin("start shop")?;
    assert_staff_alone(&crowd.round()?);
    until(&stage, "awaits-approval")?;
    let done = stage.serin("cutover shop")?;
    println!("a cutover took {} us in the daemon", done["took_us"]);
    assert_eq!(stage.status()?["release"]["state"], "baking");
    assert_all_on(&crowd, "v2")?;
    until(&stage, "promoted")?;

    // The other way, without a preview, and back by hand while it bakes.
    stage.serin("cutover shop --reason next")?;
    assert_eq!(stage.status()?["release"]["state"], "baking");
    stage.serin("rollback shop")?;
    assert_all_on(&crowd, "v2")?;
    until(&stage, "rolled-back")?;
    assert_eq!(crowd.round()?.on("v1"), BTreeSet::new());

    stage.serin("cutover shop --at 1s")?;
    until(&stage, "promoted")?;
    assert_all_on(&crowd, "v1")?;
    let story = crowd.disperse()?;
    story.assert_unharmed();
    println!(
        "{} requests, 0 failed, 0 at the wrong version",
        story.requests()
    );
    Ok(())
}

#[test]
fn a_colour_that_dies_in_its_bake_is_rolled_back_by_itself() -> Result<()> {
    let release = "release = { strategy = \"blue-green\", bake = \"1m\" }";
    let mut stage = checked(Way::Nat, Attach::Native, 4, release)?;
    stage.serin("cutover shop")?;
    let crowd = Crowd::gather(&stage.lab)?;
    assert_all_on(&crowd, "v2")?;
    crowd.disperse()?.assert_unharmed();

    // Green's are the last two.
    drop(stage.servers.split_off(2));
    let release = until(&stage, "rolled-back")?;

    assert_eq!(release["reason"], "all backends of pool `green` are down");
    let crowd = Crowd::gather(&stage.lab)?;
    assert_all_on(&crowd, "v1")?;
    crowd.disperse()?.assert_unharmed();
    Ok(())
}

/// From one store to the next: a single system call each, on a machine that is shared.
const GAP_NS: u64 = 5_000_000;

#[test]
fn two_services_are_cut_over_and_back_as_one() -> Result<()> {
    let mut stage = Stage::set(Way::Nat, Attach::Native)?;
    let mut till = serin_tests::config::Service::shop(&stage.lab, "nat", 8081);
    "till".clone_into(&mut till.name);
    for listener in &mut till.listen {
        *listener = listener.replace(":80", ":81");
    }
    stage.daemon.config.service.push(till);
    stage.apply()?;
    let crowd = Crowd::gather(&stage.lab)?;
    let mut gaps = Vec::new();
    for (turn, version) in (0..20).zip(["v2", "v1"].into_iter().cycle()) {
        let done = stage.serin("cutover shop till")?;
        let active = |service: usize| done["services"][service]["active"].clone();
        assert_eq!(active(0), active(1));
        gaps.extend(done["gap_ns"].as_u64());
        if turn < 2 {
            assert_all_on(&crowd, version)?;
        }
    }
    crowd.disperse()?.assert_unharmed();
    gaps.sort_unstable();
    println!("from store to store: {gaps:?} ns");
    ensure!(gaps.len() == 20 && gaps[10] < GAP_NS, "{gaps:?}");
    Ok(())
}
