//! Runs the tests tier by tier and counts what they say.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::cargo::{self, SERIN, SERIN_BIN};
use crate::libtest::Counts;
use crate::setup;
use crate::vm;

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run only this tier; may be given more than once; without, all but vm
    #[arg(long, value_enum)]
    tier: Vec<Tier>,
    /// Handed on to the test binaries: filters, `--nocapture`, `--ignored`
    #[arg(last = true)]
    args: Vec<String>,
}

/// Tests that need the same privileges, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Tests inside the crates
    Unit,
    /// Command line, API and config, without privileges
    Control,
    /// Single packets through the loaded program
    Packet,
    /// Real clients and servers in network namespaces
    Traffic,
    /// The same, and what only they have, on stock Debian kernels in QEMU
    Vm,
}

impl Tier {
    /// What runs unless a tier is asked for. Virtual machines take minutes, and kernels that have to
    /// be fetched first.
    const USUAL: [Self; 4] = [Self::Unit, Self::Control, Self::Packet, Self::Traffic];

    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Control => "control",
            Self::Packet => "packet",
            Self::Traffic => "traffic",
            Self::Vm => "vm",
        }
    }

    /// What of the workspace `cargo test` runs for this tier.
    fn targets(self) -> &'static [&'static str] {
        match self {
            // By name: `--bins` would run binaries that opt out by `test = false`.
            Self::Unit => &["--lib", "--bin=serin", "--bin=xtask"],
            Self::Control => &["--test=control"],
            Self::Packet => &["--test=packet"],
            Self::Traffic => &["--test=traffic"],
            // Not cargo's to run: see `run_machines`.
            Self::Vm => &[],
        }
    }

    /// What the test binaries are told besides the user's own `args`.
    fn harness_args(self, args: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        let chosen = args.iter().any(|arg| arg.starts_with("--test-threads"));
        // Tests of live traffic wait more than they work, but must not starve each other.
        if self == Self::Traffic && !chosen {
            all.push(String::from("--test-threads=3"));
        }
        all.extend_from_slice(args);
        all
    }
}

/// How one tier went.
struct Outcome {
    tier: Tier,
    counts: Counts,
    good: bool,
    took: Duration,
}

/// Sets up, builds, runs every chosen tier whatever the others do, and says whether all held.
pub fn run(args: &Args) -> Result<bool> {
    setup::before_build()?;
    let serin = cargo::build_with_tests(SERIN)?;
    let tiers = if args.tier.is_empty() {
        &Tier::USUAL[..]
    } else {
        &args.tier
    };
    let outcomes = tiers
        .iter()
        .map(|&tier| run_tier(tier, &args.args, &serin))
        .collect::<Result<Vec<Outcome>>>()?;
    summarise(&outcomes);
    Ok(outcomes.iter().all(|outcome| outcome.good))
}

fn run_tier(tier: Tier, args: &[String], serin: &Path) -> Result<Outcome> {
    if tier == Tier::Vm {
        return run_machines(serin);
    }
    let start = Instant::now();
    let mut cargo = cargo::command();
    cargo
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(tier.targets())
        .arg("--")
        .args(tier.harness_args(args))
        .env(SERIN_BIN, serin)
        // What failed is read in a log whose middle is cut out; where it was made is in its words.
        .env("RUST_LIB_BACKTRACE", "0");
    let (status, counts) = count(&mut cargo)?;
    Ok(Outcome {
        tier,
        counts: verdict(counts, status.success()),
        good: status.success(),
        took: start.elapsed(),
    })
}

/// The tier `vm` has a selection of its own; a filter is for `cargo xtask vm`.
fn run_machines(serin: &Path) -> Result<Outcome> {
    let start = Instant::now();
    let vm::Verdict { counts, good } = vm::tier(serin)?;
    Ok(Outcome {
        tier: Tier::Vm,
        counts,
        good,
        took: start.elapsed(),
    })
}

/// A run that ends badly without naming a failed test (it did not build, or it crashed) is a
/// failure that the sum must show.
fn verdict(counts: Counts, success: bool) -> Counts {
    let unnamed = u32::from(!success && counts.failed == 0);
    Counts {
        failed: counts.failed + unnamed,
        ..counts
    }
}

/// Runs `command`, passes its output through as it comes, and sums the results in it.
fn count(command: &mut Command) -> Result<(ExitStatus, Counts)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("can't start cargo")?;
    let stdout = child.stdout.take().context("cargo's output is not piped")?;
    let counts = tally(BufReader::new(stdout), io::stdout()).context("can't pass output on")?;
    let status = child.wait().context("can't wait for cargo")?;
    Ok((status, counts))
}

/// Copies `output` line by line; tests may print bytes that are no text.
fn tally(mut output: impl BufRead, mut copy: impl Write) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        copy.write_all(&line)?;
        counts = counts + Counts::parse(&String::from_utf8_lossy(&line)).unwrap_or_default();
        line.clear();
    }
    Ok(counts)
}

/// One line a tier, and the sum alone on the last line, where CI looks for it.
fn summarise(outcomes: &[Outcome]) {
    println!();
    for Outcome {
        tier,
        counts,
        good,
        took,
    } in outcomes
    {
        let verdict = if *good { "ok" } else { "FAILED" };
        let Counts {
            passed,
            failed,
            skipped,
        } = counts;
        let seconds = took.as_secs();
        println!(
            "tier {:<8} {verdict:<7} {passed:>5} passed {failed:>5} failed {skipped:>5} skipped \
             {seconds:>5} s",
            tier.name()
        );
    }
    let Counts {
        passed,
        failed,
        skipped,
    } = outcomes.iter().map(|outcome| outcome.counts).sum();
    println!("{passed} passed, {failed} failed, {skipped} skipped");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_runs_three_tests_at_a_time_unless_told_otherwise() {
        let none: [String; 0] = [];
        assert_eq!(Tier::Traffic.harness_args(&none), ["--test-threads=3"]);
        let own = [String::from("--test-threads=1"), String::from("ramp")];
        assert_eq!(Tier::Traffic.harness_args(&own), own);
        assert!(Tier::Packet.harness_args(&none).is_empty());
    }

    #[test]
    fn crash_without_a_result_counts_as_a_failure() {
        let crashed = verdict(
            Counts {
                passed: 3,
                failed: 0,
                skipped: 0,
            },
            false,
        );
        assert_eq!(
            crashed,
            Counts {
                passed: 3,
                failed: 1,
                skipped: 0
            }
        );
        let failed = Counts {
            passed: 3,
            failed: 2,
            skipped: 0,
        };
        assert_eq!(verdict(failed, false), failed);
    }

    #[test]
    fn tally_copies_every_byte_and_sums_the_results() -> io::Result<()> {
        let output = b"\xff\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n\
                       test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured";
        let mut copy = Vec::new();
        let counts = tally(&output[..], &mut copy)?;
        assert_eq!(copy, output);
        assert_eq!(
            counts,
            Counts {
                passed: 4,
                failed: 0,
                skipped: 2
            }
        );
        Ok(())
    }
}
