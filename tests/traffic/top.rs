//! `serin top` in a real terminal, in the middle of a release.

use std::time::Duration;

use anyhow::{Context, Result};
use serin_tests::{deadline, real::Terminal};

use crate::{crowd::Crowd, stage::Stage};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the screen shows all of these, and returns it.
fn shows(terminal: &Terminal, texts: &[&str]) -> Result<String> {
    let mut last = String::new();
    let found = deadline::until(&format!("{texts:?}"), PATIENCE, || {
        last = terminal.screen()?;
        let all = texts.iter().all(|text| last.contains(text));
        Ok(all.then(|| last.clone()))
    });
    found.with_context(|| format!("the screen shows\n{last}"))
}

fn last_line(screen: &str) -> &str {
    let mut lines = screen.lines().rev();
    lines.find(|line| !line.is_empty()).unwrap_or_default()
}

#[test]
fn a_terminal_shows_a_release_takes_orders_and_survives_the_daemons_restart() -> Result<()> {
    let mut stage = Stage::watched()?;
    let crowd = Crowd::gather(&stage.lab)?;
    stage.serin("start shop")?;
    let command = stage.daemon.line(&["top", "shop"]);
    let terminal = Terminal::open(80, 24, &format!("{command}; stty -a; read -r line"))?;
    crowd.round()?;
    let screen = shows(
        &terminal,
        &["[shop", "asked", "first byte", " ms ", "events"],
    )?;
    println!("{screen}");
    let status = stage.status()?;
    let step = format!(
        "step {} of {}",
        status["release"]["step"], status["release"]["steps"]
    );
    shows(&terminal, &[&step])?;
    assert!(last_line(&screen).starts_with("q quit"), "{screen}");
    assert!(
        screen.lines().all(|line| line.chars().count() <= 80),
        "{screen}"
    );

    // An order is asked for, and not given for another key.
    terminal.press(&["a"])?;
    shows(&terminal, &["abort, and take all users off `green`?"])?;
    terminal.press(&["n"])?;
    shows(&terminal, &["nothing was ordered"])?;
    assert_eq!(stage.status()?["release"]["under_way"], true);
    terminal.press(&["Space"])?;
    shows(&terminal, &["pause the release of `green`?"])?;
    deadline::pass(Duration::from_millis(500))?;
    terminal.press(&["y"])?;
    shows(&terminal, &["shop: done, `green` has"])?;
    assert_eq!(stage.status()?["release"]["state"], "paused");
    terminal.press(&["v"])?;
    shows(&terminal, &["connections/s by pool", "blue ", "green "])?;

    terminal.resize(120, 45)?;
    let wide = shows(&terminal, &["┐", "q quit", "candidate"])?;
    println!("{wide}");
    terminal.resize(60, 12)?;
    let small = shows(&terminal, &["q quit"])?;
    assert!(
        !small.contains("connections/s"),
        "no room for plots\n{small}"
    );
    terminal.resize(80, 24)?;

    crowd.disperse()?.assert_unharmed();
    stage.daemon.kill()?;
    shows(
        &terminal,
        &["the daemon does not answer; it is tried again"],
    )?;
    stage.daemon.start(&stage.lab)?;
    shows(&terminal, &["q quit"])?;

    terminal.press(&["a"])?;
    shows(&terminal, &["[y/n] shop: abort"])?;
    deadline::pass(Duration::from_millis(500))?;
    terminal.press(&["y"])?;
    shows(&terminal, &["shop: done, `blue` has all", "aborted"])?;
    assert_eq!(stage.status()?["release"]["state"], "aborted");
    terminal.press(&["p"])?;
    shows(&terminal, &["no release is under way"])?;
    terminal.press(&["q"])?;
    // The terminal is as it was before.
    let left = shows(&terminal, &[" icanon ", " echo "])?;
    assert!(!left.contains("serin top"), "{left}");
    Ok(())
}
