//! Blue-green releases under load: a preview for staff, a cutover of all at once, a bake, and every
//! way back; nobody notices but by the version.

use std::{collections::BTreeSet, env, fs, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use serde_json::Value;
use serin_tests::{config::Attach, deadline, real::Nginx, unique};

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

/// A gate that is asked every second.
fn gate(name: &str, point: (&str, &str), probe: (&str, toml::Value)) -> toml::Table {
    let point = (point.0, point.1.into());
    table([
        ("name", name.into()),
        ("interval", "1s".into()),
        point,
        probe,
    ])
}

/// A file that a gate looks for; gone when dropped.
struct Alarm(PathBuf);

impl Alarm {
    fn new() -> Self {
        Self(env::temp_dir().join(unique::name()))
    }

    fn raise(&self) -> Result<()> {
        Ok(fs::write(&self.0, "")?)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // It may never have been raised.
        let _gone = fs::remove_file(&self.0);
    }
}

/// A command before the start, a person and a real server before the cutover, and a command in the bake,
/// which fails at last.
#[test]
fn a_blue_green_goes_by_its_gates_and_one_that_fails_in_its_bake_takes_it_back() -> Result<()> {
    const READY: u16 = 9000;
    let alarm = Alarm::new();
    let mut stage = stage(Attach::Native)?;
    let url = format!("http://{}:{READY}/", stage.lab.backends[2].v4);
    let shell = |script: &str| ("exec", vec!["/bin/sh", "-c", script].into());
    let checks = shell("test $SERIN_CANDIDATE = green && test $SERIN_STEP = 0");
    let watch = shell(&format!("! test -e {}", alarm.0.display()));
    let boss = table([
        ("name", "boss".into()),
        ("before", "promote".into()),
        ("approval", true.into()),
    ]);
    let gates = vec![
        gate("checks", ("before", "start"), checks),
        boss,
        gate("smoke", ("before", "promote"), ("http", url.into())),
        gate("watch", ("after", "promote"), watch),
    ];
    let preview = table([("audience", "staff".into()), ("hold", "1s".into())]);
    stage.shop().release = Some(table([
        ("strategy", "blue-green".into()),
        ("bake", "1h".into()),
        ("steps", vec![preview].into()),
        ("gate", gates.into()),
    ]));
    stage.apply()?;
    let crowd = Crowd::gather(&stage.lab)?;

    stage.serin("start shop")?;
    until(&stage, "awaits-approval")?;
    assert_staff_alone(&crowd.round()?);
    stage.serin("promote shop")?;
    let waits = until(&stage, "awaits-gates")?;
    assert_staff_alone(&crowd.round()?);
    assert_eq!(waits["step"], 1);
    let nginx = Nginx::start(&stage.lab.backends[2], "v2", "g1", READY)?;
    until(&stage, "baking")?;
    drop(nginx);
    assert_all_on(&crowd, "v2")?;

    alarm.raise()?;
    let back = until(&stage, "rolled-back")?;
    let reason = back["reason"].as_str().unwrap_or_default();
    ensure!(
        reason.starts_with("gate `watch` failed: exit status 1"),
        "{reason}"
    );
    assert_all_on(&crowd, "v1")?;
    let waited = stage.daemon.output(&["wait", "shop"])?;
    assert_eq!(waited.status.code(), Some(1));
    let story = crowd.disperse()?;
    story.assert_unharmed();
    println!("{} requests, 0 failed", story.requests());
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
