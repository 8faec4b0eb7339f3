//! The real daemon on a lab's edge, and the real command line that talks to it.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    command::{self, checked, complaint},
    config::{Attach, Config, Service},
    deadline,
    process::Process,
    topology::Lab,
    unique,
};

/// The unit that the package brings, whose environment the daemon has here too.
const UNIT: &str = include_str!("../../lb-userspace/package/serin.service");

const READY: Duration = Duration::from_secs(10);
const STOPPED: Duration = Duration::from_secs(5);
/// How long a start may take to be refused, in the words of timeout(1).
const ATTEMPT: &str = "10s";

/// `serin run` in a lab's edge namespace; detached, stopped and its files removed on drop.
#[derive(Debug)]
pub struct Daemon {
    /// What it was told. Change it and call [`Self::write_config`], then `apply` or [`Self::start`].
    pub config: Config,
    binary: PathBuf,
    directory: TempDir,
    process: Option<Process>,
}

impl Daemon {
    /// Starts the daemon on a lab's edge and waits until it answers.
    pub fn run(lab: &Lab, attach: Attach, services: Vec<Service>) -> Result<Self> {
        let mut daemon = Self::prepare(lab, attach, services)?;
        daemon.start(lab)?;
        Ok(daemon)
    }

    /// Writes a config for the lab without starting anything yet.
    pub fn prepare(lab: &Lab, attach: Attach, services: Vec<Service>) -> Result<Self> {
        let directory = unique::directory()?;
        let pins = Path::new("/sys/fs/bpf").join(unique::name());
        let mut config = Config::new(lab, attach, directory.path(), &pins);
        config.service = services;
        let daemon = Self {
            config,
            binary: binary()?,
            directory,
            process: None,
        };
        daemon.write_config()?;
        Ok(daemon)
    }

    /// Starts it, for the first time or again, and waits until it answers.
    pub fn start(&mut self, lab: &Lab) -> Result<()> {
        self.start_within(lab, READY)
    }

    /// The same where that may take longer.
    pub fn start_within(&mut self, lab: &Lab, limit: Duration) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = lab.edge.command(&self.binary);
        command.args(["run", "--config"]).arg(self.config_path());
        command.env("SERIN_DIE_AFTER", self.fault_path());
        command.envs(environment(UNIT));
        command.stdout(log.try_clone()?).stderr(log);
        self.process = Some(Process::start(&mut command)?);
        self.wait_until_ready(limit)
            .with_context(|| format!("`serin run` said:\n{}", self.log()))
    }

    /// Runs another `serin run` with this config file to its end, which must come by itself: for
    /// starts that are refused. `under` is what runs it, such as setpriv with its arguments.
    pub fn attempt(&self, lab: &Lab, config: &Path, under: &[&str]) -> Result<Output> {
        let mut command = lab.edge.command("timeout");
        command.args(["--signal=KILL", ATTEMPT]).args(under);
        command.arg(&self.binary).args(["run", "--config"]);
        command.arg(config).output().context("running `serin run`")
    }

    /// Ends it as a service manager would (SIGTERM). The data plane stays.
    pub fn terminate(&mut self) -> Result<()> {
        let status = self.process()?.stop(Signal::SIGTERM, STOPPED)?;
        self.process = None;
        ensure!(
            status.success(),
            "`serin run` ended with {status} after SIGTERM:\n{}",
            self.log()
        );
        Ok(())
    }

    /// Ends it as a crash would (SIGKILL). The data plane stays.
    pub fn kill(&mut self) -> Result<()> {
        self.process()?.stop(Signal::SIGKILL, STOPPED)?;
        self.process = None;
        Ok(())
    }

    /// Has it end as by a crash, before the write that comes after so many others.
    pub fn die_after(&self, writes: u64) -> Result<()> {
        fs::write(self.fault_path(), writes.to_string()).context("ordering a death")
    }

    /// Whether it has ended so in the middle of an order, which is all over; it does not any more from
    /// now on.
    pub fn has_died(&mut self, order: &Output) -> Result<bool> {
        let ended = if order.status.success() {
            self.process()?.ended()?
        } else {
            let what = format!("the daemon's end in an order ({})", complaint(order));
            Some(deadline::until(&what, STOPPED, || self.process()?.ended())?)
        };
        fs::remove_file(self.fault_path()).context("taking a death back")?;
        if ended.is_some() {
            self.process = None;
        }
        Ok(ended.is_some())
    }

    /// Sends any other signal, such as SIGHUP.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process()?.signal(signal)
    }

    /// Its process id, for looking at its memory and capabilities.
    pub fn id(&mut self) -> Result<u32> {
        Ok(self.process()?.id())
    }

    /// Runs a command that must succeed, and returns its JSON: `daemon.serin(&["status", "shop"])`.
    pub fn serin(&self, words: &[&str]) -> Result<Value> {
        let mut command = self.command(words);
        command.args(["-o", "json"]);
        let output = command.output().context("running serin")?;
        let text = checked(&command, output)?;
        serde_json::from_str(&text)
            .with_context(|| format!("`serin {}` wrote:\n{text}", words.join(" ")))
    }

    /// Runs a command and returns its exit code and what it wrote, whatever they are.
    pub fn output(&self, words: &[&str]) -> Result<Output> {
        self.command(words).output().context("running serin")
    }

    /// Starts a command and does not wait for it. Its output is piped.
    pub fn spawn(&self, words: &[&str]) -> Result<Child> {
        let mut command = self.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().context("starting serin")
    }

    /// Runs a script as a pipeline does: bash, with `serin` on its path and the daemon's socket.
    pub fn pipeline(&self, script: &str) -> Result<Output> {
        let directory = self
            .binary
            .parent()
            .context("the binary has no directory")?;
        let path = env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]);
        command.env("PATH", format!("{}:{path}", directory.display()));
        command.env("SERIN_SOCKET", &self.config.api.socket);
        command.output().context("running bash")
    }

    /// Where it keeps its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes [`Self::config`] to its file.
    pub fn write_config(&self) -> Result<()> {
        fs::write(self.config_path(), self.config.text()).context("writing the config")
    }

    /// The config file, for tests that write one by hand.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("serin.toml")
    }

    /// Everything the daemon has written so far, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Such a command as a line of the shell.
    pub fn line(&self, words: &[&str]) -> String {
        command::line(&self.command(words))
    }

    fn fault_path(&self) -> PathBuf {
        self.directory.path().join("fault")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("serin.log")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(["--socket", &self.config.api.socket])
            .args(words);
        command
    }

    fn process(&mut self) -> Result<&mut Process> {
        self.process
            .as_mut()
            .context("the daemon isn't running; start it first")
    }

    fn wait_until_ready(&mut self, limit: Duration) -> Result<()> {
        deadline::until("the daemon's socket to answer", limit, || {
            if let Some(status) = self.process()?.ended()? {
                bail!("the daemon ended at once with {status}");
            }
            let listed = self.output(&["list", "-o", "json"])?;
            Ok(listed.status.success().then_some(()))
        })
    }

    fn detach(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        if process.ended()?.is_none() {
            let output = self.output(&["detach"])?;
            ensure!(
                output.status.success(),
                "`serin detach`: {}",
                complaint(&output)
            );
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            eprintln!("{error:#}; its pins are removed by hand");
        }
        // Dropping kills it, if `detach` has not ended it.
        self.process = None;
        // Without its pins the kernel frees programs, maps and links. After `detach` there are none.
        let _ = fs::remove_dir_all(&self.config.node.pins);
    }
}

/// What a unit sets in its service's environment, one plain assignment a line.
fn environment(unit: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = unit.lines();
    let settings = lines.filter_map(|line| line.strip_prefix("Environment="));
    settings.map(|setting| {
        let plain = !setting.contains(['"', '\'', ' ', '\\', '%']);
        let pair = setting.split_once('=').filter(|_| plain);
        pair.expect("the unit has plain assignments")
    })
}

/// `SERIN_BIN`, or the `serin` that was built beside this program.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("SERIN_BIN") {
        return Ok(path.into());
    }
    let ours = env::current_exe()?;
    ours.ancestors()
        .skip(1)
        // A binary lies in target/debug, a test in target/debug/deps.
        .take(2)
        .map(|directory| directory.join("serin"))
        .find(|path| path.is_file())
        .context("no `serin` beside this program; `cargo build -p lb-userspace` makes it, or set SERIN_BIN")
}
