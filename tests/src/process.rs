//! A child process that never outlives its owner.

use std::{
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use crate::{command, deadline};

/// A running program, killed on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    line: String,
}

impl Process {
    /// Starts a command in a process group of its own, so that a Ctrl-C meant for us misses it.
    ///
    /// The kernel kills it when the *thread* that called this ends, which covers our own death by
    /// SIGKILL. Call it from a thread that lives as long as the process should.
    pub fn start(command: &mut Command) -> Result<Self> {
        let line = command::line(command);
        command.process_group(0);
        // SAFETY: the closure makes one prctl system call, which is async-signal-safe.
        unsafe {
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let child = command
            .spawn()
            .with_context(|| format!("starting `{line}`"))?;
        Ok(Self { child, line })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its stdin and stdout, if they were piped and have not been taken yet.
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("waiting for `{}`", self.line))
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_none() {
            // Not reaped yet, so the id is still ours.
            kill(pid(&self.child), signal)
                .with_context(|| format!("sending {signal} to `{}`", self.line))?;
        }
        Ok(())
    }

    /// Sends a signal and waits for the end.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        let what = format!("the end of `{}` after {signal}", self.line);
        deadline::until(&what, limit, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process ended by this signal.
pub fn ended_by(status: ExitStatus, signal: Signal) -> bool {
    status.signal() == Some(signal as i32)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id fits pid_t"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_process_is_gone_and_reaped_when_its_owner_is() -> Result<()> {
        let process = Process::start(Command::new("sleep").arg("600"))?;
        let entry = Path::new("/proc").join(process.id().to_string());
        assert!(entry.exists());

        drop(process);

        assert!(!entry.exists());
        Ok(())
    }

    #[test]
    fn a_stopped_process_tells_how_it_ended() -> Result<()> {
        let mut process = Process::start(Command::new("sleep").arg("600"))?;

        let status = process.stop(Signal::SIGTERM, Duration::from_secs(5))?;

        assert!(ended_by(status, Signal::SIGTERM));
        Ok(())
    }
}
