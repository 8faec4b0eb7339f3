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

/// What an example does, as shell lines.
struct Example {
    /// The job.
    job: String,
    /// What is done after it, if it was cancelled.
    cancelled: String,
}

fn examples() -> Result<[Example; 2]> {
    let github = load("github-actions.yml")?;
    let steps = github["jobs"]["release"]["steps"].as_vec();
    let (job, cancelled) = steps
        .into_iter()
        .flatten()
        .partition::<Vec<_>, _>(|step| step["if"].is_badvalue());
    let condition = cancelled.iter().map(|step| step["if"].as_str());
    let begun = "cancelled() && steps.start.outcome == 'success'";
    assert_eq!(condition.collect::<Vec<_>>(), [Some(begun)]);
    assert_eq!(job[0]["id"].as_str(), Some("start"));
    let run = |steps: Vec<&Yaml>| lines(steps.into_iter().map(|step| &step["run"]));
    let github = Example {
        job: run(job)?,
        cancelled: run(cancelled)?,
    };
    let gitlab = load("gitlab-ci.yml")?;
    let of = |key: &str| lines(gitlab["release"][key].as_vec().into_iter().flatten());
    let gitlab = Example {
        job: of("script")?,
        cancelled: of("after_script")?,
    };
    Ok([github, gitlab])
}

fn load(name: &str) -> Result<Yaml> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lb-userspace/examples/ci");
    let text = fs::read_to_string(root.join(name))?;
    let mut documents = YamlLoader::load_from_str(&text)?;
    documents.pop().context("empty")
}

fn lines<'a>(all: impl Iterator<Item = &'a Yaml>) -> Result<String> {
    let lines: Option<Vec<&str>> = all.map(Yaml::as_str).collect();
    Ok(lines.context("no text")?.join("\n"))
}

/// Runs lines as a job of so long a timeout, whose end is called so.
fn run(stage: &Stage, lines: &str, timeout: &str, status: &str) -> Result<Output> {
    let directory = stage.daemon.directory().display();
    let set =
        format!("cd {directory}; export SERVICE=shop TIMEOUT={timeout} CI_JOB_STATUS={status}");
    stage.daemon.pipeline(&format!("{set}\n{lines}"))
}

#[test]
fn the_examples_promote_what_is_good_and_take_back_what_is_late() -> Result<()> {
    for Example { job, cancelled } in examples()? {
        let stage = stage("2s")?;
        let promoted = run(&stage, &job, "30s", "running")?;
        assert_eq!(promoted.status.code(), Some(0), "{}", said(&promoted));
        assert_eq!(stage.status()?["release"]["state"], "promoted");
        let late = run(&stage, &job, "1s", "running")?;
        assert_eq!(late.status.code(), Some(3), "{}", said(&late));
        let after = run(&stage, &cancelled, "1s", "failed")?;
        let release = stage.status()?["release"].take();
        assert_eq!(release["state"], "aborted", "{}", said(&after));
        assert_eq!(release["reason"], "not promoted within 1s");
    }
    Ok(())
}

#[test]
fn the_examples_take_back_the_release_of_a_job_that_is_cancelled() -> Result<()> {
    for Example { job, cancelled } in examples()? {
        let stage = stage("1h")?;
        let start = job.lines().filter(|line| !line.contains("serin wait"));
        let start: Vec<&str> = start.take_while(|line| !line.contains("code=")).collect();
        let begun = run(&stage, &start.join("\n"), "30m", "running")?;
        assert_eq!(begun.status.code(), Some(0), "{}", said(&begun));
        assert_eq!(stage.status()?["release"]["state"], "holding");
        let ended = run(&stage, &cancelled, "30m", "canceled")?;
        assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
        let release = stage.status()?["release"].take();
        assert_eq!(release["state"], "aborted", "{}", said(&ended));
        let reason = release["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("the job was cancel"), "{reason}");
    }
    Ok(())
}

#[test]
fn the_gitlab_example_lets_a_release_be_that_is_promoted_or_not_its_own() -> Result<()> {
    let [_, gitlab] = examples()?;
    let stage = stage("1h")?;
    stage.serin("start shop")?;
    let refused = run(&stage, &gitlab.job, "30m", "running")?;
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    run(&stage, &gitlab.cancelled, "30m", "failed")?;
    assert_eq!(stage.status()?["release"]["state"], "holding", "a person's");
    stage.serin("promote shop --full")?;
    let after = run(&stage, &gitlab.cancelled, "30m", "success")?;
    assert_eq!(after.status.code(), Some(0), "{}", said(&after));
    assert_eq!(stage.status()?["release"]["state"], "promoted");
    Ok(())
}
