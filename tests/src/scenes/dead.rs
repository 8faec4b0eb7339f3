//! How soon users are off a candidate that serves nobody.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{
    Scene,
    play::{PATIENCE, firsts, record},
    scene::named,
    stage::Stage,
};
use crate::{clock, topology::VIP_V4};

/// A candidate that serves nobody, with 5% of a thousand new connections a second.
#[derive(Clone, Debug)]
pub struct Dead {
    /// From the first SYN that it was sent to the last one of a new connection.
    pub left: Duration,
    /// How many connections that were.
    pub connections: usize,
    /// From the same SYN to the end of the release.
    pub over: Duration,
    /// Why, in the daemon's words.
    pub reason: String,
}

/// Users are off a candidate that is wrong by the scene with this name, and then the release is over: how
/// soon, so many times?
pub fn at_five_percent(stage: &mut Stage, name: &str, rounds: u64) -> Result<Vec<Dead>> {
    let scene = named(name);
    (0..rounds).map(|seed| dead(stage, scene, seed)).collect()
}

fn dead(stage: &mut Stage, scene: &Scene, seed: u64) -> Result<Dead> {
    let release = "steps = [{ share = '5%', hold = '10m' }]\njudge = {}";
    stage.configure(release.parse()?)?;
    stage.cast(scene, seed)?;
    let stage = &*stage;
    let (_, backends) = stage.candidate()?;
    let _silenced = stage.silence(scene)?;
    let load = stage.load(VIP_V4, 1000)?;
    let namespaces = backends.iter().map(|backend| &backend.namespace);
    let recorders = record(namespaces)?;
    stage.daemon.serin(&["start", "shop"])?;
    let release = stage.until(PATIENCE, |release| release["under_way"] == false)?;
    let now = clock::now_ns();
    load.stop()?;
    let firsts = firsts(&recorders);
    let (Some(first), Some(last)) = (firsts.values().min(), firsts.values().max()) else {
        bail!("nobody has met the candidate: {release}");
    };
    Ok(Dead {
        left: Duration::from_nanos(last - first),
        connections: firsts.len(),
        over: Duration::from_nanos(now - first),
        reason: release["reason"].as_str().unwrap_or_default().to_owned(),
    })
}
