//! `serin` as a step of a pipeline, in a real shell.

use std::{fs, path::Path, process::Output};

use anyhow::{Context, Result};
use serin_tests::config::Attach;
use yaml_rust2::{Yaml, YamlLoader};

use crate::{
    audience::table,
    stage::{Stage, Way},
};

const START_AND_WAIT: &str = "serin start shop && serin wait shop --timeout 20s; echo promoted";

/// One step that is held so long.
fn stage(hold: &str) -> Result<Stage> {
    Stage::with(Way::Nat, Attach::Generic, 4, |shop| {
        let step = table([("share", "1%".into()), ("hold", hold.into())]);
        shop.release = Some(table([("steps", vec![step].into())]));
    })
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_pipeline_goes_on_after_a_promotion_alone_and_knows_why_it_ends() -> Result<()> {
    let mut stage = stage("2s")?;
    let promoted = stage.daemon.pipeline(START_AND_WAIT)?;
    assert_eq!(promoted.status.code(), Some(0), "{}", said(&promoted));
    assert!(
        said(&promoted).ends_with("promoted\n"),
        "{}",
        said(&promoted)
    );

    let aborting = "serin start shop; serin abort shop --reason errors; serin wait shop; echo no";
    let aborted = stage.daemon.pipeline(aborting)?;
    assert_eq!(aborted.status.code(), Some(1), "{}", said(&aborted));
    assert!(!said(&aborted).ends_with("no\n"), "{}", said(&aborted));

    let late = "serin start shop; serin wait shop --timeout 1s; echo no";
    let late = stage.daemon.pipeline(late)?;
    assert_eq!(late.status.code(), Some(3), "{}", said(&late));

    stage.daemon.terminate()?;
    let absent = stage
        .daemon
        .pipeline("serin wait shop --timeout 1s; echo no")?;
    assert_eq!(absent.status.code(), Some(4), "{}", said(&absent));
    stage.daemon.start(&stage.lab)
}

/// The shell lines of an example, in their order, without those that are for a cancelled job.
fn script(name: &str, steps: impl Fn(&Yaml) -> Vec<String>) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lb-userspace/examples/ci");
    let text = fs::read_to_string(root.join(name))?;
    let documents = YamlLoader::load_from_str(&text)?;
    let steps = steps(documents.first().context("empty")?);
    assert_eq!(steps.len(), 2, "{name}: {steps:?}");
    Ok(steps.join("\n"))
}

fn scripts() -> Result<[String; 2]> {
    let lines = |of: &Yaml| -> Vec<String> {
        let lines = of.as_vec().into_iter().flatten();
        lines
            .filter_map(|line| line.as_str().map(str::to_owned))
            .collect()
    };
    let github = script("github-actions.yml", |file| {
        let steps = file["jobs"]["release"]["steps"].as_vec();
        let steps = steps
            .into_iter()
            .flatten()
            .filter(|step| step["if"].is_badvalue());
        steps
            .filter_map(|step| step["run"].as_str().map(str::to_owned))
            .collect()
    })?;
    let gitlab = script("gitlab-ci.yml", |file| lines(&file["release"]["script"]))?;
    Ok([github, gitlab])
}

#[test]
fn the_examples_promote_what_is_good_and_take_back_what_is_late() -> Result<()> {
    for script in scripts()? {
        let stage = stage("2s")?;
        let run = |timeout: &str| {
            let script = format!("export SERVICE=shop TIMEOUT={timeout}\n{script}");
            stage.daemon.pipeline(&script)
        };
        let promoted = run("30s")?;
        assert_eq!(promoted.status.code(), Some(0), "{}", said(&promoted));
        assert_eq!(stage.status()?["release"]["state"], "promoted");
        let late = run("1s")?;
        assert_eq!(late.status.code(), Some(3), "{}", said(&late));
        let release = stage.status()?["release"].take();
        assert_eq!(release["state"], "aborted");
        assert_eq!(release["reason"], "not promoted within 1s");
    }
    Ok(())
}
