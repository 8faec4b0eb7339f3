//! tmux as a terminal: what a person would see, and keys that they would press.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::Result;
use tempfile::TempDir;

use crate::{command::run, deadline, process::Process, unique};

const READY: Duration = Duration::from_secs(5);

/// A terminal in which one command runs.
#[derive(Debug)]
pub struct Terminal {
    directory: TempDir,
    _server: Process,
}

impl Terminal {
    /// Runs a command of the shell in a terminal of this size, which can show UTF-8.
    pub fn open(columns: u16, rows: u16, command: &str) -> Result<Self> {
        let directory = unique::directory()?;
        let mut server = Command::new("tmux");
        server.arg("-S").arg(directory.path().join("tmux"));
        // In the foreground, without anybody's configuration.
        server
            .args(["-f", "/dev/null", "-D"])
            .env("LC_ALL", "C.UTF-8");
        let terminal = Self {
            _server: Process::start(&mut server)?,
            directory,
        };
        deadline::until("tmux to answer", READY, || {
            Ok(terminal.socket().exists().then_some(()))
        })?;
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tell(&["new-session", "-d", "-x", &columns, "-y", &rows, command])?;
        Ok(terminal)
    }

    /// What it shows: its lines, without blanks at their ends.
    pub fn screen(&self) -> Result<String> {
        self.tell(&["capture-pane", "-p"])
    }

    /// Presses keys, by tmux's names for them.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.tell(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// Gives it another size.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tell(&["resize-window", "-x", &columns, "-y", &rows])
            .map(drop)
    }

    fn tell(&self, words: &[&str]) -> Result<String> {
        run(Command::new("tmux")
            .arg("-S")
            .arg(self.socket())
            .args(words))
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("tmux")
    }
}
