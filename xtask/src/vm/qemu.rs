//! Boots a machine, and reads what it says until it is off.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Verdict;
use super::guest::END;
use crate::libtest::Counts;

/// How a machine ended.
#[derive(Debug, Default)]
pub struct Ended {
    counts: Counts,
    /// Everything was run.
    complete: bool,
    /// The end of the kernel's own messages, where not everything was run.
    console: String,
}

impl Ended {
    /// A machine that did not come to its end has failed, whatever its tests said until then.
    pub fn verdict(&self) -> Verdict {
        let unnamed = u32::from(!self.complete && self.counts.failed == 0);
        let counts = Counts {
            failed: self.counts.failed + unnamed,
            ..self.counts
        };
        Verdict {
            counts,
            good: self.complete && counts.failed == 0 && counts.passed > 0,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.complete {
            return write!(f, "switched itself off");
        }
        write!(
            f,
            "did not come to its end; its kernel's last words:{}",
            self.console
        )
    }
}

/// Runs a machine to its end, passes on what it says, and sums the results in it.
///
/// timeout(1) ends one that hangs; two CPUs let XDP, daemon and load run side by side.
pub fn run(
    kernel: &Path,
    archive: &Path,
    console: &Path,
    limit: Duration,
    say: impl Fn(&str),
) -> Result<Ended> {
    let mut child = Command::new("timeout")
        .args(["--signal=KILL", &limit.as_secs().to_string()])
        .args(["qemu-system-x86_64", "-accel", "tcg,thread=multi"])
        .args(["-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "2048"])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(archive)
        .args(["-append", COMMAND_LINE])
        // The kernel's messages to a file, the tests' to us.
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("can't start timeout and qemu-system-x86_64")?;
    let output = child.stdout.take().context("the output is not piped")?;
    let mut ended = Ended::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("reading what the machine says")?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\r');
        ended.complete |= text == END;
        ended.counts = ended.counts + Counts::parse(text).unwrap_or_default();
        say(text);
    }
    child.wait().context("waiting for the machine")?;
    if !ended.complete {
        ended.console = last_words(console);
    }
    Ok(ended)
}

/// A panic ends the machine. Mitigations cost TCG much and protect nothing here.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on sysctl.net.core.bpf_jit_limit=1073741824";

fn last_words(console: &Path) -> String {
    const LINES: usize = 25;
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    format!("\n    {}", last.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_dies_has_failed_whatever_it_said() {
        let counts = Counts {
            passed: 3,
            ..Counts::default()
        };
        let died = Ended {
            counts,
            ..Ended::default()
        };
        assert!(!died.verdict().good);
        assert_eq!(died.verdict().counts.failed, 1);
        let ended = Ended {
            complete: true,
            ..died
        };
        assert!(ended.verdict().good);
    }

    #[test]
    fn a_machine_that_ran_nothing_is_no_success() {
        let ended = Ended {
            complete: true,
            ..Ended::default()
        };
        assert!(!ended.verdict().good);
    }
}
