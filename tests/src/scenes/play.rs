//! Plays scenes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    Ending, Row, Run, Scene,
    stage::Stage,
    table::{head, print},
    trouble::Troubles,
};
use crate::{load::Load, netns::Namespace, syns::SynRecorder};

/// Longer than any verdict takes.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Plays each scene so many times, and prints the confusion table; before its line, each wrong ending
/// with all that was said of it.
pub fn play_all(stage: &mut Stage, scenes: &[(&Scene, u64)]) -> Result<Vec<Row>> {
    head();
    let rows = scenes.iter().map(|&(scene, seeds)| {
        let runs = (0..seeds).map(|seed| play(stage, scene, seed));
        let runs: Vec<Run> = runs.collect::<Result<_>>()?;
        for run in runs.iter().filter(|run| run.ending != scene.ends) {
            println!("{}: {run:?}\n{}", scene.name, run.explained);
        }
        let row = Row {
            scene: *scene,
            runs,
        };
        print(&row);
        Ok(row)
    });
    rows.collect()
}

/// One release of a scene: from its start to its end, or until it waits.
pub fn play(stage: &mut Stage, scene: &Scene, seed: u64) -> Result<Run> {
    run(stage, scene, seed).with_context(|| format!("v2 that {}, seed {seed}", scene.name))
}

fn run(stage: &mut Stage, scene: &Scene, seed: u64) -> Result<Run> {
    stage.configure(scene.plan.release())?;
    stage.cast(scene, seed)?;
    let stage = &*stage;
    let (candidate, backends) = stage.candidate()?;
    let silenced = stage.silence(scene)?;
    let crowd = stage.crowd(scene)?;
    let namespaces = backends.iter().map(|backend| &backend.namespace);
    let recorders = record(namespaces)?;
    let begun = Instant::now();
    stage.daemon.serin(&["start", "shop"])?;
    let troubles = Troubles::begin(stage, scene.trouble, candidate)?;
    let release = stage.until(PATIENCE, |release| ending(release).is_some())?;
    let took = begun.elapsed();
    let connections = firsts(&recorders).len();
    let ended = ending(&release).context("it has just ended")?;
    let explained = stage.explain()?;
    if ended == Ending::Waits {
        stage.daemon.serin(&["abort", "shop"])?;
    }
    drop(troubles);
    let mut harmed = 0;
    let users = crowd.iter().map(Load::users).sum();
    for load in crowd {
        harmed += load.stop()?.harmed();
    }
    drop(silenced);
    Ok(Run {
        ending: ended,
        took,
        connections,
        harmed: (harmed, users),
        reason: release["reason"].as_str().unwrap_or_default().to_owned(),
        explained,
    })
}

fn ending(release: &Value) -> Option<Ending> {
    match release["state"].as_str()? {
        "promoted" => Some(Ending::Promoted),
        "aborted" => Some(Ending::RolledBack),
        "awaits-evidence" => Some(Ending::Waits),
        _ => None,
    }
}

pub(super) fn record<'a>(
    namespaces: impl Iterator<Item = &'a Namespace>,
) -> Result<Vec<SynRecorder>> {
    namespaces.map(SynRecorder::start).collect()
}

/// When each connection's first SYN came.
pub(super) fn firsts(recorders: &[SynRecorder]) -> HashMap<SocketAddr, u64> {
    let mut firsts = HashMap::new();
    for syn in recorders.iter().flat_map(SynRecorder::seen) {
        let first = firsts.entry(syn.source).or_insert(syn.at_ns);
        *first = syn.at_ns.min(*first);
    }
    firsts
}
